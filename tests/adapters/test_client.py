"""The shared client against real servers on loopback sockets that behave and misbehave."""

import asyncio
import gzip

import pytest
import structlog
from msgspec import structs
from structlog.testing import capture_logs

from adapters.contract import SIGNED_COMPONENTS, OutgoingCall, ReplyStatus
from adapters.errors import Refused, Unavailable, Unsupported
from adapters.limits import Breaker
from adapters.signatures import thumbprint, verify
from consent.errors import NotPermitted
from consent.keys import FileKeyStore
from tests.adapters.loopback import (
    CASE,
    LIMITS,
    NOW,
    Connect,
    Received,
    answer,
    claims_of,
    client_for,
    echo,
    notice,
    permit,
    reset,
    residence,
    serving,
    silence,
    unused_port,
)

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class TestGoodExchanges:
    async def test_an_answer_comes_back_with_its_data_raw(self, agency: Connect) -> None:
        client, _ = await agency(echo)

        reply = await client.send(residence())

        assert reply.status is ReplyStatus.ANSWERED
        assert bytes(reply.data) == b'{"arc": null}'

    async def test_the_request_is_signed_over_all_that_matters(
        self, agency: Connect, key_store: FileKeyStore
    ) -> None:
        client, server = await agency(echo)
        call = residence()
        key = key_store.signing_key("http-signature").public_key()

        await client.send(call)

        [request] = server.requests
        assert (request.method, request.target) == ("POST", "/nia/operations/residence")
        assert request.headers["idempotency-key"] == str(call.call_id)
        assert request.headers["accept-encoding"] == "identity"
        signer = verify(
            method=request.method,
            url=f"{server.endpoint}/operations/residence",
            headers=request.headers,
            body=request.body,
            keys={thumbprint(key): key},
            components=SIGNED_COMPONENTS,
            now=NOW,
        )
        assert signer == thumbprint(key)

    async def test_the_token_is_for_this_agency_and_call_and_proven(self, agency: Connect) -> None:
        client, server = await agency(echo)
        call = residence()

        await client.send(call)

        [request] = server.requests
        scheme, _, token = request.headers["authorization"].partition(" ")
        assert scheme == "DPoP"
        claims = claims_of(token)
        assert claims["aud"] == server.endpoint
        assert claims["txn"] == str(call.call_id)
        assert claims["authorization_details"][0]["actions"] == ["submit"]
        proof = claims_of(request.headers["dpop"])
        assert (proof["htm"], proof["htu"]) == ("POST", f"{server.endpoint}/operations/residence")

    async def test_a_question_about_a_data_call_carries_no_permit(
        self, agency: Connect, key_store: FileKeyStore
    ) -> None:
        client, server = await agency(echo)
        call = residence()
        key = key_store.signing_key("http-signature").public_key()

        reply = await client.ask(call)

        [request] = server.requests
        path = f"/operations/residence/{call.call_id}"
        assert (request.method, request.target, request.body) == ("GET", f"/nia{path}", b"")
        [detail] = claims_of(request.headers["authorization"].partition(" ")[2])["authorization_details"]
        assert detail["actions"] == ["status"]
        assert not detail.get("fields")
        assert reply is not None
        assert reply.call == call.call_id
        verify(
            method="GET",
            url=server.endpoint + path,
            headers=request.headers,
            body=b"",
            keys={thumbprint(key): key},
            components=SIGNED_COMPONENTS,
            now=NOW,
        )

    async def test_a_control_call_is_sent_on_its_ground(self, agency: Connect) -> None:
        client, _ = await agency(echo)

        assert (await client.send(notice())).status is ReplyStatus.ANSWERED

    async def test_a_call_that_the_agency_never_heard_of_is_none(self, agency: Connect) -> None:
        client, _ = await agency(answer(404, {"type": "about:blank"}))

        assert await client.ask(residence()) is None

    @pytest.mark.parametrize("value", [TRACE, "nonsense\r\nX: y", "", None, 7])
    async def test_the_trace_is_passed_on_when_it_is_one(self, agency: Connect, value: object) -> None:
        client, server = await agency(echo)

        with structlog.contextvars.bound_contextvars(traceparent=value):
            await client.send(residence())

        assert server.requests[0].headers.get("traceparent") == (TRACE if value == TRACE else None)

    async def test_no_cookie_is_kept(self, agency: Connect) -> None:
        call = residence()
        body = {"call": str(call.call_id), "status": "accepted"}
        client, server = await agency(answer(202, body, Set_Cookie="session=1; Path=/"))

        await client.send(call)
        await client.send(call)

        assert all("cookie" not in request.headers for request in server.requests)

    async def test_no_proxy_is_taken_from_the_environment(
        self, agency: Connect, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with unused_port() as port:
            for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
                monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
            client, server = await agency(echo)

            await client.send(residence())

        assert len(server.requests) == 1


class TestMisbehaviour:
    async def test_a_refused_connection_had_no_effect(self, key_store: FileKeyStore) -> None:
        with unused_port() as port:
            client = client_for(f"http://127.0.0.1:{port}/nia", key_store)

            with pytest.raises(Unavailable) as absence:
                await client.send(residence())

        assert not absence.value.outcome_unknown
        await client.aclose()

    async def test_a_reset_after_the_request_was_read_leaves_the_outcome_unknown(
        self, agency: Connect
    ) -> None:
        client, server = await agency(reset)

        with pytest.raises(Unavailable) as absence:
            await client.send(residence())

        assert absence.value.outcome_unknown
        assert len(server.requests) == 1

    async def test_silence_ends_at_the_time_limit_with_the_outcome_unknown(self, agency: Connect) -> None:
        client, _ = await agency(silence, limits=structs.replace(LIMITS, timeout_seconds=0.2))

        with pytest.raises(Unavailable) as absence:
            await client.send(residence())

        assert absence.value.outcome_unknown

    async def test_an_answer_that_trickles_ends_at_the_time_limit(self, agency: Connect) -> None:
        async def trickle(_: Received, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9999\r\n\r\n")
            for _piece in range(9999):
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.02)

        client, _ = await agency(trickle, limits=structs.replace(LIMITS, timeout_seconds=0.3))

        with pytest.raises(Unavailable) as absence:
            await client.send(residence())

        assert absence.value.outcome_unknown

    @pytest.mark.parametrize(
        "noise",
        [
            b"not http at all\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
            b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 10_000 + b"\r\n",
        ],
    )
    async def test_noise_or_half_an_answer_leaves_the_outcome_unknown(
        self, agency: Connect, noise: bytes
    ) -> None:
        async def respond(_: Received, writer: asyncio.StreamWriter) -> None:
            writer.write(noise)
            await writer.drain()
            writer.close()

        client, _ = await agency(respond)

        with pytest.raises(Unavailable) as absence:
            await client.send(residence())

        assert absence.value.outcome_unknown

    async def test_a_compressed_answer_is_refused_before_it_is_unpacked(self, agency: Connect) -> None:
        bomb = gzip.compress(b" " * 50_000_000)
        client, _ = await agency(answer(200, bomb, Content_Encoding="gzip"))

        with pytest.raises(Unsupported, match="encoded"):
            await client.send(residence())

    async def test_an_endless_answer_is_cut_off(self, agency: Connect) -> None:
        sent = 0

        async def endless(_: Received, writer: asyncio.StreamWriter) -> None:
            nonlocal sent
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
            while True:
                writer.write(b" " * 16_384)
                await writer.drain()
                sent += 16_384

        client, _ = await agency(endless)

        with pytest.raises(Unsupported, match="larger"):
            await client.send(residence())

    @pytest.mark.parametrize("media_type", ["text/html", "", "application/jsonp", "application/problem+json"])
    async def test_another_media_type(self, agency: Connect, media_type: str) -> None:
        call = residence()
        body = {"call": str(call.call_id), "status": "answered", "data": {}}
        client, _ = await agency(answer(200, body, media_type=media_type))

        with pytest.raises(Unsupported):
            await client.send(call)

    async def test_an_answer_about_another_call(self, agency: Connect) -> None:
        client, _ = await agency(answer(200, {"call": str(CASE), "status": "answered", "data": {}}))

        for method in (client.send, client.ask):
            with pytest.raises(Unsupported, match="another call"):
                await method(residence())

    async def test_a_redirect_is_not_followed(self, agency: Connect) -> None:
        async with serving(echo) as elsewhere:
            client, _ = await agency(answer(307, b"", Location=elsewhere.endpoint))

            with pytest.raises(Unsupported):
                await client.send(residence())

        assert elsewhere.requests == []

    async def test_a_failed_question_leaves_the_outcome_unknown(self, agency: Connect) -> None:
        client, _ = await agency(answer(429, b"", Retry_After="7"))

        with pytest.raises(Unavailable) as absence:
            await client.send(residence())
        assert (absence.value.outcome_unknown, absence.value.retry_after_seconds) == (False, 7)

        with pytest.raises(Unavailable) as absence:
            await client.ask(residence())
        assert absence.value.outcome_unknown

    @pytest.mark.parametrize("body", [b"0" * 200_000, gzip.compress(b"0" * 50_000_000), b"<html>"])
    async def test_a_refusal_needs_no_readable_body(self, agency: Connect, body: bytes) -> None:
        client, _ = await agency(answer(403, body, media_type="text/html", Content_Encoding="gzip"))

        with pytest.raises(Refused) as refusal:
            await client.send(residence())

        assert refusal.value.code == "http-403"

    async def test_a_fault_in_the_answer_is_told_without_its_content(self, agency: Connect) -> None:
        call = residence()
        client, _ = await agency(answer(200, {"call": str(call.call_id), "status": "A123456789"}))

        with pytest.raises(Unsupported) as fault:
            await client.send(call)

        assert "A123456789" not in repr((fault.value, fault.value.__cause__))
        assert fault.value.__suppress_context__


class TestAuthority:
    @pytest.mark.parametrize(
        "call",
        [
            residence(authority=permit(CASE)),
            residence(call_id=CASE, authority=permit(CASE, agency="wda")),
            residence(call_id=CASE, authority=permit(CASE, resource="gold_card.final_review")),
            residence(authority=notice().authority),
            notice(call_id=CASE, authority=permit(CASE, resource="gold_card.supplement_notice")),
        ],
    )
    async def test_an_authority_for_something_else_sends_nothing(
        self, agency: Connect, call: OutgoingCall
    ) -> None:
        client, server = await agency(echo)

        for method in (client.send, client.ask):
            with pytest.raises(ValueError, match=r"authority|takes a"):
                await method(call)

        assert server.requests == []

    async def test_an_expired_permit_sends_nothing(self, agency: Connect) -> None:
        client, server = await agency(echo)
        call = residence(call_id=CASE, authority=permit(CASE, expires_at=NOW))

        with pytest.raises(NotPermitted):
            await client.send(call)

        assert server.requests == []

    async def test_an_unknown_operation_sends_nothing(self, agency: Connect) -> None:
        client, server = await agency(echo)

        with pytest.raises(Unsupported):
            await client.send(residence(operation="residence/../final_review"))

        assert server.requests == []


class TestBreaker:
    async def test_a_dead_agency_is_left_alone_and_logged_once_each_way(self, agency: Connect) -> None:
        seconds = 0.0
        client, server = await agency(
            answer(500, b""), breaker=Breaker(failures_max=3, pause_seconds=10, clock=lambda: seconds)
        )

        with capture_logs() as logs:
            for _ in range(6):
                with pytest.raises(Unavailable):
                    await client.send(residence())
            assert len(server.requests) == 3
            server.respond = echo
            seconds += 10
            for _ in range(3):
                await client.send(residence())

        assert [(entry["event"], entry["agency"]) for entry in logs] == [
            ("agency.gone", "nia"),
            ("agency.back", "nia"),
        ]

    async def test_an_open_breaker_leaves_an_asked_outcome_unknown(self, agency: Connect) -> None:
        client, _ = await agency(answer(503, b""), breaker=Breaker(failures_max=1))

        for _ in range(2):
            with pytest.raises(Unavailable) as absence:
                await client.ask(residence())
            assert absence.value.outcome_unknown

    async def test_an_agency_that_refuses_is_not_dead(self, agency: Connect) -> None:
        client, server = await agency(answer(403, b""), breaker=Breaker(failures_max=1))

        for _ in range(5):
            with pytest.raises(Refused):
                await client.send(residence())

        assert len(server.requests) == 5

    async def test_no_more_calls_at_once_than_the_manifest_allows(self, agency: Connect) -> None:
        inside, most = 0, 0

        async def slow(received: Received, writer: asyncio.StreamWriter) -> None:
            nonlocal inside, most
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.01)
            inside -= 1
            await echo(received, writer)

        client, server = await agency(slow)

        await asyncio.gather(*(client.send(residence()) for _ in range(20)))

        assert len(server.requests) == 20
        assert most <= LIMITS.concurrency_max
