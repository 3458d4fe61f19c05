"""Errors as RFC 9457 has them: application/problem+json with a stable reason beside the text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

from flask import Response

# Google's passing troubles: too much, too slow, not there for a moment.
_PASSING = {408, 429, 500, 502, 503, 504}


class Problem(Exception):
    """An answer that is not a success.

    Attributes:
        status: of the HTTP answer.
        reason: a stable snake_case code.
        detail: one sentence for a person: what is wrong, and the way out.
        retry_after: seconds, where trying again later may help.
        more: further members of the body.
    """

    def __init__(
        self, status: int, reason: str, detail: str, *, retry_after: int | None = None, **more: Any
    ) -> None:
        super().__init__(detail)
        self.status, self.reason, self.detail = status, reason, detail
        self.retry_after, self.more = retry_after, more

    def response(self) -> Response:
        body = {
            "type": "about:blank", "title": HTTPStatus(self.status).phrase, "status": self.status,
            "reason": self.reason, "detail": self.detail, **self.more,
        }  # fmt: skip
        response = Response(json.dumps(body), self.status, mimetype="application/problem+json")
        if self.retry_after is not None:
            response.headers["Retry-After"] = str(self.retry_after)
        if self.status == 401:
            response.headers["WWW-Authenticate"] = "Bearer"
        return response


class Unreached(Problem):
    """A call of Google failed. Its text is kept out of answers and logs: it may hold a URL that
    is a key; `cause` is the error's name and Google's status."""

    def __init__(self, service: str, cause: str, code: int | None) -> None:
        self.cause = cause
        if code is None or code in _PASSING:
            detail = f"{service} gives no answer at the moment; try again in a few seconds."
            super().__init__(503, "unavailable", detail, retry_after=5)
        else:
            detail = f"{service} refuses this service, whose operator has to look; try again later."
            super().__init__(502, "refused_upstream", detail, retry_after=30)


@contextmanager
def reached(service: str) -> Iterator[None]:
    """Raises Unreached for no token, no connection, and each answer of Google that fails."""
    from google.api_core.exceptions import GoogleAPICallError, GoogleAPIError
    from google.auth.exceptions import GoogleAuthError
    from urllib3.exceptions import HTTPError

    try:
        yield
    except (GoogleAPIError, GoogleAuthError, HTTPError, OSError) as error:
        code = int(error.code) if isinstance(error, GoogleAPICallError) and error.code else None
        raise Unreached(service, type(error).__name__, code) from None


def bad(field: str, rule: str, reason: str = "bad_request") -> Problem:
    return Problem(400, reason, f"{field} {rule}.", field=field)
