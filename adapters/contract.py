"""The contract between the product and an agency: operations, requests, outcomes.

One *call* is one duty towards an agency and has one answer. An agency answers at once (200), or accepts (202)
and answers later by a signed callback or when it is asked by the call's id. The wire, for every operation:

    POST {endpoint}/operations/{operation}             a Request; 200 or 202, a Reply
    GET  {endpoint}/operations/{operation}/{call}      the same Reply again, or 404: never heard of it
    POST {endpoint}/operations/{operation}/{call}/cancel   202, or 409: too late
    POST {gateway}/agency/v1/callbacks                 the agency's Reply, later, signed by the agency
    GET  {gateway}/agency/v1/calls/{call}/documents/{document}   content of a document that the call names

Headers of ours: `Authorization: DPoP <agency token>`, `DPoP`, `Idempotency-Key` (the call's id), and an
RFC 9421 signature over the components in `SIGNED_COMPONENTS`. Errors are RFC 9457 problem documents.

A *data* operation takes a `Permit`; a *control* operation (payment order, status query, cancel, notice) names
its ground instead and carries nothing of the person beyond the case reference.
"""

import datetime as dt
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID

import msgspec

from consent.model import Authority, Permit

# What a signature must cover (RFC 9421, section 2); `dpop` and `authorization` only where they are sent.
SIGNED_COMPONENTS = ("@method", "@target-uri", "content-digest", "authorization", "dpop", "idempotency-key")
CALLBACK_COMPONENTS = ("@method", "@target-uri", "content-digest")
DOCUMENT_COMPONENTS = ("@method", "@target-uri")
SIGNATURE_TAG = "onestop"
SIGNATURE_SECONDS_MAX = 60


class OperationKind(StrEnum):
    """Whether an operation carries personal data (and needs a permit) or not."""

    DATA = "data"
    CONTROL = "control"


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What we send. `data` has the shape of the operation's request struct.

    `case` is the case number; `filed_at` the legal filing instant, RFC 3339 in UTC, empty before filing.
    """

    call: UUID
    case: str
    purpose: str
    filed_at: str
    callback: str
    data: msgspec.Raw


class ReplyStatus(StrEnum):
    """How far the agency is with a call."""

    ANSWERED = "answered"
    ACCEPTED = "accepted"


class Reply(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the agency answers, at once, by callback or when asked; `data` only with an answer."""

    call: UUID
    status: ReplyStatus
    data: msgspec.Raw = msgspec.Raw(b"{}")
    poll_after_seconds: int = 0


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One operation of an agency kind.

    `request` and `answer` are the frozen structs of `data` in both directions; `resource` is the datatype
    that token and log name; `ground` is the statute a control operation rests on, empty for data.
    """

    name: str
    kind: OperationKind
    resource: str
    request: type[msgspec.Struct]
    answer: type[msgspec.Struct]
    ground: str = ""


def by_name(*operations: Operation) -> Mapping[str, Operation]:
    """The operations of an agency kind, as its adapter states them."""
    return {operation.name: operation for operation in operations}


class OutgoingCall(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt at a call, ready to be sent: the stored body and what authorises it."""

    call_id: UUID
    operation: str
    authority: Permit | Authority
    body: bytes
    now: dt.datetime  # machine time of this attempt


class Agency(Protocol):
    """One agency instance, as the outbox sees it. Implemented by `adapters.client.AgencyClient`.

    Every method raises `Unavailable`, `Refused` or `Unsupported` and nothing else that is the agency's doing.
    """

    @property
    def name(self) -> str:
        """`kind` or `kind:instance`, as consent, token and log name it."""
        ...

    @property
    def operations(self) -> Mapping[str, Operation]:
        """The operations of its kind, by name."""
        ...

    async def send(self, call: OutgoingCall) -> Reply:
        """Send the call; idempotent by its id."""
        ...

    async def ask(self, call: OutgoingCall) -> Reply | None:
        """What became of the call; None when the agency never heard of it, so that it may be sent again."""
        ...

    async def aclose(self) -> None:
        """Close connections."""
        ...


def members_of(data: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted names of all leaf members of a JSON object, arrays counted as leaves; in document order."""
    names: list[str] = []
    for key, value in data.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            names.extend(members_of(value, f"{name}."))
        else:
            names.append(name)
    return names
