"""Payment notices: each counts once, the right one pays, every other is kept to be claimed back."""

import asyncio
import datetime as dt

import msgspec
import pytest

from adapters.epay.adapter import Order, PaymentNotice
from consent.ids import uuid7
from services import events as ev
from services import payments
from services.case import Case
from services.errors import CaseNotFound
from services.service import PlannedCall
from tests.services.fakes import PUBLIC_URL, Office, check_history, notice_to

FEE_NTD = 5_700
PAID_AT = dt.datetime(2026, 11, 2, 9, 30, tzinfo=dt.timezone(dt.timedelta(hours=8)))
ORDER = PlannedCall(
    agency="epay",
    operation="order",
    data=Order(amount_ntd=FEE_NTD, item="fee", return_url=PUBLIC_URL, expires_at=PAID_AT),
)


async def ordered(office: Office) -> tuple[Case, PaymentNotice]:
    """A case whose fee is ordered, and the notice that pays it."""
    case = await office.open_case()
    await office.advance(case, ev.FeeOrdered(amount_ntd=FEE_NTD))
    [call_id] = await office.plan(case, ORDER)
    notice = PaymentNotice(
        call=call_id, order="O1", payment="P1", amount_ntd=FEE_NTD, paid_at=PAID_AT, means="card"
    )
    return case, notice


async def take(office: Office, notice: PaymentNotice, agency: str = "epay") -> bool:
    async with office.database.write() as conn:
        return await payments.take_notice(conn, office.flow, agency, notice)


async def paid_and_overpaid(office: Office, case: Case) -> tuple[list[str], list[str]]:
    events = await office.events(case)
    await check_history(office, case)
    return (
        [event.payment for event in events if isinstance(event, ev.FeePaid)],
        [event.payment for event in events if isinstance(event, ev.Overpaid)],
    )


async def test_the_right_amount_pays_the_fee(office: Office) -> None:
    case, notice = await ordered(office)

    assert await take(office, notice)

    fee = (await office.case(case)).fee
    assert fee is not None
    assert (fee.payment, fee.paid_at) == ("P1", PAID_AT)
    assert await paid_and_overpaid(office, case) == (["P1"], [])


async def test_a_notice_that_comes_twice_changes_nothing_the_second_time(office: Office) -> None:
    case, notice = await ordered(office)

    assert [await take(office, notice) for _ in range(3)] == [True, False, False]

    assert await paid_and_overpaid(office, case) == (["P1"], [])


async def test_of_equal_notices_at_once_one_counts(office: Office) -> None:
    case, notice = await ordered(office)

    taken = await asyncio.gather(*(take(office, notice) for _ in range(10)))

    assert sorted(taken) == [False] * 9 + [True]
    assert await paid_and_overpaid(office, case) == (["P1"], [])


async def test_a_known_payment_stays_as_it_was_told_first(office: Office) -> None:
    case, notice = await ordered(office)
    await take(office, notice)

    assert not await take(office, msgspec.structs.replace(notice, amount_ntd=1))

    assert await paid_and_overpaid(office, case) == (["P1"], [])


@pytest.mark.parametrize("amount_ntd", [0, 1, FEE_NTD - 1, FEE_NTD + 1])
async def test_another_amount_does_not_pay_and_can_be_claimed_back(office: Office, amount_ntd: int) -> None:
    case, notice = await ordered(office)

    assert await take(office, msgspec.structs.replace(notice, amount_ntd=amount_ntd))
    assert await paid_and_overpaid(office, case) == ([], ["P1"])

    assert await take(office, msgspec.structs.replace(notice, payment="P2"))
    assert await paid_and_overpaid(office, case) == (["P2"], ["P1"])


async def test_of_two_payments_at_once_one_pays_and_the_other_is_over(office: Office) -> None:
    case, notice = await ordered(office)

    await asyncio.gather(
        *(take(office, msgspec.structs.replace(notice, payment=name)) for name in ("P1", "P2", "P3"))
    )

    paid, over = await paid_and_overpaid(office, case)
    assert (len(paid), len(over)) == (1, 2)
    assert sorted(paid + over) == ["P1", "P2", "P3"]


async def test_another_agency_cannot_pay_an_order(office: Office) -> None:
    case, notice = await ordered(office)

    with pytest.raises(CaseNotFound):
        await take(office, notice, agency="nia")

    assert await paid_and_overpaid(office, case) == ([], [])
    assert await take(office, notice)


async def test_a_notice_for_an_unknown_order_is_refused(office: Office) -> None:
    case, notice = await ordered(office)

    with pytest.raises(CaseNotFound):
        await take(office, msgspec.structs.replace(notice, call=uuid7()))

    assert await paid_and_overpaid(office, case) == ([], [])


async def test_a_notice_for_a_call_that_is_no_order_is_refused(office: Office) -> None:
    case, [call_id] = await office.ready(notice_to("wda"))
    notice = PaymentNotice(
        call=call_id, order="O1", payment="P1", amount_ntd=FEE_NTD, paid_at=PAID_AT, means="card"
    )

    with pytest.raises(CaseNotFound):
        await take(office, notice, agency="wda")

    assert (await office.case(case)).fee is None
