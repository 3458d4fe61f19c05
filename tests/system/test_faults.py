"""Every fault at once; `make soak` does the same with 10,000 files."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable

from tests.conftest import SAYS
from tests.programs.soak import fault_run, tuned


def test_every_upload_is_done_or_failed_whatever_happens_on_the_way(
    record_property: Callable[[str, object], None],
) -> None:
    seed = int(os.environ.get("SEED") or secrets.randbelow(10**6))
    queue = {"max_dispatches_per_second": 500, "max_concurrent_dispatches": 14}
    with tuned(queue=queue, processor={"max_instances": 2}) as pipeline:
        report = fault_run(pipeline, seed, files=300)
    record_property(SAYS, str(report))
    assert report.problems == []
