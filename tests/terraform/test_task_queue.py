from __future__ import annotations

import re

import pytest

from .conftest import MakeRoot
from .plans import TUTORIALS_QUEUE, Case, Root, case_id, rates_and_retries, unseen

QUEUE = "google_cloud_tasks_queue.this"


@pytest.fixture(scope="module")
def queue(root: MakeRoot) -> Root:
    return root(
        "terraform/modules/task_queue",
        project_id="demo-project",
        region="us-central1",
        name="files-dev-default",
    )


# Defaults


def test_a_queue_has_the_tutorials_rates_and_retries_for_a_week(queue: Root) -> None:
    values = queue.plan()[QUEUE]
    assert rates_and_retries(values) == TUTORIALS_QUEUE
    assert values["stackdriver_logging_config"] == [{"sampling_ratio": 1}]
    assert values["desired_state"] == "RUNNING"
    assert values["deletion_policy"] == "DELETE"


def test_its_name_ends_in_the_moment_of_its_creation(queue: Root) -> None:
    plan = queue.plan()
    assert re.fullmatch(r"files-dev-default-\d{12}", plan[QUEUE]["name"])
    renewed = plan["terraform_data.suffix"]["triggers_replace"]
    assert renewed == ["demo-project", "us-central1", "files-dev-default"]


def test_nobody_may_enqueue(queue: Root) -> None:
    assert queue.plan().bindings() == set()


# Overrides


def test_enqueuers_may_enqueue_and_nothing_else(queue: Root) -> None:
    plan = queue.plan(enqueuers={"bridge": {"because": "it makes tasks", "member": "user:a@x.com"}})
    assert plan.bindings() == {
        ("user:a@x.com", "roles/cloudtasks.enqueuer", "queue/files-dev-default")
    }


def test_rates_are_settings(queue: Root) -> None:
    values = queue.plan(max_concurrent_dispatches=7, max_dispatches_per_second=0.5)[QUEUE]
    (rates,) = values["rate_limits"]
    assert (rates["max_dispatches_per_second"], rates["max_concurrent_dispatches"]) == (0.5, 7)


def test_retries_are_settings(queue: Root) -> None:
    retry = {
        "retry_days": 1,
        "max_attempts": 5,
        "max_backoff_seconds": 60,
        "max_doublings": 4,
        "min_backoff_seconds": 10,
    }
    assert queue.plan(retry=retry)[QUEUE]["retry_config"] == [
        {
            "max_attempts": 5,
            "max_backoff": "60s",
            "max_doublings": 4,
            "max_retry_duration": "86400s",
            "min_backoff": "10s",
        }
    ]


def test_it_can_be_paused_kept_and_logged_less(queue: Root) -> None:
    values = queue.plan(paused=True, deletion_policy="PREVENT", logging_ratio=0.1)[QUEUE]
    assert values["desired_state"] == "PAUSED"
    assert values["deletion_policy"] == "PREVENT"
    assert values["stackdriver_logging_config"] == [{"sampling_ratio": 0.1}]


# Rejections


REFUSED: list[Case] = [
    (
        {"enqueuers": {"a": {"because": "", "member": "user:a@x.com"}}},
        "enqueuers has an entry whose because does not say why it is granted",
    ),
    ({"deletion_policy": "KEEP"}, "deletion_policy is KEEP; it must be DELETE or PREVENT"),
    ({"logging_ratio": -0.1}, "logging_ratio is -0.1; it must be between 0 and 1"),
    ({"retry": {"min_backoff_seconds": 0}}, "retry waits 0 to 300 s"),
    ({"retry": {"max_doublings": -1}}, "retry.max_doublings is -1; it must be between 0 and 16"),
    ({"logging_ratio": 2}, "logging_ratio is 2; it must be between 0 and 1"),
    (
        {"max_concurrent_dispatches": 5001},
        "max_concurrent_dispatches is 5001 for files-dev-default; a queue takes",
    ),
    (
        {"max_concurrent_dispatches": 0},
        "max_concurrent_dispatches is 0 for files-dev-default; a queue takes",
    ),
    (
        {"max_dispatches_per_second": 0},
        "max_dispatches_per_second is 0 for files-dev-default; a queue takes more than 0",
    ),
    (
        {"max_dispatches_per_second": 501},
        "max_dispatches_per_second is 501 for files-dev-default; a queue takes",
    ),
    (
        {"name": "files_dev"},
        "name is files_dev (9 characters); a queue takes letters, digits and hyphens",
    ),
    ({"name": "x" * 88}, "(88 characters); a queue takes"),
    ({"retry": {"retry_days": 0}}, "retry.retry_days is 0; it must be above 0"),
    ({"retry": {"retry_days": 31}}, "retry.retry_days is 31; it must be above 0"),
    ({"retry": {"max_attempts": 0}}, "retry.max_attempts is 0; it must be at least 1"),
    ({"retry": {"min_backoff_seconds": 301}}, "retry waits 301 to 300 s"),
    ({"retry": {"max_backoff_seconds": 3601}}, "retry waits 2 to 3601 s"),
    (
        {"retry": {"max_doublings": 17}},
        "retry.max_doublings is 17; it must be between 0 and 16",
    ),
]


def test_the_bounds_themselves_are_taken(queue: Root) -> None:
    least = {"max_attempts": 1, "max_doublings": 0, "retry_days": 0.1}
    queue.plan(retry=least, max_concurrent_dispatches=1, logging_ratio=0)
    most = {"max_backoff_seconds": 3600, "max_doublings": 16}
    queue.plan(
        retry=most, max_concurrent_dispatches=5000, max_dispatches_per_second=500, logging_ratio=1
    )


@pytest.mark.parametrize("case", REFUSED, ids=case_id)
def test_refused(queue: Root, case: Case) -> None:
    assert case[1] in queue.refused(case, REFUSED)


def test_every_rule_refuses_something(queue: Root) -> None:
    assert unseen(queue, "terraform/modules/task_queue", REFUSED) == []
