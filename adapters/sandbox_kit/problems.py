"""Refusals of an agency, as problem documents (RFC 9457).

`type` ends in a short stable code, which the caller keeps; nothing of the request is repeated in a problem.
"""

from http import HTTPStatus
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException

PROBLEM_TYPE = "urn:onestop:agency-problem:"
MEDIA_TYPE = "application/problem+json"


class Problem(Exception):
    """What the agency answers instead of a reply; `code` becomes the last segment of the problem's type."""

    def __init__(
        self, status: int, code: str, detail: str = "", *, retry_after_seconds: int | None = None
    ) -> None:
        super().__init__(f"{status} {code}")
        self.status = HTTPStatus(status)
        self.code = code
        self.detail = detail
        self.retry_after_seconds = retry_after_seconds


class ProblemDocument(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The body of a refusal."""

    type: str
    title: str
    status: int
    detail: str = ""


def answer_problem(_: Request[Any, Any, Any], problem: Problem) -> Response[bytes]:
    """The response for a `Problem`."""
    headers = {} if problem.retry_after_seconds is None else {"Retry-After": str(problem.retry_after_seconds)}
    document = ProblemDocument(
        type=PROBLEM_TYPE + problem.code,
        title=problem.status.phrase,
        status=problem.status,
        detail=problem.detail,
    )
    return Response(
        msgspec.json.encode(document), status_code=problem.status, media_type=MEDIA_TYPE, headers=headers
    )


def answer_framework_refusal(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """The response where the framework refused first (no such route, body too large, wrong method)."""
    return answer_problem(request, Problem(error.status_code, f"http-{error.status_code}"))
