"""The sweep: its schedule runs, and its last call came to its end."""

from __future__ import annotations

from collections.abc import Iterator

from ..look import Checks, Finding, Look, short

SCHEDULER = "https://cloudscheduler.googleapis.com/v1"


def schedule(look: Look) -> Iterator[Finding]:
    check = "schedule of the sweep"
    for declared in look.state.of("google_cloud_scheduler_job"):
        if declared.module != "sweep":
            continue
        values = declared.values
        place = f"projects/{values['project']}/locations/{values['region']}"
        name = f"{place}/jobs/{short(values['name'])}"
        job = look.get("GET", f"{SCHEDULER}/{name}")
        if job is None:
            yield look.absent(check, declared, name)
            continue
        state, wanted = job.get("state"), "PAUSED" if values.get("paused") else "ENABLED"
        if state != wanted:
            verb = "resume" if wanted == "ENABLED" else "pause"
            what = f"{name} is {state}, declared is {wanted}: what is lost is not found"
            where = f"--location={values['region']} --project={values['project']}"
            fix = f"gcloud scheduler jobs {verb} {short(name)} {where}"
            yield Finding("error", check, what, fix)
        yield from look.differing(check, name, {"cron": (job.get("schedule"), values["schedule"])})
        if code := (job.get("status") or {}).get("code"):
            what = f"the last call of {name} failed with status {code}"
            fix = f"make logs ENV={look.state.name} PROJECT={values['project']} EVENT=sweep_failed"
            yield Finding("error", check, what, fix)


CHECKS: Checks = {"schedule of the sweep": schedule}
