"""Completions, observers and the sweep in an applied environment."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.system.pipeline import jpeg
from tests.system.told import Told, telling

BROKEN = b"\xff\xd8\xffbroken"


@pytest.fixture(scope="module")
def told() -> Iterator[Told]:
    with telling() as one:
        yield one


def test_each_record_is_told_to_whom_it_concerns(told: Told) -> None:
    good = told.process("told/good.jpg", jpeg(32, 32))
    bad = told.process("told/bad.jpg", BROKEN)
    manifest = f"manifests/told/good.jpg/{good}.json"
    failure = f"failures/told/bad.jpg/{bad}.json"
    assert set(told.hooks["crm"].heard) == {manifest, failure}
    assert set(told.hooks["bad"].heard) == {failure}
    assert set(told.hooks["scan"].heard) == {"told/good.jpg", "told/bad.jpg"}
    pulled = told.pull(told.outputs["completions"]["subscriptions"]["app"])
    assert {(one["objectId"], one["status"]) for one in pulled} == {
        (manifest, "done"), (failure, "failed"),
    }  # fmt: skip


def test_another_plan_changes_nothing(told: Told) -> None:
    assert "No changes." in told.deployment.make("plan", "ENV=dev").stdout
