"""Upload: takes a file's description and answers with a place for its bytes, or takes the bytes."""

from __future__ import annotations

import functions_framework
from flask import Request, Response, request

from runtime.logs import Log
from runtime.once import once
from runtime.storage import cloud_storage
from upload.pages import Pages
from upload.service import Upload
from upload.settings import Config, rules
from upload.storage import Storage
from web.access import Callers
from web.site import Handler, Site


def site(upload: Upload) -> Site:
    routes: dict[str, Handler] = {
        "POST /files": upload.files,
        "POST /upload": upload.form,
        "GET /health": upload.health,
        "GET /settings": upload.settings,
        **Pages(upload.config.status_url).routes(),
    }
    return Site(upload.log, "upload", routes, upload.allowed_origin)


@once
def here() -> Site:
    config = Config.from_env()
    storage = Storage(once(lambda: cloud_storage(config.project_id)), config.uploads_bucket)
    log = Log(config.project_id, config.hash_object_names)
    return site(Upload(config, rules(), Callers(config.access), storage, log))


@functions_framework.http
def handle(request: Request) -> Response:
    """One request of a client or a browser."""
    return here().answer(request)


@functions_framework.errorhandler(404)  # type: ignore[untyped-decorator]
def elsewhere(_: Exception) -> Response:
    """Paths that the framework's own route does not match, such as those with a line break."""
    return here().answer(request)
