"""Numbers of what was recorded, read from the records themselves: they are the truth, and stay."""

from __future__ import annotations

import html
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from sweep.listing import KINDS, Generation, Listings, joined

from . import costs
from .clients import Clients
from .environment import Environment
from .filters import Filter
from .work import in_parallel

STAGES = ("queued", "download", "process", "upload", "total")
SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
HOUR = "Dollars are prices without a free tier, of the pipeline's own requests and seconds."
Json = dict[str, Any]


class Statistics:
    def __init__(
        self, clients: Clients, environment: Environment, since: datetime,
        until: datetime | None, prefix: str,
    ) -> None:  # fmt: skip
        self._clients, self._environment = clients, environment
        self._chosen = Filter(prefix, since, until)

    def read(self, progress: Callable[[int], None] = lambda _: None) -> Json:
        """{files, outcomes, failures, stages, days, bytes, reruns}."""
        return summed(self._records(progress), self._chosen.since)

    def _records(self, progress: Callable[[int], None]) -> Iterator[tuple[datetime, Json, int]]:
        """When it was recorded, its content, and how many runs there were, of each file."""
        listings = Listings(self._clients.storage)
        kinds = [
            listings.records(self._environment.results, kind, self._chosen.prefix) for kind in KINDS
        ]
        chosen = (one for one in joined((), *kinds) if self._chosen.takes(_newest(one).created))
        for number, found in enumerate(in_parallel(self._look, chosen), 1):
            progress(number)
            if found:
                yield found

    def _look(self, generation: Generation) -> tuple[datetime, Json, int] | None:
        record = _newest(generation)
        blob = self._clients.storage.bucket(self._environment.results).get_blob(record.object)
        if blob is None:  # erased meanwhile
            return None
        runs = {*generation.manifests, *generation.failures}
        return record.created, dict(json.loads(blob.download_as_bytes())), len(runs - {0})


def _newest(generation: Generation) -> Any:
    """What the file counts as: its newest manifest, else its newest failure."""
    records = generation.manifests or generation.failures
    return records[max(records)]


def summed(records: Iterable[tuple[datetime, Json, int]], since: datetime | None = None) -> Json:
    """since: only for the answer to say it."""
    outcomes: Counter[str] = Counter()
    failures: Counter[str] = Counter()
    stages: dict[str, list[float]] = defaultdict(list)
    days: dict[str, Counter[str]] = defaultdict(Counter)
    reruns = 0
    for recorded, content, runs in records:
        status, source = str(content.get("status")), content.get("source") or {}
        outcomes[status] += 1
        reruns += runs
        if status == "failed":
            failures[str(content.get("reason"))] += 1
        timings = {k: v for k, v in (content.get("timings") or {}).items() if v is not None}
        for stage, seconds in timings.items():
            stages[stage].append(seconds)
        if timings:
            stages["total"].append(sum(timings.values()))
        day = days[f"{recorded.astimezone(UTC):%Y-%m-%d}"]
        day["files"] += 1
        day["bytes"] += int(source.get("size") or 0)
        day["runs"] += 1 + runs
        day["milliseconds"] += round(
            1000 * sum(v for stage, v in timings.items() if stage != "queued")
        )
    return {
        "since": since.isoformat() if since else None,
        "files": outcomes.total(),
        "outcomes": dict(sorted(outcomes.items())),
        "failures": dict(failures.most_common()),
        "stages": {stage: percentiles(stages[stage]) for stage in STAGES if stages[stage]},
        "bytes": sum(day["bytes"] for day in days.values()),
        "reruns": reruns,
        "days": {
            day: {
                "files": its["files"],
                "bytes": its["bytes"],
                "dollars": round(dollars(its["runs"], its["milliseconds"] / 1000), 6),
            }
            for day, its in sorted(days.items())
        },
    }


def percentiles(values: list[float]) -> dict[str, float]:
    """The smallest value that so large a share of them does not pass."""
    ordered = sorted(values)
    return {
        name: round(ordered[max(0, -(-int(share * 1000) * len(ordered) // 1000) - 1)], 3)
        for name, share in SHARES.items()
    } | {"max": round(ordered[-1], 3)}


def dollars(runs: int, seconds: float) -> float:
    """Of so many runs that took so long together."""
    one = costs.estimate(1, 1.0).dollars - costs.SECONDS_A_FILE * costs.RUN_SECOND
    return runs * one + seconds * costs.RUN_SECOND


def drawn(found: Json) -> str:
    """The numbers as a page without anything foreign: bars in SVG, and tables."""
    parts = [
        "<!doctype html><meta charset=utf-8><title>Files</title>",
        "<style>body{font:16px system-ui;margin:2rem;max-width:60rem}"
        "table{border-collapse:collapse}"
        "td,th{padding:.2rem .8rem;text-align:right}th:first-child,td:first-child{text-align:left}"
        "svg{background:#f4f4f4}rect{fill:#2a6fb0}text{font:11px system-ui}</style>",
        f"<h1>{found['files']:,} files since {html.escape(str(found['since']))}</h1>",
        _bars("Files by day", {day: its["files"] for day, its in found["days"].items()}),
        _bars("Bytes by day", {day: its["bytes"] for day, its in found["days"].items()}),
        _bars("Dollars by day", {day: its["dollars"] for day, its in found["days"].items()}),
        _table("Outcomes", ("", "files"), found["outcomes"].items()),
        _table("Failures", ("reason", "files"), found["failures"].items()),
        _table(
            "Seconds",
            ("stage", *SHARES, "max"),
            ((stage, *its.values()) for stage, its in found["stages"].items()),
        ),
        f"<p>{HOUR}",
    ]
    return "\n".join(parts) + "\n"


def _bars(title: str, values: dict[str, float]) -> str:
    width, height, top = 40, 120, max(values.values(), default=0) or 1
    bars = [
        f'<rect x="{n * width + 6}" y="{height - value / top * (height - 16):.1f}" '
        f'width="{width - 12}" height="{value / top * (height - 16):.1f}">'
        f"<title>{html.escape(name)}: {value:,}</title></rect>"
        f'<text x="{n * width + 4}" y="{height + 14}">{html.escape(name[5:])}</text>'
        for n, (name, value) in enumerate(values.items())
    ]
    size = f'width="{max(1, len(values)) * width}" height="{height + 20}"'
    return f"<h2>{title}</h2><svg {size} role=img>{''.join(bars)}</svg>"


def _table(title: str, head: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    def row(cells: Iterable[Any], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(str(c))}</{tag}>" for c in cells) + "</tr>"

    body = "".join(row(cells, "td") for cells in rows)
    return f"<h2>{title}</h2><table>{row(head, 'th')}{body}</table>"
