"""Batch: what was set aside has got its outcome, and the last executions came to their end."""

from __future__ import annotations

from collections.abc import Iterator

from ..deadletters import DeadLetters
from ..look import Checks, Finding, Look, short

RUN = "https://run.googleapis.com/v2"
COUNTED = 1000  # dead letters, at most


def least(look: Look) -> dict[str, int]:
    return {
        "google_cloud_run_v2_job": 2,
        "google_cloud_scheduler_job": 2,
        "google_cloud_tasks_queue": 1,
        "google_cloudfunctions2_function": 1,
        "google_pubsub_subscription": 2,
        "google_pubsub_topic": 2,
        "google_service_account": 3,
        "google_storage_bucket": 1,
    }


def executions(look: Look) -> Iterator[Finding]:
    for declared in look.state.of("google_cloud_run_v2_job"):
        values = declared.values
        if declared.module != "batch":
            continue
        place = f"projects/{values['project']}/locations/{values['location']}"
        name = f"{place}/jobs/{short(values['name'])}"
        job = look.get("GET", f"{RUN}/{name}")
        if job is None:
            yield look.absent("executions of batch", declared, name)
            continue
        latest = job.get("latestCreatedExecution") or {}
        if latest.get("completionStatus") == "EXECUTION_FAILED":
            what = f"the last execution of {short(name)} failed: {short(latest['name'])}"
            fix = (
                "gcloud logging read 'resource.type=\"cloud_run_job\" AND severity>=ERROR' "
                f"--limit 20 --project {values['project']}"
            )
            yield Finding("error", "executions of batch", what, fix)


def dead_letters(look: Look) -> Iterator[Finding]:
    """The next execution takes them: those that stay were met by none."""
    for declared in look.state.of("google_pubsub_subscription"):
        name = str(declared.values["name"])
        if declared.module != "batch" or not name.endswith("-dead"):
            continue
        subscription = f"projects/{look.environment.project}/subscriptions/{short(name)}"
        if count := len(DeadLetters(look.clients, subscription).peek(COUNTED)):
            what = f"set aside in {short(name)}: {count}, which wait for their outcome"
            job = short(name).replace("tasks", "worker").removesuffix("-dead")
            where = f"--region={look.environment.region} --project={look.environment.project}"
            fix = f"gcloud run jobs execute {job} --wait {where}"
            yield Finding("error", "dead letters of batch", what, fix)


CHECKS: Checks = {"executions of batch": executions, "dead letters of batch": dead_letters}
