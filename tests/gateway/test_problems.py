"""Every error is one problem document: stable type, right status, nothing that the caller should not know."""

import json
from typing import Any

import msgspec
import pytest
import sqlalchemy.exc
from litestar import Litestar, get, post
from litestar.exceptions import HTTPException
from litestar.params import FromPath, FromQuery, JSONBody
from litestar.testing import AsyncTestClient
from structlog.testing import capture_logs

from adapters.errors import Misconfigured, SignatureRefused, Unavailable
from consent.errors import (
    CeilingExceeded,
    KeyMissing,
    LogFault,
    NotPermitted,
    TokenRefused,
    TransitionRefused,
)
from gateway import problems
from gateway.identity.errors import CsrfRefused, LoginRefused, NotAuthenticated, RoleRequired
from gateway.requests import GatewayRequest, MalformedBody, strict_json
from gateway.telemetry import Requests
from services import errors as services

SECRET = "X12345678"

ERRORS: list[tuple[Exception, int, str]] = [
    (NotPermitted("expired", SECRET), 403, "not-permitted"),
    (TransitionRefused("withdrawn", "grant"), 409, "state-conflict"),
    (CeilingExceeded("/grants/0/fields", SECRET), 422, "ceiling-exceeded"),
    (TokenRefused(SECRET), 401, "token-refused"),
    (KeyMissing(SECRET), 410, "erased"),
    (NotAuthenticated(SECRET), 401, "not-authenticated"),
    (CsrfRefused(SECRET), 403, "csrf-refused"),
    (LoginRefused(SECRET), 400, "login-refused"),
    (RoleRequired("auditor"), 403, "role-required"),
    (services.CaseNotFound(SECRET), 404, "not-found"),
    (services.ServiceNotFound(SECRET), 404, "not-found"),
    (services.NotAllowed("pay", "已繳費", "it is paid"), 409, "not-allowed"),
    (services.StaleVersion(1, 2), 412, "stale-version"),
    (services.PreconditionMissing("If-Match"), 428, "precondition-missing"),
    (services.IdempotencyConflict(SECRET), 422, "idempotency-conflict"),
    (services.TooLarge(10), 413, "too-large"),
    (services.UnsupportedMedia(SECRET, ["image/png"]), 415, "unsupported-media"),
    (services.NotReady("the card", 30), 409, "not-ready"),
    (SignatureRefused(SECRET), 401, "signature-refused"),
    (Unavailable(SECRET, retry_after_seconds=7), 503, "agency-unavailable"),
    (sqlalchemy.exc.TimeoutError(SECRET), 503, "busy"),
    (HTTPException(SECRET, status_code=429), 429, "too-many-requests"),
    (HTTPException(SECRET, status_code=418), 400, "bad-request"),
    (LogFault("index 3", SECRET), 500, "internal"),
    (Misconfigured(SECRET), 500, "internal"),
    (ValueError(SECRET), 500, "internal"),
    (RecursionError(SECRET), 500, "internal"),
]


class Form(msgspec.Struct, forbid_unknown_fields=True):
    count: int
    parts: list[int] = []


def application(error: Exception | None = None) -> Litestar:
    @get("/raises", sync_to_thread=False)
    def raises() -> None:
        if error is not None:
            raise error

    @post("/form", request_max_body_size=1_000_000)
    async def form(data: JSONBody[Form]) -> Form:
        return data

    @post("/small", request_max_body_size=10)
    async def small(data: JSONBody[dict[str, Any]]) -> dict[str, Any]:
        return data

    @get("/list/{n:int}", sync_to_thread=False)
    def list_(n: FromPath[int], limit: FromQuery[int]) -> int:
        return limit

    app = Litestar(
        [raises, form, small, list_],
        exception_handlers=problems.EXCEPTION_HANDLERS,
        request_class=GatewayRequest,
        logging_config=None,
        debug=False,
    )
    app.asgi_handler = Requests(app.asgi_handler)
    return app


@pytest.mark.parametrize(("error", "status", "slug"), ERRORS, ids=lambda value: type(value).__name__)
async def test_error_has_its_status_and_type_and_leaks_nothing(
    error: Exception, status: int, slug: str
) -> None:
    async with AsyncTestClient(application(error)) as client:
        response = await client.get("/raises")

    problem = response.json()
    assert response.status_code == problem["status"] == status
    assert response.headers["content-type"] == "application/problem+json"
    assert problem["type"] == f"urn:onestop:problem:{slug}"
    assert len(problem["trace_id"]) == 32
    assert SECRET not in response.text


@pytest.mark.parametrize(
    ("error", "seconds"), [(ERRORS[19][0], "7"), (ERRORS[17][0], "30"), (ERRORS[20][0], "5")]
)
async def test_caller_is_told_when_to_come_back(error: Exception, seconds: str) -> None:
    async with AsyncTestClient(application(error)) as client:
        response = await client.get("/raises")

    assert response.headers["retry-after"] == seconds


async def test_unknown_error_is_a_bare_500_that_is_logged_once_with_its_trace() -> None:
    with capture_logs() as logs:
        async with AsyncTestClient(application(ValueError(SECRET))) as client:
            problem = (await client.get("/raises")).json()

    assert set(problem) == {"type", "title", "status", "trace_id"}
    assert [entry["event"] for entry in logs] == ["error", "request"]


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "zh-TW"),
        ("en", "en"),
        ("en-GB,en;q=0.8", "en"),
        ("zh-TW,en;q=0.9", "zh-TW"),
        ("en;q=0.3, zh;q=0.5", "zh-TW"),
        ("fr, en;q=0.1", "en"),
        ("de", "zh-TW"),
        ("*", "zh-TW"),
        ("en;q=9", "zh-TW"),
        ("en;q=nan", "zh-TW"),
        (",;=" * 5_000, "zh-TW"),
    ],
)
def test_language_is_chosen_by_the_header(header: str, language: str) -> None:
    assert problems.language_of(header) == language


async def test_all_input_problems_are_told_in_the_callers_language() -> None:
    error = services.InvalidInput(
        [
            services.Problem(pointer="/a", code="missing", detail_zh="缺少", detail_en="is missing"),
            services.Problem(pointer="/b/0", code="too-long", detail_zh="過長", detail_en="is too long"),
        ]
    )
    async with AsyncTestClient(application(error)) as client:
        english = await client.get("/raises", headers={"Accept-Language": "en"})
        chinese = await client.get("/raises")

    assert english.json()["errors"] == [
        {"pointer": "/a", "code": "missing", "detail": "is missing"},
        {"pointer": "/b/0", "code": "too-long", "detail": "is too long"},
    ]
    assert [e["detail"] for e in chinese.json()["errors"]] == ["缺少", "過長"]
    assert (english.headers["content-language"], chinese.headers["content-language"]) == ("en", "zh-TW")


@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        ({"count": "x"}, "/count", "wrong_type"),
        ({"count": 1, "parts": [1, "x"]}, "/parts/1", "wrong_type"),
        ({"parts": []}, "/count", "required"),
        ({"count": 1, "role": SECRET}, "/role", "unknown_member"),
        ([], "", "wrong_type"),
    ],
)
async def test_body_of_the_wrong_shape_is_told_by_pointer(body: Any, pointer: str, code: str) -> None:
    async with AsyncTestClient(application()) as client:
        response = await client.post("/form", json=body)

    assert response.status_code == 422
    (error,) = response.json()["errors"]
    assert (error["pointer"], error["code"]) == (pointer, code)
    assert SECRET not in response.text


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b'{"count": NaN}',
        b'{"count": 1, "count": 2}',
        b'{"count": 1, "parts": [{"a": 1, "\\u0061": 2}]}',
        b'{"count": 1}{}',
        b"\xff",
        b'{"a": "\\ud800"}',
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    ],
    ids=range(10),
)
async def test_body_that_readers_might_read_differently_is_malformed(body: bytes) -> None:
    async with AsyncTestClient(application()) as client:
        response = await client.post(
            "/form", content=body, headers={"Content-Type": "application/json", "Accept-Language": "en"}
        )

    assert response.status_code == 400
    assert response.json()["type"] == "urn:onestop:problem:malformed-body"


def test_huge_number_is_not_a_fault_of_ours() -> None:
    with pytest.raises(MalformedBody):
        strict_json(b"[" + b"9" * 5_000 + b"")
    assert strict_json(b"[1.5]") == [1.5]


async def test_framework_errors_are_problems_too() -> None:
    async with AsyncTestClient(application()) as client:
        answers = [
            await client.get("/nowhere"),
            await client.get("/list/x?limit=1"),
            await client.get("/form"),
            await client.post("/small", content=json.dumps({"a": "b" * 100})),
            await client.get("/list/1"),
            await client.get("/list/1?limit=x"),
        ]

    assert [answer.status_code for answer in answers] == [404, 404, 405, 413, 422, 422]
    for answer in answers:
        assert answer.headers["content-type"] == "application/problem+json"
    assert "POST" in answers[2].headers["allow"]
    assert answers[5].json()["errors"][0]["parameter"] == "limit"


def test_types_are_stable_slugs_and_titles_stand_in_both_languages() -> None:
    for kind in [*problems.TABLE.values(), *problems.BY_STATUS.values(), problems.UNKNOWN]:
        assert kind.slug.replace("-", "").isalpha()
        assert kind.title_zh
        assert kind.title_en.isascii()
