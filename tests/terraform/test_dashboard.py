from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from .conftest import MakeRoot
from .plans import Root

TILES = [
    {"title": "Depth", "unit": "1", "queries": {"": "vector(1)"}},
    {"title": "Answers", "unit": "1", "queries": {"${labels.code}": "vector(2)"}},
]


@pytest.fixture(scope="module")
def dashboard(root: MakeRoot) -> dict[str, Any]:
    made: Root = root(
        "terraform/modules/dashboard",
        project_id="demo-project",
        title="files-dev",
        rows=[{"title": "Queue", "tiles": TILES}, {"title": "Results", "tiles": TILES[:1]}],
    )
    text = made.plan()["google_monitoring_dashboard.this"]["dashboard_json"]
    return dict(json.loads(text))


def values(node: Any) -> Iterator[Any]:
    if isinstance(node, dict | list):
        for member in node.values() if isinstance(node, dict) else node:
            yield from values(member)
    else:
        yield node


def test_nothing_is_configured_that_google_would_not_store(dashboard: dict[str, Any]) -> None:
    """Zero, an empty string, false: not stored, so each plan would want to add them again."""
    assert [value for value in values(dashboard) if not value] == []


def test_each_row_has_its_heading_and_its_tiles_side_by_side(dashboard: dict[str, Any]) -> None:
    placed = [
        (tile["widget"]["title"], tile.get("xPos", 0), tile.get("yPos", 0), tile["width"])
        for tile in dashboard["mosaicLayout"]["tiles"]
    ]
    assert placed == [
        ("Queue", 0, 0, 48), ("Depth", 0, 3, 24), ("Answers", 24, 3, 24),
        ("Results", 0, 17, 48), ("Depth", 0, 20, 48),
    ]  # fmt: skip


def test_a_legend_is_cloud_monitorings_template(dashboard: dict[str, Any]) -> None:
    depth, answers = (
        tile["widget"]["xyChart"]["dataSets"][0] for tile in dashboard["mosaicLayout"]["tiles"][1:3]
    )
    assert "legendTemplate" not in depth
    assert answers["legendTemplate"] == "${labels.code}"
