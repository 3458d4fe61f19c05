"""What the paths of the status service do."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flask import Request, Response

from portal.names import File
from runtime.logs import Log
from status.document import RETRY_AFTER, document, etag
from status.events import MAX_FILES, Places, stream
from status.records import Records, Seen
from status.settings import Config
from status.signing import Signer
from web.access import Callers
from web.problems import bad
from web.site import Handler, Site


@dataclass(frozen=True, slots=True)
class Status:
    config: Config
    callers: Callers
    records: Records
    signer: Signer
    places: Places
    log: Log

    def file(self, request: Request, file_id: str) -> Response:
        """GET /files/<file_id>: the document, or 304 for the ETag of the last one."""
        (file,) = self._files(request, [file_id])
        seen = self.records.look(file)
        told = document(file, seen, self.signer)
        response = Response(json.dumps(told), mimetype="application/json")
        response.set_etag(etag(told))
        response.headers["Cache-Control"] = "private, no-cache"
        if not seen.ended:
            response.headers["Retry-After"] = str(RETRY_AFTER[seen.status])
        response.make_conditional(request)
        return response

    def events(self, request: Request) -> Response:
        """GET /events?file_id=…: server-sent events of the same documents."""
        wanted = list(dict.fromkeys(request.args.getlist("file_id")))
        if not 1 <= len(wanted) <= MAX_FILES:
            raise bad("file_id", f"must be given 1 to {MAX_FILES} times")
        files = self._files(request, wanted)
        release = self.places.take()
        try:
            # The first look is made before the answer begins, so that an outage has its status.
            look = _beginning_with(files[0], self.records.look(files[0]), self.records.look)
            events = stream(files, look, self._told, self.config.stream_seconds)
            response = Response(events, mimetype="text/event-stream")
        except BaseException:
            release()
            raise
        response.call_on_close(release)
        response.headers["Cache-Control"] = "no-store, no-transform"
        response.headers["X-Accel-Buffering"] = "no"
        return response

    def health(self, request: Request) -> Response:
        return Response('{"status": "ok"}', mimetype="application/json")

    def _files(self, request: Request, file_ids: list[str]) -> list[File]:
        owner = self.callers.owner(request.headers.get("Authorization"), request.args.get("owner"))
        return [File.parse(file_id, owner) for file_id in file_ids]

    def _told(self, file: File, seen: Seen) -> dict[str, Any]:
        return document(file, seen, self.signer)

    def site(self) -> Site:
        routes: dict[str, Handler] = {
            "GET /files/<file_id>": self.file,
            "GET /events": self.events,
            "GET /health": self.health,
        }
        # No cookie is read, so a page can do no more than whoever wrote it could without one.
        return Site(self.log, "status", routes, lambda request: "*")


def _beginning_with(
    file: File, seen: Seen, look: Callable[[File, Seen | None, bool], Seen]
) -> Callable[[File, Seen | None, bool], Seen]:
    """`look`, whose first answer for this file is there already."""

    def first(asked: File, before: Seen | None, thorough: bool) -> Seen:
        return seen if asked is file and before is None else look(asked, before, thorough)

    return first
