"""The life of a lawful basis: one table of (state, event), from which everything else follows.

A consent is shown, then granted, refused or left to lapse; a granted one is used up, paused and resumed,
withdrawn by the person, revoked by authority, expires, or is superseded by a narrower revision. A basis of
another kind is recorded, comes into force and ends. Every edge is one log entry; every other pair is refused.
Withdrawing twice is not an error: the second time finds the record withdrawn and changes nothing.

A paused consent can be withdrawn, revoked or expire as a granted one can: a pause must not take a right away.
"""

from collections.abc import Mapping
from enum import StrEnum

from consent.errors import TransitionRefused
from consent.model import BasisState as S
from consent.model import EventType


class BasisEvent(StrEnum):
    """What may happen to a lawful basis."""

    GRANT = "grant"
    REFUSE = "refuse"
    LAPSE = "lapse"
    CONSUME = "consume"
    PAUSE = "pause"
    RESUME = "resume"
    WITHDRAW = "withdraw"
    REVOKE = "revoke"
    EXPIRE = "expire"
    SUPERSEDE = "supersede"
    TAKE_EFFECT = "take_effect"
    END = "end"


E = BasisEvent

TRANSITIONS: Mapping[tuple[S, BasisEvent], tuple[S, EventType]] = {
    (S.SHOWN, E.GRANT): (S.GRANTED, EventType.CONSENT_GRANTED),
    (S.SHOWN, E.REFUSE): (S.REFUSED, EventType.CONSENT_REFUSED),
    (S.SHOWN, E.LAPSE): (S.LAPSED, EventType.CONSENT_EXPIRED),
    (S.GRANTED, E.CONSUME): (S.CONSUMED, EventType.CONSENT_EXPIRED),
    (S.GRANTED, E.PAUSE): (S.PAUSED, EventType.CONSENT_PAUSED),
    (S.GRANTED, E.WITHDRAW): (S.WITHDRAWN, EventType.CONSENT_WITHDRAWN),
    (S.GRANTED, E.REVOKE): (S.REVOKED, EventType.CONSENT_REVOKED),
    (S.GRANTED, E.EXPIRE): (S.EXPIRED, EventType.CONSENT_EXPIRED),
    (S.GRANTED, E.SUPERSEDE): (S.SUPERSEDED, EventType.CONSENT_SUPERSEDED),
    (S.PAUSED, E.RESUME): (S.GRANTED, EventType.CONSENT_RESUMED),
    (S.PAUSED, E.WITHDRAW): (S.WITHDRAWN, EventType.CONSENT_WITHDRAWN),
    (S.PAUSED, E.REVOKE): (S.REVOKED, EventType.CONSENT_REVOKED),
    (S.PAUSED, E.EXPIRE): (S.EXPIRED, EventType.CONSENT_EXPIRED),
    (S.RECORDED, E.TAKE_EFFECT): (S.IN_FORCE, EventType.BASIS_RECORDED),
    (S.RECORDED, E.END): (S.ENDED, EventType.BASIS_ENDED),
    (S.IN_FORCE, E.END): (S.ENDED, EventType.BASIS_ENDED),
}

LIVE_STATES = frozenset({S.GRANTED, S.IN_FORCE})


def next_state(state: S, event: BasisEvent) -> tuple[S, EventType]:
    """State and log event that follow. Raises TransitionRefused for every pair that is not an edge."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise TransitionRefused(state, event) from None
