"""Payments: a signed notice from the payment service becomes an event, once.

The payment service's own number decides whether a notice is new. The first payment of the right amount pays
the fee; any further one, or one of another amount, is kept as an overpayment that the person may claim back,
and moves nothing else.
"""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.epay.adapter import Order, PaymentNotice
from consent.store import insert_or_ignore
from services import calls, store
from services import events as ev
from services.case import Fee
from services.errors import CaseNotFound
from services.flow import Flow


async def take_notice(conn: AsyncConnection, flow: Flow, agency: str, notice: PaymentNotice) -> bool:
    """Take a notice; False when it was known already. Raises CaseNotFound for an order that is not theirs.

    Only a call that ordered a payment can be paid: any other agency's word on its own call is worth nothing.
    """
    call = await calls.load(conn, notice.call, lock=True)
    if call is None or call.agency != agency or not _is_order(flow, call):
        raise CaseNotFound("no such order")
    case = await store.load_case(conn, flow.vault, call.case_id, lock=True)
    if not await _is_new(conn, notice.call, notice):
        return False
    at = await store.now(conn)
    event = _event(case.fee, notice)
    await flow.advance(conn, case, [event], actor=agency, at=at)
    return True


def _is_order(flow: Flow, call: calls.Call) -> bool:
    return flow.planner.operation(call.agency, call.operation).request is Order


async def _is_new(conn: AsyncConnection, call_id: UUID, notice: PaymentNotice) -> bool:
    inserted = await conn.execute(
        insert_or_ignore(conn, store.payment),
        {
            "payment": notice.payment,
            "call_id": call_id,
            "amount_ntd": notice.amount_ntd,
            "paid_at": notice.paid_at,
        },
    )
    return inserted.rowcount == 1


def _event(fee: Fee | None, notice: PaymentNotice) -> ev.FeePaid | ev.Overpaid:
    pays = fee is not None and not fee.payment and fee.amount_ntd == notice.amount_ntd
    kind = ev.FeePaid if pays else ev.Overpaid
    return kind(payment=notice.payment, amount_ntd=notice.amount_ntd, paid_at=notice.paid_at)
