"""Refusals on the wire: `application/problem+json` (RFC 9457) with a stable `code`; the one map from error to status.

Invariants
  P1  Nothing but the map below decides a status; a refusal of a kind that is not in it is a bug.
  P2  A problem tells the code, one sentence, and the refusal's parameters; never a stack trace, a path or a secret.
  P3  What is our own fault is 500 `internal_error` with a request id, under which the log has the rest.

Left out: who raises what (docs/errors.md lists all codes).
"""

from __future__ import annotations

import json
from typing import Any, Final

from fastapi.exceptions import RequestValidationError
from starlette.responses import Response

from common.core.errors import (
    Conflict,
    Forbidden,
    Gone,
    Malformed,
    NotFound,
    QuotaExceeded,
    Rejected,
    RuleBroken,
    TooLarge,
    Unauthorised,
    Unavailable,
)
from common.node.store.store_errors import DamagedStore

PROBLEM_TYPE: Final = "application/problem+json"
TYPE_PREFIX: Final = "urn:tongjian:error:"
RETRY_AFTER_S: Final = 1
"""For 429 and 503 without a better estimate: a few blocks later the pool has room again."""

STATUS_OF_KIND: Final[dict[type[Rejected], int]] = {
    Malformed: 400,
    Unauthorised: 401,
    Forbidden: 403,
    NotFound: 404,
    Conflict: 409,
    Gone: 410,
    TooLarge: 413,
    RuleBroken: 422,
    QuotaExceeded: 429,
    Unavailable: 503,
}
_TITLES: Final[dict[int, str]] = {
    400: "Malformed request",
    401: "Not authenticated",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    408: "Request took too long",
    409: "Conflict",
    410: "Pruned",
    413: "Too large",
    415: "Unsupported encoding",
    422: "Rule broken",
    429: "Quota exceeded",
    431: "Header fields too large",
    500: "Internal error",
    501: "Not implemented",
    503: "Not available now",
}
EDGE_CODES: Final[dict[str, tuple[int, str]]] = {
    "body_too_large": (413, "The request's body is longer than this route takes."),
    "body_incomplete": (400, "The connection ended before the body did."),
    "body_timeout": (408, "The request's body did not arrive in time."),
    "content_encoding_unsupported": (415, "Send the body without compression."),
    "database_damaged": (503, "This node cannot read what it has stored; ask another node."),
    "headers_too_large": (431, "The request's header fields are too many or too long."),
    "host_header": (400, "An HTTP/1.1 request has exactly one Host header (RFC 9112, section 3.2)."),
    "http_head_too_large": (431, "The request's line and header fields exceed what the server reads."),
    "http_malformed": (400, "The request is not HTTP/1.1."),
    "internal_error": (500, "The node failed to answer; its log knows more under the request id."),
    "method_not_allowed": (405, "This path does not take this method."),
    "request_invalid": (400, "A path or query parameter is missing or wrong."),
    "route_unknown": (404, "There is no such path."),
    "transfer_encoding_unsupported": (501, "Send the body with a Content-Length, or chunked and nothing else."),
}
"""Codes that only the HTTP edge uses (and `http.server`, before there is a request): status and sentence."""
_RESERVED: Final = frozenset({"type", "title", "status", "code", "detail", "request_id"})


def status_of(error: Rejected) -> int:
    """HTTP status of a refusal: that of its nearest kind."""
    for kind in type(error).__mro__:
        status = STATUS_OF_KIND.get(kind)
        if status is not None:
            return status
    return 400


def code_of(failure: Exception) -> str:
    """The code with which the edge answers what a route raises."""
    match failure:
        case Rejected():
            return failure.code
        case RequestValidationError():
            return "request_invalid"
        case DamagedStore():
            return "database_damaged"
        case _:
            return "internal_error"


def problem(
    status: int, code: str, detail: str, *, request_id: str, headers: dict[str, str] | None = None, **members: Any
) -> Response:
    """A problem document as a response."""
    document = {key: value for key, value in members.items() if key not in _RESERVED}
    document |= {
        "type": TYPE_PREFIX + code,
        "title": _TITLES.get(status, "Refused"),
        "status": status,
        "code": code,
        "detail": detail,
        "request_id": request_id,
    }
    # Half a surrogate pair, if one ever gets here, becomes the JSON escape that stands for it instead of a failure.
    content = json.dumps(document, ensure_ascii=False).encode("utf-8", "backslashreplace")
    return Response(content, status, headers, PROBLEM_TYPE)


def problem_of(error: Rejected, request_id: str) -> Response:
    """The response to a refusal; 401 asks for a token, 429 and 503 say when to come back."""
    status = status_of(error)
    headers: dict[str, str] = {}
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="tongjian"'
    if status in (429, 503):
        headers["Retry-After"] = str(error.parameters.get("retry_after_s", RETRY_AFTER_S))
    return problem(status, error.code, error.detail, request_id=request_id, headers=headers, **error.parameters)


def edge_problem(code: str, request_id: str, headers: dict[str, str] | None = None, **members: Any) -> Response:
    """The response for one of `EDGE_CODES`."""
    status, detail = EDGE_CODES[code]
    detail = members.pop("detail", detail)
    return problem(status, code, detail, request_id=request_id, headers=headers, **members)
