"""Status: what has become of a file, once or as it happens."""

from __future__ import annotations

import functions_framework
from flask import Request, Response, request

from runtime.logs import Log
from runtime.once import once
from runtime.storage import cloud_storage
from status.events import Places
from status.records import Records
from status.service import Status
from status.settings import Config
from status.signing import Signer
from web.access import Callers
from web.site import Site


@once
def here() -> Site:
    config = Config.from_env()
    client = once(lambda: cloud_storage(config.project_id))
    return Status(
        config,
        Callers(config.access),
        Records(client, config.results_bucket, config.published_bucket),
        Signer(client, config.results_bucket, config.signer),
        Places(config.max_streams),
        Log(config.project_id, config.hash_object_names),
    ).site()


@functions_framework.http
def handle(request: Request) -> Response:
    """One request of a client or a browser."""
    return here().answer(request)


@functions_framework.errorhandler(404)  # type: ignore[untyped-decorator]
def elsewhere(_: Exception) -> Response:
    """Paths that the framework's own route does not match, such as those with a line break."""
    return here().answer(request)
