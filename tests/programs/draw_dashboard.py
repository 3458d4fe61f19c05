"""Draws docs/dashboard.png: the applied dashboard over a local run with two faults in it.

    python -m tests.programs.draw_dashboard [FILE]

Two hours of a driven clock: files arrive; the processor is away for a while; a client sends broken
files. Each tile draws its own queries, as they were applied, over the series of metrics.py.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from tests.localcloud.client import ROOT
from tests.system.metrics import Metrics
from tests.system.pipeline import jpeg
from tests.system.watched import Watched, watching

PROCESSOR = "files-dev-processor-default"
UNIT, WIDE, MARGIN = 30, 48, 16  # pixels of a column, columns, pixels around
LINES = ("#1a73e8", "#d93025", "#188038", "#f29900", "#9334e6")
INK, SOFT, GRID = "#202124", "#5f6368", "#e8eaed"
POINTS = 120


def drive(watched: Watched) -> tuple[float, float]:
    """Two hours of work and faults; when they began and ended."""
    began = watched.now
    broken = jpeg(64, 64)[:600]
    for step in range(24):  # five minutes each
        if step in (8, 12):
            action = "down" if step == 8 else "up"
            watched.cloud.post(f"/run/{action}", {"service": PROCESSOR})
        for number in range(2 + step % 3):
            watched.upload(f"day/{step}/{number}.jpg", jpeg(256, 192))
        for number in range(2 if 17 <= step <= 19 else 0):
            watched.upload(f"client/{step}/{number}.jpg", broken)
        watched.cloud.advance(300)
    return began, watched.now


def values(
    metrics: Metrics, widget: dict[str, Any], times: list[float]
) -> dict[str, list[tuple[float, float]]]:
    """Legend → (time, value)."""
    found: dict[str, list[tuple[float, float]]] = {}
    for line in widget["xyChart"]["dataSets"]:
        legend = line.get("legendTemplate", "")
        for time in times:
            for labels, value in metrics.value(
                line["timeSeriesQuery"]["prometheusQuery"], time
            ).items():
                text = legend
                for label, held in labels:
                    text = text.replace(f"${{labels.{label}}}", held)
                found.setdefault(text, []).append((time, value))
    return found


def chart(
    draw: ImageDraw.ImageDraw,
    box: tuple[int, int, int, int],
    title: str,
    lines: dict[str, list[tuple[float, float]]],
    span: tuple[float, float],
) -> None:
    x0, y0, x1, y1 = box
    big, small = ImageFont.load_default(15), ImageFont.load_default(11)
    draw.rounded_rectangle(box, 8, fill="white", outline=GRID)
    draw.text((x0 + 12, y0 + 9), title, fill=INK, font=big)
    left, right, top, bottom = x0 + 46, x1 - 14, y0 + 40, y1 - 42
    most = max((value for line in lines.values() for _, value in line), default=0) or 1
    for part in range(3):
        y = bottom - (bottom - top) * part / 2
        draw.line((left, y, right, y), fill=GRID)
        draw.text((x0 + 10, y - 7), f"{most * part / 2:.3g}", fill=SOFT, font=small)
    for part in range(3):
        time = span[0] + (span[1] - span[0]) * part / 2
        x = left + (right - left) * part / 2
        text = f"+{int((time - span[0]) / 60)} min"
        draw.text((min(x, right - 38), bottom + 4), text, fill=SOFT, font=small)
    x = left
    for number, (legend, line) in enumerate(sorted(lines.items())):
        colour = LINES[number % len(LINES)]
        points = [
            (
                left + (right - left) * (time - span[0]) / (span[1] - span[0]),
                bottom - (bottom - top) * value / most,
            )
            for time, value in line
        ]
        draw.line(points, fill=colour, width=2)
        if legend:
            draw.rectangle((x, y1 - 19, x + 9, y1 - 10), fill=colour)
            draw.text((x + 13, y1 - 22), legend, fill=SOFT, font=small)
            x += 26 + draw.textlength(legend, font=small)


def picture(watched: Watched, span: tuple[float, float]) -> Image.Image:
    journal = watched.cloud.journal()
    limit = {PROCESSOR: 2 * 2**30}
    metrics = Metrics(journal, watched.cloud.project, watched.log_metrics, limit)
    times = [span[0] + (span[1] - span[0]) * step / POINTS for step in range(POINTS + 1)]
    tiles = watched.dashboard["mosaicLayout"]["tiles"]
    height = max(int(tile.get("yPos", 0) + tile["height"]) for tile in tiles)
    high = 13  # pixels of a row's unit
    image = Image.new("RGB", (WIDE * UNIT + 2 * MARGIN, height * high + 80), "#f8f9fa")
    draw = ImageDraw.Draw(image)
    title = watched.dashboard["displayName"]
    draw.text((MARGIN, 12), title, fill=INK, font=ImageFont.load_default(24))
    day = datetime.now(UTC).date()
    note = f"a local run of {day}: processor away in minutes 40 to 60, broken files from 85 on"
    draw.text((MARGIN, 44), note, fill=SOFT, font=ImageFont.load_default(14))
    for tile in tiles:
        x, y = MARGIN + int(tile.get("xPos", 0)) * UNIT, 70 + int(tile.get("yPos", 0)) * high
        right, bottom = x + int(tile["width"]) * UNIT - 8, y + int(tile["height"]) * high - 8
        widget = tile["widget"]
        if "xyChart" in widget:
            lines = values(metrics, widget, times)
            chart(draw, (x, y, right, bottom), widget["title"], lines, span)
        else:
            font = ImageFont.load_default(18)
            draw.text((x, y + 8), widget["title"], fill=INK, font=font)
    return image


def main() -> int:
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs/dashboard.png"
    with watching() as watched:
        span = drive(watched)
        picture(watched, span).quantize(64).save(target, optimize=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
