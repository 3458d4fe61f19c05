"""A plot with logarithmic axes, as SVG: no library draws so little."""

from __future__ import annotations

import math
from collections.abc import Sequence

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 400, 70, 20, 40, 50


def lines(points: Sequence[tuple[float, float]], across: str, up: str, title: str) -> str:
    """The points, and the straight line through the last one that being proportional would give."""
    points = [(x, max(y, 1e-6)) for x, y in points]
    x_from, x_to = _decades([x for x, _ in points])
    ideal = [(x, points[-1][1] * x / points[-1][0]) for x, _ in points]
    y_from, y_to = _decades([y for _, y in [*points, *ideal]])

    def at(x: float, y: float) -> tuple[float, float]:
        right = (math.log10(x) - x_from) / (x_to - x_from)
        high = (math.log10(y) - y_from) / (y_to - y_from)
        return (
            round(LEFT + right * (WIDTH - LEFT - RIGHT), 1),
            round(HEIGHT - BOTTOM - high * (HEIGHT - TOP - BOTTOM), 1),
        )

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(WIDTH / 2, 22, title, "middle"),
        _text(WIDTH / 2, HEIGHT - 10, across, "middle"),
        f'<text transform="translate(16 {HEIGHT / 2}) rotate(-90)" text-anchor="middle">'
        f"{up}</text>",
    ]
    for power in range(x_from, x_to + 1):
        x, y = at(10.0**power, 10.0**y_from)
        parts.append(_line(x, y, x, TOP) + _text(x, y + 18, f"{10**power:,}", "middle"))
    for power in range(y_from, y_to + 1):
        x, y = at(10.0**x_from, 10.0**power)
        parts.append(_line(x, y, WIDTH - RIGHT, y) + _text(x - 6, y + 4, f"{10.0**power:g}", "end"))
    for which, style in (
        (ideal, 'stroke="#999" stroke-dasharray="5 4"'),
        (points, 'stroke="#06c"'),
    ):
        path = " ".join(f"{x},{y}" for x, y in (at(*point) for point in which))
        parts.append(f'<polyline points="{path}" fill="none" stroke-width="2" {style}/>')
    for point in points:
        x, y = at(*point)
        parts.append(f'<circle cx="{x}" cy="{y}" r="4" fill="#06c"/>')
    return "\n".join([*parts, "</svg>\n"])


def _decades(values: Sequence[float]) -> tuple[int, int]:
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)


def _line(x: float, y: float, to_x: float, to_y: float) -> str:
    return f'<line x1="{x}" y1="{y}" x2="{to_x}" y2="{to_y}" stroke="#ddd"/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}">{text}</text>'
