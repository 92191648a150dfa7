"""Agency tokens: what they say of a permit, for how long, and what they never say."""

import datetime as dt
from uuid import uuid4

import msgspec
import pytest
from msgspec import UNSET

from consent import jws
from consent.errors import NotPermitted, TokenRefused
from consent.jws import KeySet
from consent.keys import FileKeyStore
from consent.model import Authority, BasisKind, Permit
from consent.token import AgencyTokenClaims, Status, StatusListReference, TokenMinter
from tests.consent.forge import AUDIENCE, ISSUER, NOW, SECONDS

PERMIT = Permit(
    call_id=uuid4(),
    basis_id=uuid4(),
    basis_kind=BasisKind.CONSENT,
    basis_revision=1,
    basis_sha256="5" * 64,
    subject="subject-of-alice",
    case_id=uuid4(),
    agency="nia",
    resource="residence",
    purpose="gold-card",
    fields=frozenset({"arc.number", "arc.expires_on"}),
    one_time=False,
    expires_at=NOW + dt.timedelta(days=30),
    acr="urn:example:loa:2",
    amr=("pop", "mfa"),
    auth_time=NOW - dt.timedelta(minutes=5),
    status_list=3,
    status_index=70_000,
)
AUTHORITY = Authority(
    call_id=uuid4(), case_reference="115123456784", agency="epay", resource="payment", ground="規費法 §10"
)


@pytest.fixture
def minter(key_store: FileKeyStore) -> TokenMinter:
    return TokenMinter(ISSUER, key_store, lambda number: f"{ISSUER}/oauth/status/{number}")


def mint(
    minter: TokenMinter, authority: Permit | Authority = PERMIT, now: dt.datetime = NOW
) -> AgencyTokenClaims:
    """The claims of a new token, read back with the published keys."""
    token = minter.agency_token(authority, audience=AUDIENCE, actions=("submit",), now=now)
    return jws.verify(token, KeySet.from_jwks(minter.jwks()), "at+jwt", AgencyTokenClaims)


def changed(**members: object) -> Permit:
    return msgspec.structs.replace(PERMIT, **members)


def test_token_says_what_its_permit_says(minter: TokenMinter, key_store: FileKeyStore) -> None:
    claims = mint(minter)

    [detail] = claims.authorization_details
    assert (claims.iss, claims.aud, claims.client_id, claims.act.sub) == (ISSUER, AUDIENCE, ISSUER, ISSUER)
    assert claims.txn == str(PERMIT.call_id)
    assert (claims.basis_id, claims.basis_hash) == (str(PERMIT.basis_id), PERMIT.basis_sha256)
    assert (claims.acr, claims.auth_time) == (PERMIT.acr, SECONDS - 300)
    assert claims.cnf.jkt == jws.thumbprint(key_store.signing_key("dpop").public_key())
    assert claims.status == Status(
        status_list=StatusListReference(idx=70_000, uri=f"{ISSUER}/oauth/status/3")
    )
    assert detail.purpose == "gold-card"
    assert (detail.locations, detail.actions, detail.datatypes) == ((AUDIENCE,), ("submit",), ("residence",))
    assert detail.fields == ("arc.expires_on", "arc.number")
    assert not detail.one_time
    assert detail.expires_at == SECONDS + 30 * 86_400


@pytest.mark.parametrize(
    ("one_time", "basis_seconds", "seconds"),
    [(False, 86_400, 300), (True, 86_400, 120), (False, 299, 299), (True, 30, 30), (False, 1, 1)],
)
def test_token_outlives_neither_its_bound_nor_its_basis(
    minter: TokenMinter, one_time: bool, basis_seconds: int, seconds: int
) -> None:
    permit = changed(one_time=one_time, expires_at=NOW + dt.timedelta(seconds=basis_seconds))

    claims = mint(minter, permit)

    assert (claims.iat, claims.nbf, claims.exp) == (SECONDS, SECONDS, SECONDS + seconds)


@pytest.mark.parametrize("seconds", [0, -1, -86_400, 0.4])
def test_no_token_is_minted_of_an_expired_permit(minter: TokenMinter, seconds: float) -> None:
    permit = changed(expires_at=NOW + dt.timedelta(seconds=seconds))

    with pytest.raises(NotPermitted) as refused:
        mint(minter, permit)
    assert refused.value.reason == "expired"


def test_each_attempt_has_its_own_token_of_the_same_call(minter: TokenMinter) -> None:
    first, second = mint(minter), mint(minter)

    assert first.txn == second.txn
    assert first.jti != second.jti


def test_agencies_know_a_person_by_different_names(minter: TokenMinter) -> None:
    at_nia, again = mint(minter), mint(minter, changed(call_id=uuid4()))
    at_wda = mint(minter, changed(agency="wda"))
    another = mint(minter, changed(subject="subject-of-bob"))

    assert at_nia.sub == again.sub
    assert len({at_nia.sub, at_wda.sub, another.sub}) == 3


def test_agency_and_subject_do_not_run_together_in_a_pseudonym(minter: TokenMinter) -> None:
    one = mint(minter, changed(agency="land", subject="AD:x"))
    other = mint(minter, changed(agency="land:AD", subject="x"))

    assert one.sub != other.sub


def test_token_names_neither_subject_nor_case(minter: TokenMinter) -> None:
    text = msgspec.json.encode(mint(minter)).decode()

    assert PERMIT.subject not in text
    assert str(PERMIT.case_id) not in text
    assert AUTHORITY.case_reference not in msgspec.json.encode(mint(minter, AUTHORITY)).decode()


def test_control_token_names_neither_field_nor_person(minter: TokenMinter) -> None:
    claims = mint(minter, AUTHORITY)

    [detail] = claims.authorization_details
    assert (detail.purpose, detail.fields, detail.datatypes) == ("payment", (), ("payment",))
    assert claims.txn == str(AUTHORITY.call_id)
    assert claims.exp == detail.expires_at == SECONDS + 300
    assert {claims.acr, claims.amr, claims.auth_time, claims.basis_id, claims.basis_hash, claims.status} == {
        UNSET
    }


def test_basis_without_the_person_names_no_authentication(minter: TokenMinter) -> None:
    claims = mint(minter, changed(basis_kind=BasisKind.STATUTORY_DUTY, acr="", amr=(), auth_time=None))

    assert {claims.acr, claims.amr, claims.auth_time} == {UNSET}
    assert claims.basis_id == str(PERMIT.basis_id)


def test_published_keys_are_public_and_one_for_each_purpose(
    minter: TokenMinter, key_store: FileKeyStore
) -> None:
    keys = minter.jwks()["keys"]

    purposes = ("agency-token", "status-list", "http-signature")
    assert [key["kid"] for key in keys] == [
        jws.thumbprint(key_store.signing_key(purpose).public_key()) for purpose in purposes
    ]
    assert all("d" not in key for key in keys)


def test_proof_key_signs_no_tokens(minter: TokenMinter, key_store: FileKeyStore) -> None:
    token = jws.sign(mint(minter), key_store.signing_key("dpop"), "at+jwt")

    with pytest.raises(TokenRefused):
        jws.verify(token, KeySet.from_jwks(minter.jwks()), "at+jwt", AgencyTokenClaims)
