"""Errors become RFC 9457 problem documents here, from one table, and nowhere else.

Each room raises its own typed errors and knows nothing of HTTP; `TABLE` says which status, stable type and
title they get. What a caller may be told beyond the title is added in `_members_of`; a refused token or
signature is told nothing, so that nobody learns which check failed. An error that stands nowhere in the table
is ours to mend: it is logged once, with its trace, and answered with a bare 500.

Texts are in zh-TW unless `Accept-Language` prefers English. A problem's `type` is part of the interface: it
never changes once released.
"""

import contextlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import msgspec
import sqlalchemy.exc
import structlog
from litestar import Request, Response
from litestar.exceptions import (
    HTTPException,
    MethodNotAllowedException,
    SerializationException,
    ValidationException,
)
from litestar.types import ExceptionHandlersMap, Method

from adapters import errors as adapters
from consent import errors as consent
from consent.database import fault_name
from gateway.identity import errors as identity
from gateway.requests import MalformedBody
from services import errors as services

TYPE_PREFIX = "urn:onestop:problem:"
MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 5

Language = Literal["zh-TW", "en"]

log = structlog.get_logger(__name__)


class Kind(NamedTuple):
    """What the table says of one kind of error."""

    status: int
    slug: str
    title_zh: str
    title_en: str


TABLE: Mapping[type[Exception], Kind] = {
    MalformedBody: Kind(400, "malformed-body", "請求內容無法解讀", "The request body cannot be read"),
    SerializationException: Kind(
        400, "malformed-body", "請求內容無法解讀", "The request body cannot be read"
    ),
    ValidationException: Kind(422, "invalid-input", "輸入內容有誤", "The input has errors"),
    identity.NotAuthenticated: Kind(401, "not-authenticated", "請先登入", "Please log in"),
    identity.LoginRefused: Kind(400, "login-refused", "登入未完成，請重新登入", "The login did not succeed"),
    identity.CsrfRefused: Kind(
        403, "csrf-refused", "請重新載入頁面後再試", "Load the page anew and try again"
    ),
    identity.RoleRequired: Kind(403, "role-required", "您沒有執行此操作的權限", "You may not do this"),
    identity.ProviderUnavailable: Kind(
        503,
        "identity-provider-unavailable",
        "身分驗證服務暫時無法使用",
        "The identity provider does not answer",
    ),
    consent.NotPermitted: Kind(403, "not-permitted", "沒有有效的合法依據", "No lawful basis covers this"),
    consent.TransitionRefused: Kind(
        409, "state-conflict", "目前狀態不允許此操作", "The present state does not allow this"
    ),
    consent.CeilingExceeded: Kind(
        422, "ceiling-exceeded", "要求的範圍超過特定目的所允許", "More was asked for than the purpose allows"
    ),
    consent.TokenRefused: Kind(401, "token-refused", "權杖無效", "The token is not accepted"),
    consent.KeyMissing: Kind(410, "erased", "資料已依法刪除", "This record was erased"),
    adapters.SignatureRefused: Kind(401, "signature-refused", "簽章無效", "The signature is not accepted"),
    adapters.Unavailable: Kind(
        503, "agency-unavailable", "機關系統暫時無法使用", "An agency does not answer"
    ),
    services.ServiceNotFound: Kind(404, "not-found", "查無此資料", "Not found"),
    services.CaseNotFound: Kind(404, "not-found", "查無此資料", "Not found"),
    services.NotAllowed: Kind(409, "not-allowed", "目前無法執行此操作", "This cannot be done now"),
    services.StaleVersion: Kind(412, "stale-version", "資料已被更新，請重新取得", "Somebody saved meanwhile"),
    services.PreconditionMissing: Kind(428, "precondition-missing", "缺少必要標頭", "A header is missing"),
    services.InvalidInput: Kind(422, "invalid-input", "輸入內容有誤", "The input has errors"),
    services.IdempotencyConflict: Kind(
        422, "idempotency-conflict", "此金鑰已用於不同的請求", "This key was used with another request"
    ),
    services.TooLarge: Kind(413, "too-large", "內容過大", "The content is too large"),
    services.UnsupportedMedia: Kind(
        415, "unsupported-media", "不接受此檔案格式", "This type is not taken here"
    ),
    services.NotReady: Kind(409, "not-ready", "尚待機關回復", "An agency has yet to answer"),
    sqlalchemy.exc.TimeoutError: Kind(503, "busy", "系統忙碌中", "The system is busy"),
    sqlalchemy.exc.OperationalError: Kind(503, "busy", "系統忙碌中", "The system is busy"),
    sqlalchemy.exc.InterfaceError: Kind(503, "busy", "系統忙碌中", "The system is busy"),
}

# Errors of the framework, and of the server before the framework sees a request, by status.
BY_STATUS: Mapping[int, Kind] = {
    400: Kind(400, "bad-request", "請求有誤", "The request is wrong"),
    401: Kind(401, "not-authenticated", "請先登入", "Please log in"),
    403: Kind(403, "forbidden", "您沒有執行此操作的權限", "You may not do this"),
    404: Kind(404, "not-found", "查無此資料", "Not found"),
    405: Kind(405, "method-not-allowed", "不支援此方法", "This method is not supported here"),
    406: Kind(406, "not-acceptable", "無法提供要求的格式", "No acceptable form of the answer"),
    408: Kind(408, "request-timeout", "請求逾時", "The request took too long to arrive"),
    413: Kind(413, "too-large", "內容過大", "The content is too large"),
    415: Kind(415, "unsupported-media", "不接受此內容格式", "This type is not taken here"),
    421: Kind(421, "misdirected-request", "主機名稱有誤", "This host name is not served here"),
    429: Kind(429, "too-many-requests", "請求過於頻繁", "Too many requests"),
    431: Kind(431, "headers-too-large", "請求標頭過大", "The request headers are too large"),
    503: Kind(503, "busy", "系統忙碌中", "The system is busy"),
}
UNKNOWN = Kind(500, "internal", "系統發生錯誤", "Something went wrong on our side")

METHODS: Sequence[Method] = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
RETRYING_STATUSES = frozenset({429, 503})
_MEMBER_CODES = (
    ("Object contains unknown field", "unknown_member", "此欄位不存在", "There is no such member"),
    ("Object missing required field", "required", "缺少必填欄位", "A required member is missing"),
    ("Missing required", "required", "缺少必填欄位", "A required member is missing"),
    ("Expected", "wrong_type", "型別不符", "This is not of the expected type"),
)
_OTHER_CODE = ("", "invalid", "內容不符合規定", "This is not one of the values allowed")
_STEP = re.compile(r"[^.\[\]]+")  # of a path like `parts[1].count`
_NAMED_FIELD = re.compile("field `([^`]{1,200})`")


class InputError(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing wrong with an input, at a JSON pointer (RFC 6901) into the body or in a named parameter."""

    code: str
    detail: str
    pointer: str | None = None
    parameter: str | None = None


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A problem document (RFC 9457). `trace_id` finds the request in our log; `errors` stand with 422."""

    type: str
    title: str
    status: int
    detail: str | None = None
    trace_id: str | None = None
    errors: Sequence[InputError] | None = None


def kind_of(error: Exception) -> Kind:
    """The table's row for an error: that of its nearest listed class."""
    for ancestor in type(error).__mro__:
        if ancestor in TABLE:
            return TABLE[ancestor]
    if isinstance(error, HTTPException):
        return BY_STATUS.get(error.status_code, BY_STATUS[400] if error.status_code < 500 else UNKNOWN)
    return UNKNOWN


def language_of(accept_language: str) -> Language:
    """The language of an `Accept-Language` header (RFC 9110, section 12.5.4): zh-TW unless en is preferred."""
    best = {"zh": 0.0, "en": 0.0}
    for item in accept_language[:200].lower().split(","):
        tag, _, weight = item.partition(";")
        found = re.fullmatch(r"\s*q=([01](?:\.[0-9]{1,3})?)\s*", weight)
        primary = tag.strip().partition("-")[0]
        if primary in best and (found or not weight):
            best[primary] = max(best[primary], float(found[1]) if found else 1.0)
    return "en" if best["en"] > best["zh"] else "zh-TW"


def problem_of(error: Exception, language: Language, trace_id: str | None) -> Problem:
    """The document that the caller gets."""
    kind = kind_of(error)
    detail, errors = _members_of(error, language)
    return Problem(
        type=TYPE_PREFIX + kind.slug,
        title=kind.title_en if language == "en" else kind.title_zh,
        status=kind.status,
        detail=detail,
        trace_id=trace_id,
        errors=errors,
    )


def _members_of(error: Exception, language: Language) -> tuple[str | None, Sequence[InputError] | None]:
    """What is said beyond the title: a detail, and the single errors of an input."""
    english = language == "en"
    match error:
        case services.InvalidInput():
            return None, [
                InputError(pointer=p.pointer, code=p.code, detail=p.detail_en if english else p.detail_zh)
                for p in error.problems
            ]
        case ValidationException():
            return None, _framework_errors(error, english)
        case consent.CeilingExceeded():
            text = "more than the purpose allows" if english else "超過特定目的所允許的範圍"
            return None, [InputError(pointer=error.pointer, code="ceiling_exceeded", detail=text)]
        case services.NotAllowed():
            return error.why_en if english else error.why_zh, None
        case services.PreconditionMissing():
            return error.header, None
        case services.TooLarge():
            return f"<= {error.bytes_max} bytes", None
        case services.UnsupportedMedia():
            return ", ".join(error.accepted), None
        case MalformedBody() if english:
            return str(error), None
    return None, None


def _framework_errors(error: ValidationException, english: bool) -> list[InputError]:
    """What the framework found while decoding; it stops at the first error of each argument."""
    found = []
    for item in error.extra if isinstance(error.extra, list) else []:
        message, key = str(item.get("message", "")), str(item.get("key", ""))
        _, code, zh, en = next((row for row in _MEMBER_CODES if message.startswith(row[0])), _OTHER_CODE)
        named = _NAMED_FIELD.search(message)
        if item.get("source") in {"query", "path", "header", "cookie"}:
            place: dict[str, str] = {"parameter": key}
        else:
            steps = [step for step in _STEP.findall(key) if step != "data"]
            place = {
                "pointer": "".join(f"/{_escape(step)}" for step in [*steps, *([named[1]] if named else [])])
            }
        found.append(InputError(code=code, detail=en if english else zh, **place))
    return found


def _escape(step: str) -> str:
    return step.replace("~", "~0").replace("/", "~1")


def respond(request: Request[Any, Any, Any], error: Exception) -> Response[Problem]:
    """Litestar's exception handler, for every exception."""
    bound = structlog.contextvars.get_contextvars()
    language = language_of(request.headers.get("accept-language", ""))
    problem = problem_of(error, language, bound.get("trace_id"))
    if problem.status >= 500:
        log.error("error", type=problem.type, reason=fault_name(error), exc_info=error)
    elif isinstance(error, consent.ConsentError | identity.IdentityError | adapters.AdapterError):
        # The caller is told little; the reason, which holds nothing personal, is for us.
        log.warning("refused", type=problem.type, reason=getattr(error, "reason", None) or str(error))
    headers = {"Content-Language": language, "Cache-Control": "no-store"}
    if isinstance(error, MethodNotAllowedException):
        headers["Allow"] = ", ".join(_allowed_methods(request))
    retry_after = getattr(error, "retry_after_seconds", None)
    if retry_after is not None or problem.status in RETRYING_STATUSES:
        headers["Retry-After"] = str(max(1, round(retry_after or RETRY_AFTER_SECONDS)))
    return Response(problem, status_code=problem.status, media_type=MEDIA_TYPE, headers=headers)


def _allowed_methods(request: Request[Any, Any, Any]) -> list[Method]:
    """The methods that the path does answer to (RFC 9110, section 15.5.6); the framework does not say."""
    allowed = []
    for method in METHODS:
        with contextlib.suppress(MethodNotAllowedException):
            request.app.asgi_router.handle_routing(request.scope["path"], method)
            allowed.append(method)
    return allowed


EXCEPTION_HANDLERS: ExceptionHandlersMap = {Exception: respond}
