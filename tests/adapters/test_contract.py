"""The agency contract: one suite for every agency and every operation that a manifest names, over sockets."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest

from adapters.contract import Operation, OperationKind, Reply, ReplyStatus, members_of
from adapters.errors import Refused
from adapters.registry import kinds, operations_of
from consent.ids import uuid7
from consent.keys import FileKeyStore
from consent.model import Authority, Permit
from consent.token import TokenMinter
from tests.adapters.samples import appearances, fields_of, samples
from tests.adapters.stand_in import (
    WITHDRAWN,
    Prepared,
    StandIn,
    authority_for,
    eventually,
    every_operation,
    request,
    running,
)

EVERY = every_operation(instances=True)
ATTEMPTS = 8
ONE_A_KIND = every_operation(instances=False)
DATA = [
    (agency, name)
    for agency, name in ONE_A_KIND
    if operations_of(agency.partition(":")[0])[name].kind is OperationKind.DATA
]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    """The stand-in with all sandboxes, for the whole module."""
    with running(tmp_path_factory.mktemp("contract")) as stand_in:
        yield stand_in


@pytest.fixture
def call(gateway: StandIn, agency: str, operation: str) -> Prepared:
    """A valid call of the operation."""
    return gateway.prepare(agency, operation_of(agency, operation))


def operation_of(agency: str, name: str) -> Operation:
    return operations_of(agency.partition(":")[0])[name]


async def answered(gateway: StandIn, call: Prepared, reply: Reply) -> Reply:
    """The reply with the answer: this one, or the callback that follows it, once somebody has appeared."""
    if reply.status is ReplyStatus.ANSWERED:
        return reply
    shown = appearances().get((call.agency.partition(":")[0], call.operation.name))
    if shown and not gateway.replies(call.call_id):
        desk = f"{call.endpoint}/desk/{call.call_id}"
        assert (await request("POST", desk, content=msgspec.json.encode(shown))).status_code == 204
    await eventually(lambda: bool(gateway.replies(call.call_id)))
    return gateway.replies(call.call_id)[0]


async def send(gateway: StandIn, call: Prepared, body: bytes | None = None) -> Reply:
    """Send through the shared client."""
    registry = gateway.registry()
    try:
        return await registry.agency(call.agency).send(call.outgoing(body))
    finally:
        await registry.aclose()


async def ask(gateway: StandIn, call: Prepared) -> Reply | None:
    """Ask through the shared client."""
    registry = gateway.registry()
    try:
        return await registry.agency(call.agency).ask(call.outgoing())
    finally:
        await registry.aclose()


def test_every_operation_has_a_sample() -> None:
    named = {(kind, operation) for kind in kinds() for operation in operations_of(kind)}

    assert set(samples("http://127.0.0.1")) == named


@pytest.mark.parametrize(("agency", "operation"), EVERY)
async def test_valid_call_is_answered_in_the_operations_form(gateway: StandIn, call: Prepared) -> None:
    reply = await answered(gateway, call, await send(gateway, call))

    answer = msgspec.json.decode(reply.data, type=call.operation.answer)
    assert msgspec.json.encode(answer) == bytes(reply.data)
    assert await call.effects() == 1
    if call.operation.kind is OperationKind.DATA:
        assert set(members_of(msgspec.json.decode(reply.data))) <= fields_of(call.operation)


@pytest.mark.parametrize(("agency", "operation"), EVERY)
async def test_callback_is_signed_by_the_agency_that_was_called(gateway: StandIn, call: Prepared) -> None:
    reply = await send(gateway, call)

    await answered(gateway, call, reply)

    senders = {sender for sender, taken in gateway.callbacks if taken.call == call.call_id}
    assert senders == ({call.agency} if reply.status is ReplyStatus.ACCEPTED else set())


@pytest.mark.parametrize(("agency", "operation"), ONE_A_KIND)
async def test_repeated_call_gets_the_same_answer_and_takes_effect_once(
    gateway: StandIn, call: Prepared
) -> None:
    first = await answered(gateway, call, await send(gateway, call))

    second = await send(gateway, call)

    assert second == first
    assert await call.effects() == 1


@pytest.mark.parametrize(("agency", "operation"), ONE_A_KIND)
async def test_other_content_under_the_same_call_is_refused(gateway: StandIn, call: Prepared) -> None:
    await answered(gateway, call, await send(gateway, call))
    other = call.body.replace(b"115000000019", b"115000000027")

    with pytest.raises(Refused) as refusal:
        await send(gateway, call, other)

    assert refusal.value.code == "idempotency-conflict"
    assert await call.effects() == 1


@pytest.mark.parametrize(("agency", "operation"), ONE_A_KIND)
async def test_who_asks_by_the_calls_id_gets_the_answer(gateway: StandIn, call: Prepared) -> None:
    reply = await answered(gateway, call, await send(gateway, call))

    assert await ask(gateway, call) == reply


@pytest.mark.parametrize(("agency", "operation"), ONE_A_KIND)
async def test_agency_never_heard_of_a_call_that_was_not_made(gateway: StandIn, call: Prepared) -> None:
    assert await ask(gateway, call) is None


@pytest.mark.parametrize(("agency", "operation"), DATA)
async def test_answer_holds_nothing_that_the_basis_leaves_out(gateway: StandIn, call: Prepared) -> None:
    sent = set(members_of(msgspec.json.decode(call.body)["data"]))
    narrow = authority_for(call.agency, call.operation, call.call_id, fields=frozenset(sent))

    response = await call.post(call.headers(authority=narrow))

    reply = await answered(gateway, call, msgspec.json.decode(response.content, type=Reply))
    assert set(members_of(msgspec.json.decode(reply.data))) <= sent


async def refused(call: Prepared, headers: dict[str, str], *, body: bytes | None = None) -> int:
    """The status of a request that must not take effect."""
    response = await call.post(headers, body)

    assert await call.effects() == 0
    assert response.headers["content-type"].startswith("application/problem+json")
    assert set(response.json()) <= {"type", "title", "status", "detail"}
    return response.status_code


@pytest.mark.parametrize(("agency", "operation"), ONE_A_KIND)
class TestRefusedWithoutEffect:
    """Requests that are not what they should be in one point."""

    async def test_token_for_another_agency(self, call: Prepared) -> None:
        assert await refused(call, call.headers(audience=f"{call.endpoint}/other")) == 401

    async def test_token_for_another_operation(self, call: Prepared) -> None:
        other = msgspec.structs.replace(call.authority, resource="another.resource")

        assert await refused(call, call.headers(authority=other)) == 403

    async def test_token_for_a_status_query(self, call: Prepared) -> None:
        assert await refused(call, call.headers(action="status")) == 403

    async def test_expired_token(self, call: Prepared) -> None:
        assert await refused(call, call.headers(token_age_seconds=600)) == 401

    async def test_token_of_another_issuers_key(
        self, call: Prepared, gateway: StandIn, tmp_path: Path
    ) -> None:
        stranger = TokenMinter(gateway.issuer, FileKeyStore(tmp_path), gateway.status_uri)

        assert await refused(call, call.headers(minter=stranger)) == 401

    async def test_signature_of_another_key(self, call: Prepared, tmp_path: Path) -> None:
        assert await refused(call, call.headers(signed_by=FileKeyStore(tmp_path))) == 401

    @pytest.mark.parametrize("missing", ["Signature", "Signature-Input", "Content-Digest", "DPoP"])
    async def test_unsigned_request(self, call: Prepared, missing: str) -> None:
        headers = call.headers()
        del headers[missing]

        assert await refused(call, headers) == 401

    async def test_body_altered_after_it_was_signed(self, call: Prepared) -> None:
        altered = call.body.replace(b"115000000019", b"115000000027")

        assert await refused(call, call.headers(), body=altered) == 401

    async def test_body_altered_and_digest_with_it(self, call: Prepared) -> None:
        altered = call.body.replace(b"115000000019", b"115000000027")
        digest = call.headers(body=altered)["Content-Digest"]

        assert await refused(call, call.headers() | {"Content-Digest": digest}, body=altered) == 401

    async def test_request_for_another_address(self, call: Prepared) -> None:
        assert await refused(call, call.headers(url=f"{call.url}x")) == 401

    async def test_proof_of_another_token(self, call: Prepared) -> None:
        swapped = call.headers() | {"DPoP": call.headers()["DPoP"]}

        assert await refused(call, swapped) == 401

    async def test_idempotency_key_of_another_call(self, call: Prepared) -> None:
        assert await refused(call, call.headers(idempotency_key=str(uuid4()))) == 403

    async def test_body_of_another_call(self, call: Prepared) -> None:
        other = call.body.replace(str(call.call_id).encode(), str(uuid7()).encode())

        assert await refused(call, call.headers(body=other), body=other) == 403

    async def test_unknown_member(self, call: Prepared) -> None:
        content = msgspec.json.decode(call.body)
        content["data"]["role"] = "admin"
        body = msgspec.json.encode(content)

        assert await refused(call, call.headers(body=body), body=body) == 422

    async def test_nested_without_end(self, call: Prepared) -> None:
        body = b'{"data": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"

        assert await refused(call, call.headers(body=body), body=body) == 422

    async def test_body_out_of_bounds(self, call: Prepared) -> None:
        body = call.body + b" " * (300 * 1024)

        assert await refused(call, call.headers(body=body), body=body) == 413

    async def test_callback_to_somewhere_else(
        self, gateway: StandIn, agency: str, operation: str, call: Prepared
    ) -> None:
        elsewhere = gateway.prepare(
            agency, call.operation, callback="http://169.254.169.254/agency/v1/callbacks"
        )

        assert await refused(elsewhere, elsewhere.headers()) == 422


@pytest.mark.parametrize(("agency", "operation"), DATA)
class TestDataRefusedWithoutEffect:
    """Requests that go beyond their lawful basis."""

    async def test_token_without_a_field_that_is_sent(self, call: Prepared) -> None:
        assert isinstance(call.authority, Permit)
        sent = members_of(msgspec.json.decode(call.body)["data"])
        fields = call.authority.fields - {sent[0]}
        less = authority_for(call.agency, call.operation, call.call_id, fields=fields)

        assert await refused(call, call.headers(authority=less)) == 403

    async def test_token_of_a_withdrawn_basis(self, call: Prepared) -> None:
        gone = authority_for(call.agency, call.operation, call.call_id, status_index=WITHDRAWN)

        assert await refused(call, call.headers(authority=gone)) == 403

    async def test_status_list_of_somebody_else(self, call: Prepared, gateway: StandIn) -> None:
        elsewhere = TokenMinter(
            gateway.issuer, gateway.key_store, lambda number: f"http://127.0.0.1:9/oauth/status/{number}"
        )

        assert await refused(call, call.headers(minter=elsewhere)) == 401

    async def test_token_without_a_basis(self, call: Prepared) -> None:
        authority = Authority(
            call_id=call.call_id,
            case_reference="115000000019",
            agency=call.agency,
            resource=call.operation.resource,
            ground="none",
        )

        assert await refused(call, call.headers(authority=authority)) == 403


@pytest.mark.parametrize(("agency", "operation"), ONE_A_KIND)
async def test_attempts_at_once_take_effect_once(gateway: StandIn, call: Prepared) -> None:
    responses = await asyncio.gather(*(call.post(call.headers()) for _ in range(ATTEMPTS)))

    assert {response.status_code for response in responses} <= {200, 202}
    await answered(gateway, call, msgspec.json.decode(responses[0].content, type=Reply))
    assert await call.effects() == 1


@pytest.mark.parametrize(("agency", "operation"), DATA)
async def test_call_that_is_good_once_takes_no_other_content(gateway: StandIn, call: Prepared) -> None:
    once = authority_for(call.agency, call.operation, call.call_id, one_time=True)
    other = call.body.replace(b"115000000019", b"115000000027")

    first = await call.post(call.headers(authority=once))
    second = await call.post(call.headers(authority=once, body=other), other)
    again = await call.post(call.headers(authority=once))

    assert [response.status_code for response in (first, second)] == [first.status_code, 422]
    assert again.status_code in {200, 202}
    await answered(gateway, call, msgspec.json.decode(again.content, type=Reply))
    assert await call.effects() == 1


@pytest.mark.parametrize(("agency", "operation"), ONE_A_KIND)
async def test_replayed_request_takes_no_second_effect(gateway: StandIn, call: Prepared) -> None:
    headers = call.headers()
    first = await call.post(headers)
    await answered(gateway, call, msgspec.json.decode(first.content, type=Reply))

    replayed = await call.post(headers)

    assert replayed.status_code == 401
    assert await call.effects() == 1


@pytest.mark.parametrize(("agency", "operation"), ONE_A_KIND)
async def test_status_query_needs_a_token_for_it(gateway: StandIn, call: Prepared) -> None:
    await answered(gateway, call, await send(gateway, call))
    url = f"{call.url}/{call.call_id}"

    response = await request(
        "GET", url, headers=call.headers(method="GET", url=url, body=b"", action="submit")
    )

    assert response.status_code == 403


@pytest.mark.parametrize(("agency", "operation"), ONE_A_KIND)
async def test_cancelling_a_decided_call_comes_too_late(gateway: StandIn, call: Prepared) -> None:
    await answered(gateway, call, await send(gateway, call))
    url = f"{call.url}/{call.call_id}/cancel"

    response = await request("POST", url, headers=call.headers(url=url, body=b"", action="cancel"))

    assert response.status_code == 409


async def test_operation_that_nobody_named_is_not_found(gateway: StandIn) -> None:
    call = gateway.prepare("nia", operation_of("nia", "residence"))

    response = await request("POST", f"{call.endpoint}/operations/deport", headers=call.headers())

    assert response.status_code == 404


async def test_agencies_believe_the_pinned_keys_of_the_gateway_alone(tmp_path: Path) -> None:
    with running(tmp_path, gateway_thumbprints=("A" * 43,)) as impostor:
        call = impostor.prepare("nia", operation_of("nia", "residence"))

        assert await refused(call, call.headers()) == 401
