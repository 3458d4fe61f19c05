"""The services that are measured, started as they are in production."""

from __future__ import annotations

from collections.abc import Mapping

from tests.bench.service import Service
from tests.bench.site import BASELINE, Function, Site
from tests.bench.subject import ROOT

FRAMEWORK = ("--target=handle", "--source=main.py", "--host=127.0.0.1", "--port={port}")
RUN = "import runpy; runpy.run_module('functions_framework', run_name='__main__', alter_sys=True)"
CLIENTS = {
    "own": "the bridge as it is: google-cloud-tasks over gRPC, the token with each call",
    "grpc": "google-cloud-tasks over gRPC, its default",
    "rest": "google-cloud-tasks over REST",
    "direct": "the REST API over urllib3 alone",
}


def function(what: Function, environ: Mapping[str, str], core: int | None = None) -> Service:
    """A function as Google's buildpack starts it."""
    command = [str(what.python), "-m", "functions_framework", *FRAMEWORK]
    return Service(command, what.source, environ, core)


def processor(site: Site, core: int | None = None) -> Service:
    return function(site.processor, _environ(site), core)


def tutorial(site: Site, core: int | None = None) -> Service:
    """The baseline's processor, as the tutorial starts it."""
    environ = site.processor.way | {"RESULTS_BUCKET": site.results}
    command = [str(site.baseline), "-m", "gunicorn", "--workers=2", "--threads=4",
               "--timeout=300", "--bind=127.0.0.1:{port}", "processor:app"]  # fmt: skip
    return Service(command, BASELINE, environ, core)


def bridge(what: Function, client: str, core: int | None = None) -> Service:
    """The bridge over one of CLIENTS, which is made at the start, not lazily."""
    change = ""
    if client == "direct":
        change = (
            f"sys.path.append({str(ROOT)!r}); "
            "from tests.bench.subjects.tasks_direct import DirectTasks; "
            "from bridge import enqueue; "
            "enqueue.cloud_tasks = DirectTasks; "
        )
    elif client != "own":
        change = (
            "from bridge import enqueue; from google.cloud.tasks_v2 import CloudTasksClient; "
            f"enqueue.cloud_tasks = lambda: CloudTasksClient(transport={client!r}); "
        )
    script = f"import sys; sys.path.insert(0, '.'); {change}import main; main.bridge(); {RUN}"
    command = [str(what.python), "-c", script, *FRAMEWORK]
    return Service(command, what.source, what.environ, core)


def _environ(site: Site) -> dict[str, str]:
    own = {"UPLOADS_BUCKET": site.uploads, "RESULTS_BUCKET": site.results}
    return {**site.processor.environ, **own}
