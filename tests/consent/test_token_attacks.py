"""One hostile suite against both doors: the gateway's own JOSE code and the verifier kit of the agencies."""

import hashlib
import hmac
import json

import msgspec
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from consent import dpop, jws
from consent.errors import TokenRefused
from consent.verifier import StatusList, VerificationError
from tests.consent.forge import (
    AUDIENCE,
    CLAIMS,
    DETAIL,
    HEADER,
    ISSUER,
    JWKS,
    KEY,
    KEY_SET,
    KID,
    NOW,
    P256_ORDER,
    REFUSALS,
    SECONDS,
    STATUS_URI,
    STRANGER,
    URL,
    Door,
    as_json,
    b64,
    forge,
    gateway_door,
    kit_door,
    raw,
    with_claim,
)


@pytest.fixture(params=[gateway_door, kit_door], ids=["gateway", "kit"])
def door(request: pytest.FixtureRequest) -> Door:
    """Each of the two doors."""
    accept: Door = request.param
    return accept


def test_valid_token_passes(door: Door) -> None:
    door(forge())


@pytest.mark.parametrize(
    "alg",
    ["none", "None", "NONE", "nOnE", "", "es256", "ES256 ", "ES384", "ES256K", "HS256", "RS256", "EdDSA",
     None, True, 0, ["ES256"], ["none", "ES256"], {"ES256": "ES256"}],
)  # fmt: skip
def test_other_algorithm_is_refused(door: Door, alg: object) -> None:
    token = forge(HEADER | {"alg": alg})

    for attempt in (token, token.rpartition(".")[0] + ".", token.rpartition(".")[0]):
        with pytest.raises(REFUSALS):
            door(attempt)


def public_key_encodings() -> list[bytes]:
    public = KEY.public_key()
    encoding, form = serialization.Encoding, serialization.PublicFormat
    point = public.public_bytes(encoding.X962, form.UncompressedPoint)
    return [
        public.public_bytes(encoding.PEM, form.SubjectPublicKeyInfo),
        public.public_bytes(encoding.PEM, form.SubjectPublicKeyInfo).strip(),
        public.public_bytes(encoding.DER, form.SubjectPublicKeyInfo),
        public.public_bytes(encoding.OpenSSH, form.OpenSSH),
        public.public_bytes(encoding.X962, form.CompressedPoint),
        point,
        point[1:],
        json.dumps(jws.public_jwk(public)).encode(),
        json.dumps(JWKS).encode(),
        JWKS["keys"][0]["x"].encode(),
        KID.encode(),
        b"",
    ]


@pytest.mark.parametrize("secret", public_key_encodings())
@pytest.mark.parametrize("alg", ["HS256", "ES256"])
def test_public_key_is_no_shared_secret(door: Door, secret: bytes, alg: str) -> None:
    signed = f"{b64(as_json(HEADER | {'alg': alg}))}.{b64(as_json(CLAIMS))}"
    mac = hmac.digest(secret, signed.encode(), hashlib.sha256)

    with pytest.raises(REFUSALS):
        door(f"{signed}.{b64(mac)}")


@pytest.mark.parametrize(
    "kid",
    ["", "unknown", KID + "=", KID[:-1], KID.lower(), "../../dev/null", "' OR 1=1 --", "\x00" + KID,
     f"{ISSUER}/oauth/jwks", None, 0, [KID], {"kid": KID}],
)  # fmt: skip
def test_kid_that_names_no_pinned_key_is_refused(door: Door, kid: object) -> None:
    with pytest.raises(REFUSALS):
        door(forge(HEADER | {"kid": kid}))


def test_kid_of_one_key_with_the_signature_of_another_is_refused(door: Door) -> None:
    with pytest.raises(REFUSALS):
        door(forge(key=STRANGER))


@pytest.mark.parametrize(
    "extra",
    [
        {"jku": "https://attacker.example/jwks"},
        {"x5u": "https://attacker.example/cert"},
        {"jwk": jws.public_jwk(STRANGER.public_key())},
        {"x5c": ["MIIB"]},
        {"x5t": "AAAA"},
        {"crit": ["b64"], "b64": False},
        {"crit": []},
        {"b64": True},
        {"zip": "DEF"},
        {"cty": "JWT"},
        {"ALG": "none"},
        {"": ""},
    ],
    ids=lambda extra: "+".join(extra) or "empty",
)
@pytest.mark.parametrize("key", [KEY, STRANGER], ids=["known-key", "strange-key"])
def test_further_header_members_are_refused(
    door: Door, extra: dict[str, object], key: ec.EllipticCurvePrivateKey
) -> None:
    with pytest.raises(REFUSALS):
        door(forge(HEADER | extra, key=key))


@pytest.mark.parametrize("name", ["alg", "typ", "kid"])
def test_header_without_one_of_its_members_is_refused(door: Door, name: str) -> None:
    with pytest.raises(REFUSALS):
        door(forge({key: value for key, value in HEADER.items() if key != name}))


@pytest.mark.parametrize(
    "typ",
    [
        "JWT",
        "jwt",
        "dpop+jwt",
        "statuslist+jwt",
        "AT+JWT",
        "at+jwt ",
        "application/at+jwt",
        "",
        None,
        ["at+jwt"],
    ],
)
def test_other_kind_of_token_is_refused(door: Door, typ: object) -> None:
    with pytest.raises(REFUSALS):
        door(forge(HEADER | {"typ": typ}))


@pytest.mark.parametrize("header", [b"", b"null", b"[]", b'"ES256"', b"{", b"\xff\xfe", b"\xef\xbb\xbf{}"])
def test_header_that_is_no_object_is_refused(door: Door, header: bytes) -> None:
    with pytest.raises(REFUSALS):
        door(forge(header))


@pytest.mark.parametrize(
    "name", sorted(CLAIMS.keys() - {"acr", "auth_time", "basis_id", "basis_hash", "status"})
)
def test_missing_claim_is_refused(door: Door, name: str) -> None:
    with pytest.raises(REFUSALS):
        door(forge(claims={key: value for key, value in CLAIMS.items() if key != name}))


@pytest.mark.parametrize("name", sorted(CLAIMS))
@pytest.mark.parametrize(
    "text", ["null", "true", "Infinity", "-Infinity", "NaN", "1e999", "1.5", "[]", "{}", ""]
)
def test_claim_of_another_type_is_refused(door: Door, name: str, text: str) -> None:
    with pytest.raises(REFUSALS):
        door(forge(claims=with_claim(name, text)))


@pytest.mark.parametrize("name", ["exp", "nbf", "iat", "auth_time"])
@pytest.mark.parametrize("text", [f'"{SECONDS}"', "1" * 400, "1" * 5000, f"[{SECONDS}]", "0x10", "1_000"])
def test_time_that_is_no_number_of_seconds_is_refused(door: Door, name: str, text: str) -> None:
    with pytest.raises(REFUSALS):
        door(forge(claims=with_claim(name, text)))


@pytest.mark.parametrize(
    "change",
    [
        {"exp": SECONDS - 10},
        {"exp": 0},
        {"exp": -1},
        {"nbf": SECONDS + 11},
        {"iat": SECONDS + 11},
        {"iat": 2**62},
    ],
)
def test_token_outside_its_time_is_refused(door: Door, change: dict[str, int]) -> None:
    with pytest.raises(REFUSALS):
        door(forge(claims=CLAIMS | change))


@pytest.mark.parametrize(
    "change",
    [
        {"role": "admin"},
        {"scope": "*"},
        {"fields": ["*"]},
        {"purpose": "another"},
        {"act": {"sub": ISSUER, "act": {"sub": "other"}}},
        {"cnf": {"jkt": CLAIMS["cnf"]["jkt"], "jwk": {}}},
        {"status": {"status_list": {"idx": 7, "uri": STATUS_URI, "bits": 8}}},
        {"authorization_details": [DETAIL | {"privileges": ["admin"]}]},
        {"authorization_details": [DETAIL, DETAIL]},
    ],
)
def test_unknown_claim_is_refused(door: Door, change: dict[str, object]) -> None:
    with pytest.raises(REFUSALS):
        door(forge(claims=CLAIMS | change))


@pytest.mark.parametrize(
    "claims",
    [
        as_json(CLAIMS)[:-1] + b', "aud": "%s"}' % AUDIENCE.encode(),
        as_json(CLAIMS)[:-1] + b', "\\u0061ud": "%s"}' % AUDIENCE.encode(),
        as_json(CLAIMS).replace(b'"fields"', b'"fields": ["arc.number"], "fields"'),
        as_json(CLAIMS).replace(b'"fields"', b'"f\\u0069elds": ["name"], "fields"'),
        as_json(CLAIMS).replace(b'"jkt"', b'"jkt": "x", "jkt"'),
    ],
)
def test_member_named_twice_is_refused(door: Door, claims: bytes) -> None:
    with pytest.raises(REFUSALS):
        door(forge(claims=claims))


def test_header_member_named_twice_is_refused(door: Door) -> None:
    with pytest.raises(REFUSALS):
        door(forge(b'{"alg":"none",' + as_json(HEADER)[1:]))


@pytest.mark.parametrize("levels", [900, 2_500, 100_000])
@pytest.mark.parametrize("bracket", ["[", '{"a":'])
def test_deep_nesting_is_refused(door: Door, levels: int, bracket: str) -> None:
    nested = bracket * levels + "1" + ("]" if bracket == "[" else "}") * levels

    for token in (
        forge(nested.encode()),
        forge(claims=with_claim("sub", nested)),
        forge(claims=nested.encode()),
    ):
        with pytest.raises(REFUSALS):
            door(token)


@pytest.mark.parametrize("levels", [900, 2_500])
def test_deep_nesting_is_refused_where_unknown_claims_are_not(levels: int) -> None:
    class Tolerant(msgspec.Struct, frozen=True):
        sub: str

    token = forge(HEADER | {"typ": "JWT"}, b'{"sub":"a","b":' + b"[" * levels + b"}")

    with pytest.raises(TokenRefused):
        jws.verify(token, KEY_SET, None, Tolerant)


def respelled(token: str) -> list[str]:
    header, claims, signature = token.split(".")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    sibling = alphabet[alphabet.index(signature[-1]) ^ 1]
    return [
        f"{header}.{claims}.{signature}==",
        f"{header}=.{claims}.{signature}",
        f"{header}.{claims}.{signature[:-1]}{sibling}",
        f"{header}.{claims}.{signature}\n",
        f" {header}.{claims}.{signature}",
        f"{header}.{claims}. {signature}",
        f"{header}.{claims[:9]}\n{claims[9:]}.{signature}",
        f"{header}.{claims}.{signature}.",
        f"{header}.{claims}.{signature}.{signature}",
        f".{header}.{claims}.{signature}",
        f"{header}..{signature}",
        f"{header}.{claims}",
        f"{header}.{claims}.",
        f"{header}.{claims}.{signature[:-2]}",
        f"{header}.{claims}.{signature}AAAA",
        f"{header}.{claims}.{signature[:-1]}\N{CYRILLIC SMALL LETTER A}",
        f"{header}.{claims}.{signature}\x00",
        f"{header}.{claims}.\ud800",
        f"{header}.{claims}.{signature[:-1]}+",
        f"{header}.{claims}.{signature[:-1]}/",
        "",
        ".",
        "..",
        "...",
    ]


@pytest.mark.parametrize("index", range(len(respelled(forge()))))
def test_other_spelling_of_a_token_is_refused(door: Door, index: int) -> None:
    with pytest.raises(REFUSALS):
        door(respelled(forge())[index])


def test_other_form_of_the_signature_is_refused(door: Door) -> None:
    signed = f"{b64(as_json(HEADER))}.{b64(as_json(CLAIMS))}"
    der = KEY.sign(signed.encode(), ec.ECDSA(hashes.SHA256()))
    r, s = decode_dss_signature(der)
    forms = [
        der,
        raw(s, r),
        raw(0, 0),
        raw(r, 0),
        raw(0, s),
        raw(P256_ORDER, s),
        b"\x00" * 8 + raw(r, s),
        b"",
    ]

    for form in forms:
        with pytest.raises(REFUSALS):
            door(f"{signed}.{b64(form)}")


def test_signature_by_another_curve_is_refused(door: Door) -> None:
    signed = f"{b64(as_json(HEADER))}.{b64(as_json(CLAIMS))}"
    key = ec.generate_private_key(ec.SECP384R1())
    r, s = decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(hashes.SHA384())))

    with pytest.raises(REFUSALS):
        door(f"{signed}.{b64(r.to_bytes(48) + s.to_bytes(48))}")


def test_oversized_token_is_refused_though_well_signed(door: Door) -> None:
    longest = "x" * ((8 * 1024 - len(forge())) * 3 // 4)

    door(forge(claims=CLAIMS | {"txn": longest}))
    for token in (forge(claims=CLAIMS | {"txn": longest + "x" * 60}), "A" * 30_000_000):
        with pytest.raises(REFUSALS):
            door(token)


def kinds_of_token() -> dict[str, str]:
    """One well-signed token of each kind that bears this key's signature."""
    status_claims = {
        "sub": STATUS_URI,
        "iat": SECONDS,
        "exp": SECONDS + 300,
        "ttl": 60,
        "status_list": {"bits": 1, "lst": "eJxjYAAAAAIAAQ"},
    }
    return {
        "at+jwt": forge(),
        "statuslist+jwt": forge(HEADER | {"typ": "statuslist+jwt"}, status_claims),
        "JWT": forge(HEADER | {"typ": "JWT"}, {"iss": ISSUER, "aud": AUDIENCE, "exp": SECONDS + 60}),
        "dpop+jwt": dpop.make_proof(KEY, method="POST", url=URL, token=forge(), now=NOW),
    }


@pytest.mark.parametrize("shown", kinds_of_token())
@pytest.mark.parametrize("asked", ["at+jwt", "statuslist+jwt", "JWT", "dpop+jwt", None])
def test_no_kind_of_token_passes_as_another(shown: str, asked: str | None) -> None:
    """The struct takes any claims, so that the kind alone decides."""

    class Anything(msgspec.Struct, frozen=True):
        pass

    token = kinds_of_token()[shown]

    if shown == (asked or "JWT") and shown != "dpop+jwt":
        jws.verify(token, KEY_SET, asked, Anything)
    else:
        with pytest.raises(TokenRefused):
            jws.verify(token, KEY_SET, asked, Anything)


@pytest.mark.parametrize("shown", kinds_of_token())
def test_kit_takes_each_kind_of_token_in_its_own_place_only(shown: str) -> None:
    token = kinds_of_token()[shown]

    if shown != "at+jwt":
        with pytest.raises(VerificationError):
            kit_door(token)
    if shown != "statuslist+jwt":
        with pytest.raises(VerificationError):
            StatusList.from_token(token, JWKS, STATUS_URI, NOW.timestamp())
    with pytest.raises(VerificationError) as refused:
        kit_door(dpop=token)
    assert refused.value.step == 7
