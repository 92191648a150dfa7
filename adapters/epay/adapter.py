"""The wire format of the payment service.

An order names an amount and the case; the person pays on the service's own page and comes back; the service
tells us by a signed payment notice (`PaymentNotice`, posted to `/agency/v1/payments`), which may come late,
twice, or for an order that was paid before.
"""

import datetime as dt
from typing import Annotated
from uuid import UUID

from msgspec import Meta

from adapters.contract import Operation, OperationKind, by_name
from adapters.vocabulary import Wire

# What we keep of a notice has a place of this width; a number that is longer, or no word, is not one.
Number = Annotated[str, Meta(min_length=1, max_length=80, pattern=r"^[!-~]+$")]
Amount = Annotated[int, Meta(ge=1, le=2**31 - 1)]  # whole NT$
# A browser is sent there: never to `javascript:` or `data:`.
WebAddress = Annotated[str, Meta(max_length=2000, pattern=r"^https?://[!-~]+$")]


class Order(Wire, frozen=True):
    """What is to be paid, in whole NT$, and where the person returns to."""

    amount_ntd: int
    item: str
    return_url: str
    expires_at: dt.datetime


class OrderAnswer(Wire, frozen=True):
    """The service's number for the order and the page on which it is paid."""

    order: Number
    pay_url: WebAddress


class PaymentNotice(Wire, frozen=True):
    """One payment that the service received. `payment` is unique for each payment, `call` names the order."""

    call: UUID
    order: Number
    payment: Number
    amount_ntd: Amount
    paid_at: Annotated[dt.datetime, Meta(tz=True)]
    means: Annotated[str, Meta(max_length=80)]


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
