"""Cloud Tasks over REST, for callers of bridge.enqueue, which knows gRPC's errors."""

from __future__ import annotations

from typing import Any, cast

from google.api_core.exceptions import GoogleAPICallError, from_grpc_status
from grpc import StatusCode


class WithStatus:
    """create_task of a client over REST or gRPC, whose errors carry gRPC's status either way."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def create_task(self, request: dict[Any, Any], *, timeout: float) -> object:
        try:
            return self._client.create_task(request, timeout=timeout)
        except GoogleAPICallError as error:
            if error.response is None:  # gRPC's own
                raise
            raise _with_status(error) from error


def _with_status(error: GoogleAPICallError) -> Exception:
    """Over REST the canonical status is in the answer's body; else HTTP's code stands for one."""
    response = error.response
    try:
        status = StatusCode[response.json()["error"]["status"]]
    except (ValueError, KeyError, TypeError):
        code = int(response.status_code)
        throttled = StatusCode.RESOURCE_EXHAUSTED if code == 429 else StatusCode.INVALID_ARGUMENT
        status = StatusCode.UNAVAILABLE if code >= 500 else throttled
    return cast(Exception, from_grpc_status(status, error.message, response=response))
