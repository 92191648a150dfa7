"""The wire format of the payment service.

An order names an amount and the case; the person pays on the service's own page and comes back; the service
tells us by a signed payment notice (`PaymentNotice`, posted to `/agency/v1/payments`), which may come late,
twice, or for an order that was paid before.
"""

import datetime as dt
from uuid import UUID

from adapters.contract import Operation, OperationKind, by_name
from adapters.vocabulary import Wire


class Order(Wire, frozen=True):
    """What is to be paid, in whole NT$, and where the person returns to."""

    amount_ntd: int
    item: str
    return_url: str
    expires_at: dt.datetime


class OrderAnswer(Wire, frozen=True):
    """The service's number for the order and the page on which it is paid."""

    order: str
    pay_url: str


class PaymentNotice(Wire, frozen=True):
    """One payment that the service received. `payment` is unique for each payment, `call` names the order."""

    call: UUID
    order: str
    payment: str
    amount_ntd: int
    paid_at: dt.datetime
    means: str


OPERATIONS = by_name(
    Operation(
        name="order",
        kind=OperationKind.CONTROL,
        resource="payment.order",
        request=Order,
        answer=OrderAnswer,
        ground="規費法 §10",
    )
)
