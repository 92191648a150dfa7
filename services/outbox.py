"""The words of the outbox: what state a call can be in, and what an attempt at it may bring.

    ready ──claimed──▶ leased ──▶ done        answered, released, the case moved on
      ▲                  │  ├───▶ waiting     accepted; answered later by callback or when asked
      └──not sent────────┤  ├───▶ unknown     sent, outcome unknown: asked about before it is sent again
                         │  ├───▶ refused     the agency or the lawful basis said no
                         │  └───▶ dead        attempts spent, or an answer that is not the contract's
                         └ lease expired: claimed again, asked about first

`waiting` and `unknown` calls become due again and are claimed like ready ones. A `dead` call keeps its body:
an operator may have it tried again, and a late callback still answers it.
"""

from enum import StrEnum
from uuid import UUID

import msgspec

from adapters.contract import Reply
from adapters.errors import Refused, Unavailable, Unsupported
from consent.errors import NotPermitted


class CallStatus(StrEnum):
    """Where a call stands."""

    READY = "ready"
    LEASED = "leased"
    WAITING = "waiting"
    UNKNOWN = "unknown"
    DONE = "done"
    REFUSED = "refused"
    DEAD = "dead"


CLAIMABLE = (CallStatus.READY, CallStatus.WAITING, CallStatus.UNKNOWN)
ENDED = frozenset({CallStatus.DONE, CallStatus.REFUSED})


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """Who works on a call; a result counts only while this is still the call's lease."""

    call_id: UUID
    owner: UUID
    fence: int


AttemptResult = Reply | Unavailable | Refused | Unsupported | NotPermitted


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """What one attempt brought: a reply, or why there is none.

    `asked`: the call may have been sent before, so that it was asked about first.
    """

    lease: Lease
    asked: bool
    result: AttemptResult
