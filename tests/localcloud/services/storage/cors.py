"""Cross-origin requests to Cloud Storage: what a browser is told of whom it may read from.

Objects by the XML API follow the bucket's `cors`; an upload session follows the Origin of the
request that started it, and the bucket's where that is another one.
https://docs.cloud.google.com/storage/docs/cross-origin
"""

from __future__ import annotations

from collections.abc import Iterable

from starlette.requests import Request
from starlette.responses import Response

from ...core.api import Json

SESSION_METHODS = "POST, PUT, DELETE"
SESSION_EXPOSED = "Content-Length, Content-Type, Date, Location, Range, X-GUploader-UploadID"
MAX_AGE = 3600  # seconds, where a bucket says nothing


def _rule(rules: Iterable[Json], origin: str, method: str) -> Json | None:
    """The first entry of a bucket's `cors` that has this origin and method."""
    for rule in rules:
        origins, methods = rule.get("origin", []), rule.get("method", [])
        if {origin, "*"} & set(origins) and {method, "*"} & set(methods):
            return rule
    return None


def _allowed(origin: str, **more: str) -> dict[str, str]:
    names = {k.replace("_", "-"): v for k, v in more.items()}
    return {"access-control-allow-origin": origin, "vary": "Origin"} | names


def preflight(request: Request, rules: list[Json], session_origin: str | None) -> Response:
    """The answer to an OPTIONS request; without CORS headers where nothing allows it.

    Args:
        rules: the bucket's `cors`.
        session_origin: the Origin that an upload session was started from; None: not a session.
    """
    origin = request.headers.get("origin", "")
    method = request.headers.get("access-control-request-method", "")
    asked = request.headers.get("access-control-request-headers", "")
    if session_origin and origin == session_origin:
        return Response(
            headers=_allowed(
                origin,
                access_control_allow_methods=SESSION_METHODS,
                access_control_allow_headers=asked,
                access_control_max_age=str(MAX_AGE),
            )
        )
    rule = _rule(rules, origin, method) if origin else None
    listed = {name.lower() for name in (rule or {}).get("responseHeader", [])}
    wanted = {name.strip().lower() for name in asked.split(",") if name.strip()}
    if rule is None or not ("*" in listed or wanted <= listed):
        return Response()
    return Response(
        headers=_allowed(
            "*" if "*" in rule["origin"] else origin,
            access_control_allow_methods=", ".join(rule["method"]),
            access_control_allow_headers=asked,
            access_control_max_age=str(rule.get("maxAgeSeconds", MAX_AGE)),
        )
    )


def share(request: Request, response: Response, rules: list[Json], session: str | None) -> Response:
    """`response` with the headers that let the page that asked read it, if it may.

    Args: as of `preflight`.
    """
    origin = request.headers.get("origin", "")
    if session:
        # Whoever asks: the session's own origin is named, so another page's browser refuses.
        response.headers.update(_allowed(session, access_control_expose_headers=SESSION_EXPOSED))
    elif origin and (rule := _rule(rules, origin, request.method)):
        exposed = ", ".join(rule.get("responseHeader", []))
        shown = "*" if "*" in rule["origin"] else origin
        response.headers.update(_allowed(shown, access_control_expose_headers=exposed))
    return response
