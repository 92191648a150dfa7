"""The verifier kit step by step: what passes, and every step negated."""

import dataclasses
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import consent.verifier
from adapters.contract import members_of
from consent import jws
from consent.verifier import StatusList, VerificationError, fields_allowed
from tests.consent.forge import (
    AUDIENCE,
    CLAIMS,
    DETAIL,
    HEADER,
    ISSUER,
    JWKS,
    NOW,
    SECONDS,
    STATUS_URI,
    STRANGER,
    agency,
    b64,
    forge,
    kit_door,
    refused_at,
    standing,
    with_detail,
)

CONTROL = {name: value for name, value in CLAIMS.items() if name not in {"basis_id", "basis_hash", "status"}}
CONTROL |= {"authorization_details": [DETAIL | {"fields": []}]}
ONE_TIME = with_detail(one_time=True) | {"exp": SECONDS + 120}


def test_kit_runs_where_only_cryptography_is_installed(tmp_path: Path) -> None:
    """An agency takes the one file: nothing of ours may be importable from it."""
    copy = tmp_path / "verifier.py"
    copy.write_bytes(Path(consent.verifier.__file__).read_bytes())
    script = "import sys, verifier; print(*sorted({name.partition('.')[0] for name in sys.modules}))"

    loaded = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
    ).stdout.split()

    assert "cryptography" in loaded
    assert not {"consent", "adapters", "services", "gateway", "jose", "msgspec"} & set(loaded)


def test_valid_request_tells_what_may_be_returned() -> None:
    verified = kit_door()

    assert dataclasses.asdict(verified) == {
        "txn": CLAIMS["txn"],
        "sub": "pairwise",
        "purpose": "gold-card",
        "fields": frozenset({"arc.number", "arc.expires_on"}),
        "basis_id": CLAIMS["basis_id"],
        "one_time": False,
        "expires_at": SECONDS + 3600,
        "jti": CLAIMS["jti"],
    }


def test_control_token_needs_no_status_list_and_allows_no_field() -> None:
    verified = kit_door(forge(claims=CONTROL), status_list=None)

    assert verified.basis_id is None
    assert verified.fields == frozenset()


@pytest.mark.parametrize(
    "authorization", ["", "DPoP", "DPoP ", "Bearer {}", "dpop {}", "DPoP  {}", "{}", "DPoP {} x"]
)
def test_step_1_another_scheme_is_refused(authorization: str) -> None:
    refused_at(1, lambda: kit_door(authorization=authorization.format(forge())))


def test_steps_2_to_5_are_numbered_as_documented() -> None:
    refused_at(2, lambda: kit_door(forge(HEADER | {"alg": "none"})))
    refused_at(3, lambda: kit_door(forge(HEADER | {"kid": jws.thumbprint(STRANGER.public_key())})))
    refused_at(4, lambda: kit_door(forge(key=STRANGER)))
    refused_at(5, lambda: kit_door(forge(claims=CLAIMS | {"role": "admin"})))


@pytest.mark.parametrize("missing", [{"basis_id"}, {"basis_hash"}, {"status"}, {"basis_id", "status"}])
def test_step_5_half_a_basis_is_refused(missing: set[str]) -> None:
    claims = {name: value for name, value in CLAIMS.items() if name not in missing}

    refused_at(5, lambda: kit_door(forge(claims=claims)))


@pytest.mark.parametrize(
    "audience",
    [AUDIENCE + "/", AUDIENCE.upper(), AUDIENCE.replace("nia", "NIA"), AUDIENCE[:-1], AUDIENCE + "/operations",
     "https://nia.example", "https://nia.example:443/api", "https://nia.example./api", "*", ISSUER],
)  # fmt: skip
def test_step_6_another_audience_is_refused(audience: str) -> None:
    refused_at(6, lambda: kit_door(forge(claims=CLAIMS | {"aud": audience})))


@pytest.mark.parametrize("audience", [[AUDIENCE], [AUDIENCE, "https://wda.example"], {"aud": AUDIENCE}, ""])
def test_audience_that_is_not_one_string_is_refused(audience: object) -> None:
    refused_at(5, lambda: kit_door(forge(claims=CLAIMS | {"aud": audience})))


@pytest.mark.parametrize("issuer", [ISSUER + "/", ISSUER.upper(), "http://gateway.example", AUDIENCE])
def test_step_6_another_issuer_is_refused(issuer: str) -> None:
    refused_at(6, lambda: kit_door(forge(claims=CLAIMS | {"iss": issuer})))


@pytest.mark.parametrize(
    "times",
    [{"exp": SECONDS + 301}, {"exp": SECONDS - 10, "iat": SECONDS - 90}, {"nbf": SECONDS + 11},
     {"iat": SECONDS + 11}, {"iat": SECONDS - 100, "exp": SECONDS + 201},
     {"iat": SECONDS + 9, "exp": SECONDS + 9}],
)  # fmt: skip
def test_step_6_token_outside_its_time_or_with_too_long_a_life_is_refused(times: dict[str, int]) -> None:
    refused_at(6, lambda: kit_door(forge(claims=CLAIMS | times)))


def test_step_6_one_time_token_lives_two_minutes_at_most() -> None:
    refused_at(6, lambda: kit_door(forge(claims=ONE_TIME | {"exp": SECONDS + 121})))


@pytest.mark.parametrize("skew", [-9, 10])
def test_clocks_may_differ_by_ten_seconds(skew: int) -> None:
    token = forge(claims=CLAIMS | {"iat": SECONDS + skew, "nbf": SECONDS + skew, "exp": SECONDS + skew + 60})

    kit_door(token)


@pytest.mark.parametrize(
    "status_list",
    [None, standing(uri=f"{ISSUER}/oauth/status/1"), standing(expires_at=SECONDS), standing(revoked=7),
     StatusList(STATUS_URI, SECONDS + 60, b"")],
    ids=["none", "another", "expired", "revoked", "too-short"],
)  # fmt: skip
def test_step_8_basis_that_is_not_known_to_stand_is_refused(status_list: StatusList | None) -> None:
    refused_at(8, lambda: kit_door(status_list=status_list))


@pytest.mark.parametrize("index", [6, 8, 15, 127])
def test_step_8_another_basis_that_ended_does_no_harm(index: int) -> None:
    kit_door(status_list=standing(revoked=index))


@pytest.mark.parametrize(
    "detail",
    [
        {"type": "urn:onestop:consent:v2"},
        {"locations": ["https://wda.example"]},
        {"locations": [AUDIENCE, "https://wda.example"]},
        {"locations": []},
        {"actions": ["status"]},
        {"actions": []},
        {"datatypes": ["residence.history"]},
        {"datatypes": ["Residence"]},
        {"expires_at": SECONDS - 10},
    ],
)
def test_step_9_detail_of_something_else_is_refused(detail: dict[str, Any]) -> None:
    refused_at(9, lambda: kit_door(forge(claims=with_detail(**detail))))


@pytest.mark.parametrize(
    "field",
    ["*", "arc.*", "**", "arc.", ".arc", "arc..number", "Arc.number", "arc.number ", "arc number", "arc/number",
     "arc[0]", "arc.number\n", "$.arc", "arc.1", "arc.number,name"],
)  # fmt: skip
def test_step_9_field_that_is_no_plain_name_is_refused(field: str) -> None:
    with pytest.raises(VerificationError):
        kit_door(forge(claims=with_detail(fields=["arc.number", field])))


@pytest.mark.parametrize(
    "fields", [["аrc.number"], ["arc．number"], ["arc.number\u200b"], [""], "arc.number", None]
)
def test_fields_with_look_alike_characters_or_of_another_type_are_refused(fields: object) -> None:
    refused_at(5, lambda: kit_door(forge(claims=with_detail(fields=fields))))


def test_step_9_field_named_twice_is_refused() -> None:
    refused_at(9, lambda: kit_door(forge(claims=with_detail(fields=["arc.number", "arc.number"]))))


def test_step_9_control_token_cannot_ask_for_fields() -> None:
    claims = CONTROL | {"authorization_details": [DETAIL]}

    refused_at(9, lambda: kit_door(forge(claims=claims), status_list=None))


class Uses:
    """The memory of one-time calls that an agency brings; here in this process."""

    def __init__(self) -> None:
        self.digests: dict[str, str] = {}
        self.until: list[float] = []

    def __call__(self, txn: str, digest: str, expires_at: float) -> bool:
        self.until.append(expires_at)
        return self.digests.setdefault(txn, digest) == digest


def test_step_10_repeated_call_passes_and_another_content_does_not() -> None:
    one_time = agency(Uses())
    first, second, third = (forge(claims=ONE_TIME | {"jti": f"attempt-{number}"}) for number in range(3))

    assert kit_door(first, verifier=one_time).one_time
    assert kit_door(second, verifier=one_time).txn == CLAIMS["txn"]
    refused_at(10, lambda: kit_door(third, verifier=one_time, content_digest="sha-256=:BBBB:"))


def test_step_10_use_is_remembered_as_long_as_the_basis_may_be_used() -> None:
    uses = Uses()

    kit_door(forge(claims=ONE_TIME), verifier=agency(uses))

    assert uses.until == [SECONDS + 3600 + 10]


def test_step_10_one_time_token_needs_a_memory_of_uses() -> None:
    refused_at(10, lambda: kit_door(forge(claims=ONE_TIME)))


def test_refused_request_uses_nothing_up() -> None:
    uses = Uses()
    one_time = agency(uses)

    for broken in (
        ONE_TIME | {"aud": ISSUER},
        with_detail(one_time=True, actions=[]) | {"exp": SECONDS + 60},
    ):
        with pytest.raises(VerificationError):
            kit_door(forge(claims=broken), verifier=one_time)

    assert uses.digests == {}


def status_token(header: dict[str, Any] | None = None, lst: str | None = None, **changes: Any) -> str:
    packed = b64(zlib.compress(bytes(16)))
    claims = {"sub": STATUS_URI, "iat": SECONDS, "exp": SECONDS + 300, "ttl": 60}
    claims |= {"status_list": {"bits": 1, "lst": packed if lst is None else lst}} | changes
    return forge(HEADER | {"typ": "statuslist+jwt"} | (header or {}), claims)


def test_status_list_of_the_draft_is_read_bit_by_bit() -> None:
    """Entry i is bit i % 8 of byte i // 8, the lowest first (draft-ietf-oauth-status-list, section 4)."""
    bits = [1, 0, 0, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 1, 0, 1]
    token = status_token(lst=b64(zlib.compress(bytes([0xB9, 0xA3]))))

    read = StatusList.from_token(token, JWKS, STATUS_URI, NOW.timestamp())

    assert [not read.is_valid(index) for index in range(16)] == [bool(bit) for bit in bits]
    assert not read.is_valid(16)
    assert not read.is_valid(-1)


@pytest.mark.parametrize(
    "token",
    [
        status_token(sub=f"{ISSUER}/oauth/status/1"),
        status_token(exp=SECONDS),
        status_token(iat=SECONDS + 11),
        status_token(iat=None),
        status_token(aud=AUDIENCE),
        status_token(status_list={"bits": 2, "lst": "AAAA"}),
        status_token(status_list={"bits": True, "lst": b64(zlib.compress(bytes(16)))}),
        status_token(lst=""),
        status_token(lst="AAAA"),
        status_token(lst=b64(zlib.compress(bytes(16))[:-1])),
        status_token(lst=b64(zlib.compress(bytes(16)) + b"more")),
        status_token(lst=b64(zlib.compress(bytes(16))) + "="),
        status_token(lst=b64(zlib.compress(bytes(30_000_000)))),
        status_token(header={"alg": "none"}),
        status_token(header={"typ": "JWT"}),
        status_token(header={"kid": jws.thumbprint(STRANGER.public_key())}),
        forge(),
        "",
        "a.b.c",
        "A" * 70_000,
    ],
)
def test_status_list_that_is_not_as_expected_is_refused(token: str) -> None:
    refused_at(8, lambda: StatusList.from_token(token, JWKS, STATUS_URI, NOW.timestamp()))


ANSWER = {
    "arc": {"number": "A900000001", "expires_on": "2027-01-01", "address": {"city": "Taipei"}},
    "name": "someone",
    "stays": [{"from": "2025-01-01"}],
    "arc.number": "a member with a dot in its name",
}


@pytest.mark.parametrize(
    ("fields", "allowed"),
    [
        (set(), {}),
        ({"name"}, {"name": "someone"}),
        ({"arc.number"}, {"arc": {"number": "A900000001"}}),
        (
            {"arc.address.city", "stays"},
            {"arc": {"address": {"city": "Taipei"}}, "stays": [{"from": "2025-01-01"}]},
        ),
        ({"arc"}, {}),
        ({"arc.address"}, {}),
        ({"ar", "nam", "name.first", "stays.from"}, {}),
        ({"*", "arc.*", "Name"}, {}),
    ],
)
def test_only_named_members_are_returned(fields: set[str], allowed: dict[str, Any]) -> None:
    assert fields_allowed(ANSWER, frozenset(fields)) == allowed


NAMES = st.sampled_from(["a", "b", "c"])
OBJECTS = st.recursive(
    st.integers() | st.lists(st.integers(), max_size=2) | st.none(),
    lambda inner: st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=12,
)


@given(
    data=st.dictionaries(NAMES, OBJECTS, max_size=3),
    fields=st.frozensets(st.lists(NAMES, min_size=1, max_size=4).map(".".join), max_size=6),
)
def test_returned_members_are_exactly_those_that_are_named_and_there(
    data: dict[str, Any], fields: frozenset[str]
) -> None:
    assert set(members_of(fields_allowed(data, fields))) == set(members_of(data)) & fields
