"""What people and testers see of the sandboxes: the payment page, the inbox, the clock, the deployment file."""

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from adapters.contract import Reply
from adapters.epay.adapter import OrderAnswer
from adapters.manifest import load_deployments
from adapters.registry import kinds, operations_of
from adapters.sandbox_kit import SandboxConfig, write_deployment
from adapters.vocabulary import Wire
from tests.adapters.samples import samples
from tests.adapters.stand_in import Prepared, StandIn, eventually, request, running

ORDER = operations_of("epay")["order"]
moved: list[int] = []


async def move_legal_clock(days: int) -> int:
    """Stands for the product's legal clock."""
    moved.append(days)
    return sum(moved)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    """The stand-in with all sandboxes, for the whole module."""
    with running(tmp_path_factory.mktemp("pages"), move_legal_clock=move_legal_clock) as stand_in:
        yield stand_in


async def place(gateway: StandIn, **changes: Any) -> tuple[Prepared, OrderAnswer]:
    """An order that waits to be paid."""
    order = msgspec.structs.replace(samples(gateway.issuer)["epay", "order"], **changes)
    call = gateway.prepare("epay", ORDER, data=order)
    response = await call.post(call.headers())
    reply = msgspec.json.decode(response.content, type=Reply)
    return call, msgspec.json.decode(reply.data, type=OrderAnswer)


async def tell(gateway: StandIn, kind: str) -> None:
    fault = {"agency": "epay", "operation": "pay", "kind": kind}
    await request("POST", f"{gateway.sandbox_url}/sandbox/faults", json=fault)


async def send(gateway: StandIn, operation: str, data: Wire | None = None) -> Prepared:
    """Have the notification service do something for one case."""
    changes = {} if data is None else {"data": data}
    call = gateway.prepare("notify", operations_of("notify")[operation], **changes)
    assert (await call.post(call.headers())).status_code == 200
    return call


class TestPaying:
    """The page of the payment service."""

    async def test_page_shows_what_is_to_be_paid_and_that_it_is_a_sample(self, gateway: StandIn) -> None:
        _, order = await place(gateway, item="規費 <b>Fee</b>")

        response = await request("GET", order.pay_url)

        assert response.status_code == 200
        assert "範例 SAMPLE" in response.text
        assert "NT$ 3,500" in response.text
        assert "<b>Fee</b>" not in response.text
        assert "default-src 'none'" in response.headers["content-security-policy"]

    async def test_payment_is_told_of_and_the_person_goes_back(self, gateway: StandIn) -> None:
        call, order = await place(gateway)

        response = await request("POST", order.pay_url, data={"means": "web_atm"})

        [notice] = [it for it in gateway.payments if it.call == call.call_id]
        assert response.status_code == 303
        assert response.headers["location"] == f"{gateway.issuer}/cases/1"
        assert (notice.order, notice.amount_ntd, notice.means) == (order.order, 3500, "web_atm")

    async def test_paid_order_takes_no_second_payment(self, gateway: StandIn) -> None:
        call, order = await place(gateway)
        await request("POST", order.pay_url)

        response = await request("POST", order.pay_url)

        assert response.status_code == 409
        assert len([it for it in gateway.payments if it.call == call.call_id]) == 1

    async def test_second_payment_has_a_number_of_its_own(self, gateway: StandIn) -> None:
        call, order = await place(gateway)
        await request("POST", order.pay_url)
        await tell(gateway, "second_payment")

        response = await request("POST", order.pay_url)

        numbers = {it.payment for it in gateway.payments if it.call == call.call_id}
        assert response.status_code == 303
        assert len(numbers) == 2

    async def test_notice_sent_twice_names_one_payment(self, gateway: StandIn) -> None:
        call, order = await place(gateway)
        await tell(gateway, "duplicate_callback")

        await request("POST", order.pay_url)

        notices = [it for it in gateway.payments if it.call == call.call_id]
        assert len(notices) == 2
        assert notices[0] == notices[1]

    async def test_notice_is_brought_until_it_is_taken(self, gateway: StandIn) -> None:
        call, order = await place(gateway)
        gateway.refuse_next = 2

        await request("POST", order.pay_url)

        await eventually(lambda: any(it.call == call.call_id for it in gateway.payments))

    async def test_order_past_its_time_cannot_be_paid(self, gateway: StandIn) -> None:
        _, order = await place(gateway, expires_at="2020-01-01T00:00:00Z")

        assert (await request("POST", order.pay_url)).status_code == 410

    async def test_unknown_order_is_not_found(self, gateway: StandIn) -> None:
        _, order = await place(gateway)

        assert (await request("GET", f"{order.pay_url}0")).status_code == 404

    @pytest.mark.parametrize(
        "changes", [{"amount_ntd": 0}, {"amount_ntd": -1}, {"return_url": "https://elsewhere.example/"}]
    )
    async def test_order_that_makes_no_sense_is_refused(
        self, gateway: StandIn, changes: dict[str, Any]
    ) -> None:
        order = msgspec.structs.replace(samples(gateway.issuer)["epay", "order"], **changes)
        call = gateway.prepare("epay", ORDER, data=order)

        response = await call.post(call.headers())

        assert response.status_code == 422
        assert await call.effects() == 0


class TestInbox:
    """The inbox of the notification service."""

    async def test_message_is_addressed_to_the_contact_of_the_case(self, gateway: StandIn) -> None:
        await send(gateway, "send")
        await send(gateway, "contact")

        response = await request(
            "GET", f"{gateway.sandbox_url}/notify/inbox", headers={"Accept": "application/json"}
        )

        newest = response.json()[0]
        assert newest["to"]["email"] == "ada@example.org"
        assert newest["case"] == "115000000019"
        assert newest["subject"] == "Your application is approved"

    async def test_inbox_is_a_page_for_people(self, gateway: StandIn) -> None:
        await send(gateway, "send")

        response = await request("GET", f"{gateway.sandbox_url}/notify/inbox")

        assert "text/html" in response.headers["content-type"]
        assert "收件匣 Inbox" in response.text

    async def test_link_cannot_write_into_the_page(self, gateway: StandIn) -> None:
        message = msgspec.structs.replace(
            samples(gateway.issuer)["notify", "send"], link="<script>alert(1)</script>"
        )
        await send(gateway, "send", message)

        response = await request("GET", f"{gateway.sandbox_url}/notify/inbox")

        assert "<script>" not in response.text


async def test_clock_moves_the_agencies_and_the_product(gateway: StandIn) -> None:
    before = (await request("GET", f"{gateway.sandbox_url}/sandbox/clock")).json()

    after = (await request("POST", f"{gateway.sandbox_url}/sandbox/clock", json={"days": 9})).json()

    assert moved == [9]
    assert after["days"] == 9
    assert after["today"] > before["today"]


async def test_whoever_starts_the_sandboxes_learns_when_they_are_ready(gateway: StandIn) -> None:
    assert (await request("GET", f"{gateway.sandbox_url}/health")).status_code == 200


async def test_state_of_an_agency_that_is_none_is_not_found(gateway: StandIn) -> None:
    assert (await request("GET", f"{gateway.sandbox_url}/sandbox/state/nobody")).status_code == 404
    assert (await request("GET", f"{gateway.sandbox_url}/sandbox/state/notify")).status_code == 200


def test_deployment_names_every_agency_and_keys_stay_the_same(tmp_path: Path) -> None:
    config = SandboxConfig(
        base_url="http://127.0.0.1:8100", gateway_issuer="http://127.0.0.1:8000", folder=tmp_path
    )

    first = load_deployments(write_deployment(config))
    second = load_deployments(write_deployment(config))

    named = {name for manifest in kinds().values() for name in manifest.agencies}
    assert set(first) == named
    assert first == second
    assert first["field_authority:moc"].endpoint == "http://127.0.0.1:8100/field_authority/moc"
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "keys").iterdir()} == {0o600}
