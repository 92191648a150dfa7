"""Sandboxes that were told to misbehave: what arrives is bad, what they did is counted right."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import httpx
import msgspec
import pytest

from adapters.contract import Operation, Reply, ReplyStatus
from adapters.errors import Refused, Unavailable, Unsupported
from adapters.registry import operations_of
from adapters.sandbox_kit import Fault
from adapters.sandbox_kit.faults import DELAY_SECONDS_MAX, FAULTS_MAX, FaultPlan
from tests.adapters.stand_in import Prepared, StandIn, eventually, request, running

RESIDENCE = operations_of("nia")["residence"]
CHECK = operations_of("nia")["information_check"]


@pytest.fixture(scope="module")
def running_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    """The stand-in with all sandboxes, for the whole module."""
    with running(tmp_path_factory.mktemp("faults")) as stand_in:
        yield stand_in


@pytest.fixture
async def gateway(running_gateway: StandIn) -> StandIn:
    """The same, with nothing told."""
    await request("DELETE", f"{running_gateway.sandbox_url}/sandbox/faults")
    return running_gateway


async def tell(gateway: StandIn, kind: str, operation: Operation = RESIDENCE, **more: Any) -> None:
    """Have the immigration agency misbehave at its next request."""
    fault = {"agency": "nia", "operation": operation.name, "kind": kind} | more
    response = await request("POST", f"{gateway.sandbox_url}/sandbox/faults", json=fault)
    assert response.status_code == 204


async def send(gateway: StandIn, call: Prepared) -> Reply:
    """Send through the shared client."""
    registry = gateway.registry()
    try:
        return await registry.agency(call.agency).send(call.outgoing())
    finally:
        await registry.aclose()


async def ask(gateway: StandIn, call: Prepared) -> Reply | None:
    """Ask through the shared client."""
    registry = gateway.registry()
    try:
        return await registry.agency(call.agency).ask(call.outgoing())
    finally:
        await registry.aclose()


async def history(gateway: StandIn, call_id: UUID) -> list[str]:
    """What the agency noted of a call."""
    calls = (await request("GET", f"{gateway.sandbox_url}/sandbox/effects")).json()["calls"]
    [found] = [entry["history"] for entry in calls if entry["call"] == str(call_id)]
    return list(found)


@pytest.mark.parametrize("kind", ["reset_after_effect", "error_after_effect"])
async def test_lost_answer_leaves_one_effect_that_can_be_asked_about(gateway: StandIn, kind: str) -> None:
    call = gateway.prepare("nia", RESIDENCE)
    await tell(gateway, kind)

    with pytest.raises(Unavailable) as error:
        await send(gateway, call)

    reply = await ask(gateway, call)
    assert error.value.outcome_unknown
    assert reply is not None
    assert reply.status is ReplyStatus.ANSWERED
    assert await send(gateway, call) == reply
    assert await call.effects() == 1


@pytest.mark.parametrize("kind", ["reset_before_effect", "5xx"])
async def test_failure_before_the_effect_leaves_none(gateway: StandIn, kind: str) -> None:
    call = gateway.prepare("nia", RESIDENCE)
    await tell(gateway, kind)

    with pytest.raises(Unavailable):
        await send(gateway, call)

    assert await ask(gateway, call) is None
    assert await call.effects() == 0


async def test_answer_after_the_callers_patience_leaves_one_effect(gateway: StandIn) -> None:
    call = gateway.prepare("nia", RESIDENCE)
    await tell(gateway, "timeout_after_effect", delay_seconds=30)

    with pytest.raises(httpx.ReadTimeout):
        async with httpx.AsyncClient(timeout=0.3, trust_env=False) as client:
            await client.post(call.url, headers=call.headers(), content=call.body)

    assert await call.effects() == 1


async def test_delayed_answer_is_the_right_one(gateway: StandIn) -> None:
    call = gateway.prepare("nia", RESIDENCE)
    await tell(gateway, "delay", delay_seconds=0.05)

    assert (await send(gateway, call)).status is ReplyStatus.ANSWERED


@pytest.mark.parametrize("kind", ["malformed", "huge_body", "gzip_bomb", "redirect"])
async def test_answer_that_is_no_reply_is_told_from_one(gateway: StandIn, kind: str) -> None:
    call = gateway.prepare("nia", RESIDENCE)
    await tell(gateway, kind)

    with pytest.raises((Unsupported, Unavailable)):
        await send(gateway, call)

    assert await call.effects() == 1


async def test_wrong_schema_does_not_decode(gateway: StandIn) -> None:
    call = gateway.prepare("nia", RESIDENCE)
    await tell(gateway, "wrong_schema")

    reply = await send(gateway, call)

    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(reply.data, type=RESIDENCE.answer)


async def test_surplus_goes_beyond_the_basis(gateway: StandIn) -> None:
    call = gateway.prepare("nia", RESIDENCE)
    await tell(gateway, "surplus")

    reply = await send(gateway, call)

    assert "household" in msgspec.json.decode(reply.data)


async def test_duplicate_callback_comes_twice_and_is_one_effect(gateway: StandIn) -> None:
    call = gateway.prepare("nia", CHECK)
    await tell(gateway, "duplicate_callback", CHECK)

    await send(gateway, call)

    await eventually(lambda: len(gateway.replies(call.call_id)) == 2)
    first, second = gateway.replies(call.call_id)
    assert first == second
    assert await call.effects() == 1


async def test_early_callback_comes_before_the_202(gateway: StandIn) -> None:
    call = gateway.prepare("nia", CHECK)
    await tell(gateway, "early_callback", CHECK)

    reply = await send(gateway, call)

    assert reply.status is ReplyStatus.ACCEPTED
    assert len(gateway.replies(call.call_id)) == 1


async def test_lost_callback_is_found_by_asking(gateway: StandIn) -> None:
    call = gateway.prepare("nia", CHECK)
    await tell(gateway, "lost_callback", CHECK)
    await send(gateway, call)

    reply = await ask(gateway, call)
    while reply is None or reply.status is ReplyStatus.ACCEPTED:
        reply = await ask(gateway, call)

    assert gateway.replies(call.call_id) == []
    assert await call.effects() == 1


async def test_forged_callback_does_not_carry_the_agencys_signature(gateway: StandIn) -> None:
    call = gateway.prepare("nia", CHECK)
    await tell(gateway, "forged_callback", CHECK)

    await send(gateway, call)

    await eventually(lambda: len(gateway.replies(call.call_id)) == 1)
    assert "forged callback: 401" in await history(gateway, call.call_id)


async def test_refused_callback_is_brought_again(gateway: StandIn) -> None:
    call = gateway.prepare("nia", CHECK)
    gateway.refuse_next = 2

    await send(gateway, call)

    await eventually(lambda: bool(gateway.replies(call.call_id)))
    assert gateway.refuse_next == 0


async def test_fault_can_strike_the_status_query_alone(gateway: StandIn) -> None:
    call = gateway.prepare("nia", RESIDENCE)
    await tell(gateway, "5xx", on="status")
    reply = await send(gateway, call)

    with pytest.raises(Unavailable):
        await ask(gateway, call)

    assert await ask(gateway, call) == reply


async def test_document_that_differs_is_not_decided_on_until_it_is_right(gateway: StandIn) -> None:
    call = gateway.prepare("nia", CHECK)
    content = gateway.documents.pop(UUID(int=1))
    gateway.documents[UUID(int=1)] = content[::-1]
    try:
        await send(gateway, call)
        while "document-differs" not in await history(gateway, call.call_id):
            pass
        assert await call.effects() == 0
    finally:
        gateway.documents[UUID(int=1)] = content

    reply = await ask(gateway, call)

    assert reply is not None
    assert reply.status is ReplyStatus.ACCEPTED
    await eventually(lambda: bool(gateway.replies(call.call_id)))
    assert await call.effects() == 1


async def test_cancelled_review_is_never_decided(gateway: StandIn) -> None:
    call = gateway.prepare("nia", CHECK)
    content = gateway.documents.pop(UUID(int=1))  # the review waits for it
    url = f"{call.url}/{call.call_id}/cancel"
    try:
        await send(gateway, call)
        response = await request("POST", url, headers=call.headers(url=url, body=b"", action="cancel"))
    finally:
        gateway.documents[UUID(int=1)] = content

    assert response.status_code == 202
    with pytest.raises(Refused) as refusal:
        await ask(gateway, call)
    assert refusal.value.code == "cancelled"
    assert await call.effects() == 0


@pytest.mark.parametrize(
    "fault",
    [
        {"agency": "nia", "operation": "residence", "kind": "explode"},
        {"agency": "nia", "operation": "residence", "kind": "delay", "delay_seconds": DELAY_SECONDS_MAX + 1},
        {"agency": "nia", "operation": "residence", "kind": "delay", "count": 0},
        {"agency": "nia", "kind": "delay"},
    ],
)
async def test_fault_that_cannot_be_is_refused(gateway: StandIn, fault: dict[str, object]) -> None:
    response = await request("POST", f"{gateway.sandbox_url}/sandbox/faults", json=fault)

    assert response.status_code == 400


def test_fault_strikes_as_often_as_it_was_told() -> None:
    plan = FaultPlan((Fault(agency="*", operation="opinion", kind="5xx", count=2),))

    struck = [plan.take("field_authority:moc", "opinion") is not None for _ in range(3)]

    assert struck == [True, True, False]
    assert plan.take("nia", "residence") is None


def test_plan_is_bounded() -> None:
    plan = FaultPlan()
    for _ in range(FAULTS_MAX):
        plan.add(Fault(agency="nia", operation="residence", kind="5xx"))

    with pytest.raises(ValueError, match="faults"):
        plan.add(Fault(agency="nia", operation="residence", kind="5xx"))
