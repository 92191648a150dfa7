"""What is logged: one line a request, a trace that goes on, nothing personal, nothing forged."""

import json
import logging
from collections.abc import Iterator
from io import StringIO
from typing import Any

import msgspec
import pytest
import structlog
from litestar import Litestar, get
from litestar.params import FromPath
from litestar.testing import AsyncTestClient

from consent.errors import KeyMissing
from gateway import telemetry

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
def written() -> Iterator[StringIO]:
    """All that is logged, as JSON lines."""
    stream = StringIO()
    telemetry.configure("debug", stream=stream, console=False)
    yield stream
    structlog.reset_defaults()
    logging.getLogger().handlers.pop()


def lines(written: StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in written.getvalue().splitlines()]


def application() -> Litestar:
    @get("/cases/{number:str}", sync_to_thread=False)
    def show(number: FromPath[str]) -> dict[str, Any]:
        return dict(structlog.contextvars.get_contextvars())

    app = Litestar([show], logging_config=None)
    app.asgi_handler = telemetry.Requests(app.asgi_handler)
    return app


async def test_request_is_one_line_with_its_route_and_without_path_or_query(
    written: StringIO,
) -> None:
    async with AsyncTestClient(application()) as client:
        response = await client.get("/cases/X12345678?name=Ada", headers={"X-Request-Id": "r-1"})

    (line,) = lines(written)
    assert (line["method"], line["route"], line["status"]) == ("GET", "/cases/{number}", 200)
    assert line["request_id"] == response.headers["x-request-id"] == "r-1"
    assert line["ms"] >= 0
    assert "X12345678" not in str(line)
    assert "Ada" not in str(line)


async def test_trace_of_the_caller_goes_on_with_a_part_of_our_own() -> None:
    parent = f"00-{TRACE}-00f067aa0ba902b7-01"

    async with AsyncTestClient(application()) as client:
        bound = (await client.get("/cases/1", headers={"traceparent": parent})).json()

    assert bound["trace_id"] == TRACE
    assert bound["traceparent"].startswith(f"00-{TRACE}-")
    assert bound["traceparent"] != parent


@pytest.mark.parametrize(
    "header",
    [
        "",
        "00",
        f"01-{TRACE}-00f067aa0ba902b7-01",
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-{TRACE}-x-01\r\n",
    ],
)
async def test_malformed_trace_starts_a_new_one(header: str) -> None:
    async with AsyncTestClient(application()) as client:
        bound = (await client.get("/cases/1", headers={"traceparent": header.strip()})).json()

    assert bound["trace_id"] != TRACE
    assert len(bound["trace_id"]) == 32


async def test_request_id_that_is_no_id_is_replaced() -> None:
    async with AsyncTestClient(application()) as client:
        response = await client.get("/cases/1", headers={"X-Request-Id": 'a" injected="b'})

    assert "injected" not in response.headers["x-request-id"]


async def test_route_not_found_is_logged_without_its_path(written: StringIO) -> None:
    async with AsyncTestClient(application()) as client:
        await client.get("/nowhere/X12345678")

    (line,) = lines(written)
    assert (line["route"], line["status"]) == ("(none)", 404)


class Passport(msgspec.Struct):
    number: str


def test_private_members_are_dropped_at_any_depth(written: StringIO) -> None:
    telemetry.log.info(
        "saved",
        case="112000000001",
        name="Ada Example",
        passport_number="X12345678",
        form={"a": "X12345678"},
        details=[{"homeAddress": "Taipei", "agency_name": "nia", "more": {"E-Mail": "a@example.org"}}],
        document=Passport(number="X12345678"),
    )

    (line,) = lines(written)
    assert line["case"] == "112000000001"
    assert line["details"] == [{"agency_name": "nia", "more": {}}]
    assert line["document"] == "<Passport>"
    for value in ("Ada", "X12345678", "Taipei", "example.org"):
        assert value not in str(line)


@pytest.mark.parametrize(
    "name",
    [
        "date_of_birth", "dateOfBirth", "Email", "phone", "given_names", "national_id", "passport",
        "access_token", "Authorization", "Set-Cookie", "ui_number", "query_string", "surname", "DPoP",
    ],
)  # fmt: skip
def test_name_is_private(name: str) -> None:
    assert telemetry.is_private(name)


@pytest.mark.parametrize("name", ["agency", "call", "route", "status", "agency_name", "error_code", "key_id"])
def test_name_is_not_private(name: str) -> None:
    assert not telemetry.is_private(name)


@pytest.mark.parametrize("console", [True, False])
def test_value_cannot_forge_a_line_or_steer_a_terminal(console: bool, written: StringIO) -> None:
    telemetry.configure("info", stream=written, console=console)

    telemetry.log.info("refused", reason='x\r\n{"event":"approved"}\x1b[2J\u202e\x9b')

    text = written.getvalue()
    assert text.count("\n") == 1
    assert not set(text) & set("\r\x1b\u202e\x9b")


def test_library_error_is_logged_without_its_message(written: StringIO) -> None:
    try:
        int("X12345678")
    except ValueError:
        logging.getLogger("some.library").exception("it failed")

    (line,) = lines(written)
    assert line["error"][0]["type"] == "builtins.ValueError"
    assert "test_telemetry.py" in line["error"][0]["frames"][0]
    assert "X12345678" not in str(line)


def test_error_of_ours_is_logged_with_its_message_and_cause(written: StringIO) -> None:
    try:
        try:
            raise ValueError("X12345678")
        except ValueError as cause:
            raise KeyMissing("the case key for this record was destroyed") from cause
    except KeyMissing:
        telemetry.log.error("failed", exc_info=True)

    (line,) = lines(written)
    assert [error["type"] for error in line["error"]] == ["consent.errors.KeyMissing", "builtins.ValueError"]
    assert line["error"][0]["message"] == "the case key for this record was destroyed"
    assert "X12345678" not in str(line)


def test_libraries_are_quiet_below_a_warning(written: StringIO) -> None:
    logging.getLogger("httpx").warning("GET https://agency.example/?passport=X12345678")
    logging.getLogger("some.library").info("starting")
    logging.getLogger("some.library").warning("slow")

    assert [line["event"] for line in lines(written)] == ["slow"]
