"""The roles that an operator's commands need: the table "Least roles" of docs/operations.md.

Each is beside that of "all"; "status of a pending object", "logs of an object" and "redrive
--dead-letters" are beside those of status, logs and redrive. Tests grant and withhold them, and
`tests/policies/test_pages.py` compares the page with them. What they are on is in its words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.system.pipeline import Pipeline

Need = tuple[str, str]  # role, what it is on

VIEWER, USER = "roles/storage.objectViewer", "roles/storage.objectUser"
QUEUE, DEAD, PROJECT = "each lane's queue", "the dead-letter subscription", "the project"
RECORDS = [(VIEWER, "uploads"), (VIEWER, "results"), ("roles/cloudtasks.viewer", QUEUE)]
TASKS = [
    ("roles/cloudtasks.enqueuer", QUEUE),
    ("roles/iam.serviceAccountUser", "the tasks-invoker account"),
]
PAUSE = [("roles/cloudtasks.queueAdmin", QUEUE)]

ALL: dict[str, list[Need]] = {"all": [(VIEWER, "the state bucket")]}
# Each is withheld by test_ops.py.
OPS: dict[str, list[Need]] = {
    "status": RECORDS,
    "status of a pending object": [("roles/pubsub.subscriber", DEAD)],
    "reconcile": [*RECORDS, *TASKS],
    "redrive": [*RECORDS, *TASKS],
    "redrive --dead-letters": [("roles/pubsub.subscriber", DEAD)],
    "doctor": [
        ("roles/cloudtasks.viewer", QUEUE),
        ("roles/pubsub.subscriber", DEAD),
        ("roles/cloudfunctions.viewer", PROJECT),
        ("roles/pubsub.viewer", PROJECT),
        ("roles/storage.bucketViewer", PROJECT),
        ("roles/iam.securityReviewer", PROJECT),
    ],
}
# Each is withheld by test_care.py.
CARE: dict[str, list[Need]] = {
    "stats": [(VIEWER, "results")],
    "logs": [("roles/logging.viewer", PROJECT)],
    "logs of an object": [(VIEWER, "uploads")],
    "pause": PAUSE,
    "resume": PAUSE,
    "erase": [
        ("roles/cloudtasks.viewer", QUEUE),
        ("roles/cloudtasks.taskDeleter", QUEUE),
        (USER, "uploads"),
        (USER, "results"),
    ],
}
# Each is withheld by test_told.py.
TOLD: dict[str, list[Need]] = {
    "redrive --subscribers": [
        ("roles/pubsub.subscriber", "its dead-letter subscription"),
        ("roles/pubsub.publisher", "the topic"),
    ],
}
# Proved in tests that have a table of their own: where.
ANSWER = [(VIEWER, "the published bucket"), ("files_approvals_approver", PROJECT)]
APPROVALS: dict[str, list[Need]] = dict.fromkeys(("approvals", "approve", "reject"), ANSWER)
ELSEWHERE = {
    "files_approvals_approver": "tests/approvals/test_permissions.py::nobody_answers",
    VIEWER: "tests/approvals/test_permissions.py::published_is_read",
}
# No test grants these alone; the page says so of each.
NOT_TRIED: dict[str, list[Need]] = {
    "status where there are approvals": [(VIEWER, "the published bucket")],
    "redrive where tasks wait for a wrong address": [("roles/cloudtasks.taskDeleter", QUEUE)],
    "reconcile where tasks wait for a wrong address": [("roles/cloudtasks.taskDeleter", QUEUE)],
    "approvals --restart": [(VIEWER, "results"), ("roles/workflows.invoker", PROJECT)],
    "erase where there are approvals": [
        (USER, "the published bucket"),
        ("roles/workflows.invoker", PROJECT),
    ],
    "verify": [(USER, "uploads"), (USER, "results")],
}
LEAST = ALL | OPS | CARE | TOLD | APPROVALS | NOT_TRIED


def needs(*commands: str) -> list[Need]:
    """All that these commands need."""
    return [need for command in ("all", *commands) for need in LEAST[command]]


def resources(pipeline: Pipeline) -> dict[str, str]:
    """What the page calls it → the resource in environments/dev."""
    project = pipeline.cloud.project
    accounts = f"projects/{project}/serviceAccounts"
    return {
        "the state bucket": f"projects/_/buckets/{project}-files-tfstate",
        "uploads": f"projects/_/buckets/{pipeline.uploads}",
        "results": f"projects/_/buckets/{pipeline.results}",
        QUEUE: str(pipeline.outputs["queues"]["default"]),
        DEAD: str(pipeline.outputs["dead_letter_subscription"]),
        PROJECT: f"projects/{project}",
        "the tasks-invoker account":
            f"{accounts}/files-dev-tasks-invoker@{project}.iam.gserviceaccount.com",
    }  # fmt: skip
