"""What an agency's answers mean: every status, every malformed envelope."""

import datetime as dt
from uuid import UUID

import msgspec
import pytest

from adapters.answers import Answer, fault_in, reply_in
from adapters.contract import ReplyStatus
from adapters.errors import Refused, Unavailable, Unsupported

NOW = dt.datetime(2026, 3, 2, 8, 0, tzinfo=dt.UTC)
CALL = UUID("01980000-0000-7000-8000-000000000001")
GOOD = {"call": str(CALL), "status": "answered", "data": {}}


def success(body: object) -> Answer:
    """A 200; a body that is not bytes becomes JSON."""
    content = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return Answer(status=200, headers={}, body=content)


def failure(status: int, body: bytes = b"", *, retry_after: str = "") -> Answer:
    """An answer of another status."""
    return Answer(status=status, headers={"retry-after": retry_after}, body=body)


class TestReplies:
    def test_data_is_left_raw_with_whatever_surplus_it_has(self) -> None:
        reply = reply_in(success(GOOD | {"data": {"arc": None, "salary": 1}}), CALL)

        assert reply.status is ReplyStatus.ANSWERED
        assert bytes(reply.data) == b'{"arc":null,"salary":1}'

    @pytest.mark.parametrize(("said", "bounded"), [(30, 30), (10**9, 86_400), (-5, 0)])
    def test_the_time_to_ask_again_is_bounded(self, said: int, bounded: int) -> None:
        body = {"call": str(CALL), "status": "accepted", "poll_after_seconds": said}

        assert reply_in(success(body), CALL).poll_after_seconds == bounded

    @pytest.mark.parametrize(
        "change",
        [
            {"call": "01980000-0000-7000-8000-000000000002"},
            {"call": 7},
            {"status": "done"},
            {"surplus": True},
            {"data": []},
            {"data": None},
            {"data": "{}"},
            {"poll_after_seconds": "30"},
        ],
    )
    def test_an_envelope_that_is_not_the_contracts(self, change: dict[str, object]) -> None:
        with pytest.raises(Unsupported):
            reply_in(success(GOOD | change), CALL)

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"{",
            b"null",
            b"[]",
            b"\xff\xfe",
            b"NaN",
            b"{} {}",
            b'{"call":' + b"[" * 1_000_000,
            b'{"call":"%s","status":"answered","data":{"a":%s}}'
            % (str(CALL).encode(), b"[" * 1_000_000 + b"]" * 1_000_000),
            b'{"call":"%s","status":"answered","data":{"a":\xff}}' % str(CALL).encode(),
        ],
    )
    def test_bodies_that_are_no_json_object(self, body: bytes) -> None:
        with pytest.raises(Unsupported):
            reply_in(success(body), CALL)

    def test_a_fault_is_told_without_the_content_that_has_it(self) -> None:
        with pytest.raises(Unsupported) as fault:
            reply_in(success(GOOD | {"status": "A123456789"}), CALL)

        assert "A123456789" not in str(fault.value)
        assert fault.value.__cause__ is None
        assert fault.value.__suppress_context__


class TestFaults:
    @pytest.mark.parametrize(
        ("status", "problem_type", "code"),
        [
            (401, "https://agency.example/problems/token-refused", "token-refused"),
            (403, "urn:onestop:problem:no-lawful-basis", "no-lawful-basis"),
            (409, "https://agency.example/problems#too-late", "too-late"),
            (422, "about:blank", "http-422"),
            (400, "", "http-400"),
            (410, "https://agency.example/A123456789 Chen", "http-410"),
            (418, "x" * 65, "http-418"),
            (499, "https://agency.example/line\nfeed", "http-499"),
        ],
    )
    def test_other_4xx_are_refusals_with_a_code(self, status: int, problem_type: str, code: str) -> None:
        problem = msgspec.json.encode({"type": problem_type, "detail": "Chen A123456789"})

        fault = fault_in(failure(status, problem), NOW)

        assert isinstance(fault, Refused)
        assert fault.code == code
        assert "Chen" not in str(fault)

    @pytest.mark.parametrize("body", [b"", b"<html>", b"[" * 1_000_000, b"\xff", b'{"type": 7}', b"[]"])
    def test_a_refusal_needs_no_readable_problem(self, body: bytes) -> None:
        fault = fault_in(failure(403, body), NOW)

        assert isinstance(fault, Refused)
        assert fault.code == "http-403"

    @pytest.mark.parametrize("status", [404, 405, 501, 100, 201, 204, 206, 301, 302, 304, 307, 308, 600, 999])
    def test_statuses_that_the_contract_does_not_know(self, status: int) -> None:
        assert isinstance(fault_in(failure(status), NOW), Unsupported)

    @pytest.mark.parametrize(
        ("status", "unknown"),
        [(408, False), (425, False), (429, False), (503, False), (500, True), (502, True), (504, True)],
    )
    def test_try_again_and_whether_to_ask_before(self, status: int, unknown: bool) -> None:
        fault = fault_in(failure(status), NOW)

        assert isinstance(fault, Unavailable)
        assert fault.outcome_unknown is unknown

    @pytest.mark.parametrize(
        ("value", "seconds"),
        [
            ("120", 120),
            ("999999999", 3600),
            ("9999999999", None),
            ("-1", None),
            ("soon", None),
            ("", None),
            ("Mon, 02 Mar 2026 08:01:00 GMT", 60),
            ("Mon, 02 Mar 2026 07:59:00 GMT", 0),
            ("Mon, 02 Mar 2099 07:59:00 GMT", 3600),
            ("Mon, 02 Mar 2026 08:01:00", None),
        ],
    )
    def test_retry_after_is_honoured_within_bounds(self, value: str, seconds: float | None) -> None:
        fault = fault_in(failure(429, retry_after=value), NOW)

        assert isinstance(fault, Unavailable)
        assert fault.retry_after_seconds == seconds
