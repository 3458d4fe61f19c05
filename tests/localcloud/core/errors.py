"""Google's error shape: {"error": {code, message, status, errors, details}}."""

from __future__ import annotations

from typing import Any

STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ALREADY_EXISTS",
    412: "FAILED_PRECONDITION",
    416: "OUT_OF_RANGE",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
REASON = {
    400: "badRequest",
    401: "required",
    403: "forbidden",
    404: "notFound",
    409: "conflict",
    412: "conditionNotMet",
    416: "requestedRangeNotSatisfiable",
    429: "rateLimitExceeded",
    503: "backendError",
}


class ApiError(Exception):
    """An answer that is not a success.

    Args:
        code: HTTP status.
        message: for a person.
        status: google.rpc.Code by name; the usual one for `code` when left out.
        reason: the legacy `errors[].reason`; the usual one when left out.
        details: google.rpc details, as JSON.
    """

    def __init__(
        self,
        code: int,
        message: str,
        status: str | None = None,
        reason: str | None = None,
        details: list[dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(message)
        self.code, self.message = code, message
        self.status = status or STATUS.get(code, "UNKNOWN")
        self.reason = reason or REASON.get(code, "error")
        self.details = details or []

    def body(self) -> dict[str, Any]:
        error: dict[str, Any] = {
            "code": self.code,
            "message": self.message,
            "status": self.status,
            "errors": [{"message": self.message, "domain": "global", "reason": self.reason}],
        }
        if self.details:
            error["details"] = self.details
        return {"error": error}


class Reset(ApiError):
    """No answer: the connection breaks off instead (a fault on request)."""

    def __init__(self, message: str) -> None:
        super().__init__(499, message)


def invalid(message: str, field: str = "", reason: str | None = None) -> ApiError:
    """400 for a request that is not as its document wants it, with the field that is wrong."""
    violation = {"field": field, "description": message} if field else {"description": message}
    bad = {"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [violation]}
    return ApiError(400, message, reason=reason, details=[bad])


def not_found(what: str) -> ApiError:
    return ApiError(404, f"{what} does not exist.")


def not_implemented(what: str) -> ApiError:
    return ApiError(
        501, f"not implemented: {what} (this local cloud serves what the repository uses)"
    )
