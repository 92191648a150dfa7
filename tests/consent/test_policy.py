"""From a lawful basis to a permit, and what of an answer is let through."""

import datetime as dt
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent import policy
from consent.errors import NotPermitted
from consent.ids import uuid7
from consent.model import BasisKind, BasisState, Grant, LawfulBasis

NOW = dt.datetime(2026, 11, 22, 5, 0, tzinfo=dt.UTC)


def basis(**changes: Any) -> LawfulBasis:
    record = LawfulBasis(
        basis_id=uuid7(),
        kind=BasisKind.CONSENT,
        state=BasisState.GRANTED,
        subject="alice",
        case_id=uuid4(),
        service="gold_card",
        purpose_code="prefill",
        purpose_text="",
        grants=(Grant(agency="nia", resource="nia.residence", fields=("arc.number",), max_uses=1),),
        not_before=NOW,
        expires_at=NOW + dt.timedelta(days=1),
    )
    return msgspec.structs.replace(record, **changes)


def permit(record: LawfulBasis, **changes: Any) -> Any:
    arguments: dict[str, Any] = {
        "sha256": "00",
        "call_id": UUID(int=1),
        "agency": "nia",
        "resource": "nia.residence",
        "fields": ("arc.number",),
        "status": (0, 7),
        "now": NOW,
    }
    return policy.permit(record, **{**arguments, **changes})


def test_live_basis_permits_what_it_names() -> None:
    issued = permit(basis())

    assert issued.fields == {"arc.number"}
    assert issued.one_time
    assert (issued.status_list, issued.status_index) == (0, 7)


@pytest.mark.parametrize("state", sorted(set(BasisState) - {BasisState.GRANTED, BasisState.IN_FORCE}))
def test_basis_in_no_live_state_permits_nothing(state: BasisState) -> None:
    with pytest.raises(NotPermitted) as refused:
        permit(basis(state=state))

    assert refused.value.reason == "not-live"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"now": NOW + dt.timedelta(days=1)}, "expired"),
        ({"now": NOW - dt.timedelta(milliseconds=1)}, "expired"),
        ({"agency": "wda"}, "not-covered"),
        ({"agency": "nia:A"}, "not-covered"),
        ({"resource": "nia.residence.history"}, "not-covered"),
        ({"fields": ("arc.number", "arc.address")}, "field-not-covered"),
        ({"fields": ("arc",)}, "field-not-covered"),
        ({"fields": ("arc.number.check",)}, "field-not-covered"),
        ({"fields": ("arc.numbеr",)}, "field-not-covered"),  # Cyrillic е
        ({"fields": ("*",)}, "field-not-covered"),
    ],
)
def test_call_beyond_the_basis_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(NotPermitted) as refused:
        permit(basis(), **changes)

    assert refused.value.reason == reason


def test_surplus_is_dropped_and_named() -> None:
    answer = {"arc": {"number": "A1", "address": "x", "history": {"a": 1}}, "spouse": {"name": "y"}}

    released = policy.release(("arc.number",), answer)

    assert released.data == {"arc": {"number": "A1"}}
    assert released.fields == ("arc.number",)
    assert set(released.surplus) == {"arc.address", "arc.history", "spouse"}


names = st.sampled_from(["a", "b", "c", "a.b", "a.b.c", "a.c", "b.a"])
leaf = st.integers(0, 9) | st.lists(st.integers(0, 9), max_size=1)
level = st.sampled_from(["a", "b", "c"])
trees: st.SearchStrategy[Any] = leaf | st.dictionaries(
    level, leaf | st.dictionaries(level, leaf, max_size=3), max_size=3
)


def leaves(data: Any, prefix: str = "") -> set[str]:
    if not isinstance(data, dict):
        return {prefix[:-1]}
    return {name for key, value in data.items() for name in leaves(value, f"{prefix}{key}.")}


@given(st.sets(names), st.dictionaries(level, trees, max_size=3))
def test_nothing_outside_the_fields_is_ever_released(fields: set[str], answer: dict[str, Any]) -> None:
    released = policy.release(fields, answer)

    for name in leaves(released.data) - {""}:
        assert any(name == field or name.startswith(f"{field}.") for field in fields)
    assert set(released.fields) <= fields
