"""The life of a lawful basis: the whole matrix of states and events."""

import itertools

import pytest

from consent.errors import TransitionRefused
from consent.lifecycle import TRANSITIONS, BasisEvent, next_state
from consent.model import BasisState

EDGES = {
    ("shown", "grant"): "granted",
    ("shown", "refuse"): "refused",
    ("shown", "lapse"): "lapsed",
    ("granted", "consume"): "consumed",
    ("granted", "pause"): "paused",
    ("granted", "withdraw"): "withdrawn",
    ("granted", "revoke"): "revoked",
    ("granted", "expire"): "expired",
    ("granted", "supersede"): "superseded",
    ("paused", "resume"): "granted",
    ("paused", "withdraw"): "withdrawn",
    ("paused", "revoke"): "revoked",
    ("paused", "expire"): "expired",
    ("recorded", "take_effect"): "in_force",
    ("recorded", "end"): "ended",
    ("in_force", "end"): "ended",
}


@pytest.mark.parametrize(("state", "event"), list(itertools.product(BasisState, BasisEvent)))
def test_every_pair_is_an_edge_or_refused(state: BasisState, event: BasisEvent) -> None:
    expected = EDGES.get((state.value, event.value))

    if expected is None:
        with pytest.raises(TransitionRefused):
            next_state(state, event)
    else:
        assert next_state(state, event)[0] == expected


def test_nothing_leads_out_of_an_ended_record() -> None:
    ends = {"refused", "lapsed", "consumed", "withdrawn", "revoked", "expired", "superseded", "ended"}

    assert not {state for state, _ in TRANSITIONS if state in ends}
