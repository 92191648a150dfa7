"""Sandbox of the payment service: orders, a page to pay on, and signed notices of what was paid.

No card number is asked for. A paid order takes no second payment, unless the fault `second_payment` is told
for the operation `pay`; `duplicate_callback` sends a notice twice, `lost_callback` sends none.
"""

import asyncio
from collections import OrderedDict
from datetime import datetime
from html import escape
from typing import Any
from uuid import uuid4

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath
from litestar.response import Redirect

from adapters.epay.adapter import OPERATIONS, Order, OrderAnswer, PaymentNotice
from adapters.sandbox_kit import Facts, Fault, Instance, Problem, Rules, page

ORDERS_MAX = 100_000
NOTICE_SECONDS_MAX = 3.0  # how long the person's browser waits for the notice to be taken

# What the platform offers (six in all on the official site, the four convenience stores counted as one here).
MEANS = {
    "credit_card": "信用卡 Credit card",
    "e_government": "電子化政府服務平臺 e-gov payment",
    "virtual_account": "虛擬帳號 Virtual account",
    "convenience_store": "超商 Convenience store",
    "web_atm": "WebATM",
}


class Placed(msgspec.Struct, kw_only=True):
    """An order and what was paid for it."""

    order: Order
    facts: Facts
    payments: list[PaymentNotice] = msgspec.field(default_factory=list)


class PaymentService:
    """The orders of one sandbox."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self.orders: OrderedDict[str, Placed] = OrderedDict()

    def place(self, facts: Facts, order: Order) -> OrderAnswer:
        """Take an order; the person comes back to the gateway and nowhere else. Raises Problem."""
        if order.amount_ntd <= 0:
            raise Problem(422, "amount-not-positive")
        if not order.return_url.startswith(f"{self._instance.link.origin}/"):
            raise Problem(422, "return-elsewhere", "The return address is not at the gateway.")
        number = f"EP{facts.call.hex[-16:].upper()}"
        self.orders[number] = Placed(order=order, facts=facts)
        if len(self.orders) > ORDERS_MAX:
            self.orders.popitem(last=False)
        return OrderAnswer(order=number, pay_url=f"{self._instance.endpoint}/pay/{number}")

    def payable(self, number: str, fault: Fault | None = None) -> Placed:
        """The order when it can be paid now. Raises Problem (404, 409 paid, 410 expired)."""
        placed = self.orders.get(number)
        if placed is None:
            raise Problem(404, "no-such-order")
        if placed.payments and not (fault and fault.kind == "second_payment"):
            raise Problem(409, "paid-already")
        if placed.order.expires_at < self.now():
            raise Problem(410, "order-expired")
        return placed

    def pay(self, number: str, means: str) -> tuple[Placed, asyncio.Task[None]]:
        """Take the money and start to tell of it. Raises Problem."""
        fault = self._instance.faults.take(self._instance.name, "pay")
        placed = self.payable(number, fault)
        notice = PaymentNotice(
            call=placed.facts.call,
            order=number,
            payment=f"PAY-{uuid4().hex}",
            amount_ntd=placed.order.amount_ntd,
            paid_at=self.now(),
            means=means,
        )
        placed.payments.append(notice)
        return placed, self._instance.start(self._tell(placed, notice, fault))

    def now(self) -> datetime:
        """The legal instant."""
        return self._instance.clock.legal_now()

    async def _tell(self, placed: Placed, notice: PaymentNotice, fault: Fault | None) -> None:
        url = f"{placed.facts.callback.rpartition('/')[0]}/payments"
        times = {"lost_callback": 0, "duplicate_callback": 2}.get(fault.kind if fault else "", 1)
        for _ in range(times):
            await self._instance.link.deliver(url, msgspec.json.encode(notice), self._instance.key)


def build(instance: Instance) -> Rules:
    """The rules of this agency, and its page."""
    service = PaymentService(instance)
    origin = instance.link.origin

    @get("/pay/{number:str}", sync_to_thread=False)
    def show(number: FromPath[str]) -> Response[str]:
        """The page on which an order is paid."""
        try:
            order = service.payable(number).order
        except Problem as problem:
            return _refusal_page(problem, origin)
        options = "".join(f'<option value="{value}">{title}</option>' for value, title in MEANS.items())
        body = (
            f"<p>{escape(order.item)}</p><p><strong>NT$ {order.amount_ntd:,}</strong></p>"
            '<form method="post"><label>繳費方式 Means of payment '
            f'<select name="means">{options}</select></label>'
            "<p>本頁為範例，不需輸入卡號。This is a sample: no card number is asked for.</p>"
            '<button type="submit">繳費 Pay</button></form>'
        )
        return page("線上繳費 Online payment", body, origin=origin)

    @post("/pay/{number:str}", status_code=303)
    async def pay(request: Request[Any, Any, Any], number: FromPath[str]) -> Response[str] | Redirect:
        """Pay, tell the gateway, and go back there."""
        means = str((await request.form()).get("means", "credit_card"))
        try:
            placed, telling = service.pay(number, means if means in MEANS else "credit_card")
        except Problem as problem:
            return _refusal_page(problem, origin)
        await asyncio.wait({telling}, timeout=NOTICE_SECONDS_MAX)
        return Redirect(placed.order.return_url, status_code=303)

    return Rules(
        operations=OPERATIONS,
        decide={"order": service.place},
        routes=(show, pay),
        state=lambda: {number: placed.payments for number, placed in service.orders.items()},
    )


_REFUSALS = {
    "no-such-order": "查無此訂單 There is no such order",
    "paid-already": "此訂單已繳費 This order is paid",
    "order-expired": "此訂單已逾期 This order has expired",
}


def _refusal_page(problem: Problem, origin: str) -> Response[str]:
    title = _REFUSALS.get(problem.code, "無法繳費 Payment is not possible")
    return page(title, "", origin=origin, status=problem.status)
