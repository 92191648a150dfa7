"""Whatever is made of a token at random, both doors refuse it in their own words and never fail otherwise."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent.verifier import VerificationError
from tests.consent.forge import CLAIMS, REFUSALS, forge, gateway_door, kit_door

MUTABLE = forge()


@given(st.data())
def test_changed_token_is_refused_and_never_anything_else(data: st.DataObject) -> None:
    characters = list(MUTABLE)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(characters) - 1))
        characters[at] = data.draw(st.characters() | st.sampled_from("ABCabc012-_=.+/ \n"))
    changed = "".join(characters)

    for door in (gateway_door, kit_door):
        if changed == MUTABLE:
            door(changed)
        else:
            with pytest.raises(REFUSALS):
                door(changed)


@given(st.text(max_size=200) | st.text("AZaz09-_.=", max_size=200))
def test_random_text_is_refused_and_never_anything_else(text: str) -> None:
    for door in (gateway_door, kit_door):
        with pytest.raises(REFUSALS):
            door(text)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(header=JSON_VALUES | st.binary(max_size=60), claims=JSON_VALUES | st.binary(max_size=60))
def test_well_signed_nonsense_is_refused_and_never_anything_else(header: object, claims: object) -> None:
    for door in (gateway_door, kit_door):
        for token in (forge(header), forge(claims=claims), forge(header, claims)):
            with pytest.raises(REFUSALS):
                door(token)


@given(name=st.sampled_from(sorted(CLAIMS)), value=JSON_VALUES)
def test_any_other_value_of_any_claim_widens_nothing(name: str, value: object) -> None:
    """The kit refuses it, or the change is one that gives no further right."""
    try:
        verified = kit_door(forge(claims=CLAIMS | {name: value}))
    except VerificationError:
        return
    before = kit_door(forge())
    harmless = {
        "sub",
        "client_id",
        "jti",
        "txn",
        "acr",
        "auth_time",
        "basis_id",
        "basis_hash",
        "iat",
        "nbf",
        "exp",
    }
    assert name in harmless or verified == before
