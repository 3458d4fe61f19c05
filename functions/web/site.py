"""From a request to its handler, and what every answer carries."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from typing import Any

from flask import Request, Response
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound, RequestEntityTooLarge
from werkzeug.routing import Map, Rule

from runtime.logs import Log
from web.problems import Problem, Unreached

Handler = Callable[..., Response]
MAX_BODY_BYTES = 64 * 1024  # unless a handler takes more
EXPOSED = "ETag, Location, Retry-After"
ALLOWED = "Authorization, Content-Type, Idempotency-Key, If-None-Match, Last-Event-ID"
# For answers that are data: nothing of them may run, be framed or be kept.
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "Referrer-Policy": "no-referrer",
    "Strict-Transport-Security": "max-age=31536000",
    "X-Content-Type-Options": "nosniff",
}


class Site:
    """A function's paths.

    Args:
        log: takes one line for each refusal (event `<name>_refused`, below 500), each call of
            Google that failed (`<name>_failed`), each fault of our own (`<name>_broken`).
        name: in those events.
        routes: "METHOD /path/<part>" → handler(request, **parts).
        allowed_origin: the Access-Control-Allow-Origin for a request, or None for none. Raises
            Problem for a page that may not call.
    """

    def __init__(
        self,
        log: Log,
        name: str,
        routes: Mapping[str, Handler],
        allowed_origin: Callable[[Request], str | None],
    ) -> None:
        self._log, self._name, self._allowed_origin = log, name, allowed_origin
        rules = []
        for route, handler in routes.items():
            method, _, path = route.partition(" ")
            rules.append(Rule(path, methods=[method], endpoint=handler))
        self._paths = Map(rules, strict_slashes=False, merge_slashes=False)

    def answer(self, request: Request) -> Response:
        origin: str | None = None
        request.max_content_length = MAX_BODY_BYTES
        try:
            origin = self._allowed_origin(request)
            response = self._perform(request)
        except Problem as problem:
            self._tell(problem, request)
            response = problem.response()
        except Exception as error:  # a fault of our own: said so, and nothing of it told outside
            # Without the error's text, which may hold a URL that is a key.
            stack = "".join(traceback.format_tb(error.__traceback__))
            self._log.write(
                "ERROR", f"{self._name}_broken", "a fault of this function",
                error_type=type(error).__name__, stack=stack,
            )  # fmt: skip
            detail = "A fault of this service, which its operator is told of; try again later."
            response = Problem(500, "broken", detail, retry_after=30).response()
        for header, value in HEADERS.items():
            response.headers.setdefault(header, value)
        response.headers.add("Vary", "Origin")
        if origin is not None:
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = EXPOSED
        return _without_reading_on(request, response)

    def _perform(self, request: Request) -> Response:
        adapter = self._paths.bind("here")
        if request.method == "OPTIONS":
            return self._preflight(adapter.allowed_methods(request.path))
        try:
            handler, parts = adapter.match(request.path, request.method)
            return handler(request, **parts)  # type: ignore[no-any-return]
        except MethodNotAllowed as error:
            allowed = ", ".join(sorted({*(error.valid_methods or ()), "OPTIONS"}))
            problem = Problem(405, "method_not_allowed", f"This path takes {allowed}.")
            self._tell(problem, request)
            response = problem.response()
            response.headers["Allow"] = allowed
            return response
        except NotFound:
            raise Problem(
                404,
                "no_such_path",
                "Nothing is here; GET /openapi.json of the upload service lists what is.",
            ) from None
        except RequestEntityTooLarge:
            raise Problem(
                413, "body_too_large", "The request's body is too large for this path."
            ) from None
        except HTTPException as error:
            raise Problem(error.code or 400, "bad_request", "The request cannot be read.") from None

    def _preflight(self, methods: Any) -> Response:
        if not methods:
            raise Problem(404, "no_such_path", "Nothing is here.")
        response = Response(status=204)
        response.headers["Allow"] = ", ".join(sorted({*methods, "OPTIONS"}))
        response.headers["Access-Control-Allow-Methods"] = ", ".join(sorted(methods))
        response.headers["Access-Control-Allow-Headers"] = ALLOWED
        response.headers["Access-Control-Max-Age"] = "3600"
        return response

    def _tell(self, problem: Problem, request: Request) -> None:
        about: dict[str, Any] = {"reason": problem.reason, "status": problem.status}
        # `error` repeats the detail, which is not for the log: it quotes what was sent.
        about |= {"method": request.method}
        about |= {name: value for name, value in problem.more.items() if name != "error"}
        if isinstance(problem, Unreached):
            self._log.write(
                "ERROR", f"{self._name}_failed", "a call of Google failed", **about,
                cause=problem.cause,
            )  # fmt: skip
        else:
            self._log.write("WARNING", f"{self._name}_refused", "request refused", **about)


def _without_reading_on(request: Request, response: Response) -> Response:
    """functions-framework reads what is left of a request into memory, unless the answer streams.

    So that nobody fills an instance's memory, or holds its threads, with bodies that it refuses.
    """
    length = request.content_length or 0
    chunked = "chunked" in request.headers.get("Transfer-Encoding", "").lower()
    is_read = request.method == "POST" and response.status_code < 400
    if response.is_streamed or not (chunked or length > (MAX_BODY_BYTES if is_read else 0)):
        return response
    content = response.get_data()
    response.response = iter([content])
    response.headers["Content-Length"] = str(len(content))
    response.headers["Connection"] = "close"
    return response
