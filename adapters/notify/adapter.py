"""The wire format of the notification service.

`contact` registers where one case's notices are to go, on the duty to serve them; `send` then names the case,
a template and a language: no message carries personal data.
"""

from typing import Literal

from adapters.contract import Operation, OperationKind, by_name
from adapters.vocabulary import Acknowledged, Wire


class ContactDetails(Wire, frozen=True):
    """Where to reach the person; an empty phone number means no SMS."""

    email: str
    phone: str = ""


class ContactRequest(Wire, frozen=True):
    """The contact of one case."""

    contact: ContactDetails


class Message(Wire, frozen=True):
    """What to send: the template's name, never free text."""

    template: str
    language: Literal["zh-TW", "en"]
    link: str


OPERATIONS = by_name(
    Operation(
        name="contact",
        kind=OperationKind.DATA,
        resource="notification.contact",
        request=ContactRequest,
        answer=Acknowledged,
    ),
    Operation(
        name="send",
        kind=OperationKind.CONTROL,
        resource="notification.send",
        request=Message,
        answer=Acknowledged,
        ground="行政程序法 §100",
    ),
)
