"""Submit: takes tasks, keeps each as a request, and has a worker do it."""

from __future__ import annotations

import functions_framework
from flask import Request, Response, request

from batch.records import Records
from runtime.logs import Log
from runtime.once import once
from runtime.storage import cloud_storage
from submit.announce import Announcer, cloud_tasks, publisher
from submit.service import Submit
from submit.settings import Config
from web.access import Callers
from web.site import Handler, Site


def site(submit: Submit) -> Site:
    routes: dict[str, Handler] = {
        "POST /submit-task": submit.task,
        "POST /submit-file-task": submit.file_task,
        "POST /submit-data-task": submit.data_task,
        "POST /tasks:batch": submit.many,
        "GET /tasks": submit.list_tasks,
        "GET /tasks/<task_id>": submit.show,
        "GET /batches/<batch_id>": submit.batch,
        "POST /batches/<batch_id>:cancel": submit.cancel,
        "GET /openapi.json": submit.openapi,
        "GET /health": submit.health,
    }
    return Site(submit.log, "submit", routes, submit.allowed_origin)


@once
def here() -> Site:
    config = Config.from_env()
    client = once(lambda: cloud_storage(config.project_id, config.threads))
    announcer = Announcer(config, once(publisher), once(cloud_tasks))
    log = Log(config.project_id, config.hash_object_names)
    records = Records(client, config.tasks_bucket)
    return site(Submit(config, records, announcer, Callers(config.access), log))


@functions_framework.http
def handle(request: Request) -> Response:
    """One request of a client."""
    return here().answer(request)


@functions_framework.errorhandler(404)  # type: ignore[untyped-decorator]
def elsewhere(_: Exception) -> Response:
    """Paths that the framework's own route does not match, such as those with a line break."""
    return here().answer(request)
