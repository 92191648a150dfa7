"""Signed messages: what holds, and the forgeries that must not."""

import base64
import datetime as dt
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from http_message_signatures import HTTPMessageSigner, MappingKeyResolver
from http_message_signatures.algorithms import ECDSA_P256_SHA256

from adapters.contract import CALLBACK_COMPONENTS, DOCUMENT_COMPONENTS, SIGNED_COMPONENTS
from adapters.errors import SignatureRefused
from adapters.signatures import content_digest, sign, thumbprint, verify

NOW = dt.datetime(2026, 3, 2, 8, 0, tzinfo=dt.UTC)
URL = "http://127.0.0.1:8100/nia/operations/residence"
BODY = b'{"call":"x"}'
KEY = ec.generate_private_key(ec.SECP256R1())
KNOWN = {thumbprint(KEY.public_key()): KEY.public_key()}
OURS = {"Authorization": "DPoP token", "DPoP": "proof", "Idempotency-Key": "0198"}


class Repeated(dict[str, str]):
    """Headers of which one stands twice in the message, as a multi-mapping shows them."""

    def __init__(self, headers: Mapping[str, str], name: str, value: str) -> None:
        super().__init__(headers)
        self._again = (name, value)

    def items(self) -> Iterator[tuple[str, str]]:  # type: ignore[override] # a view with a repeated key
        yield from super().items()
        yield self._again


def signed(
    *,
    body: bytes = BODY,
    url: str = URL,
    components: tuple[str, ...] = SIGNED_COMPONENTS,
    key: ec.EllipticCurvePrivateKey = KEY,
    now: dt.datetime = NOW,
) -> dict[str, str]:
    """Our headers with a signature."""
    return OURS | sign(
        method="POST", url=url, headers=OURS, body=body, key=key, components=components, now=now
    )


def accept(
    headers: Mapping[str, str],
    *,
    method: str = "POST",
    url: str = URL,
    body: bytes = BODY,
    components: tuple[str, ...] = SIGNED_COMPONENTS,
    now: dt.datetime = NOW,
) -> str:
    """Verify as the receiver would."""
    return verify(
        method=method, url=url, headers=headers, body=body, keys=KNOWN, components=components, now=now
    )


class MessageToSign:
    """A message for the library's own signer, to make signatures that ours would not make."""

    def __init__(self, headers: dict[str, str]) -> None:
        self.method, self.url, self.headers = "POST", URL, headers


def foreign(**options: Any) -> dict[str, str]:
    """A signature by the right key, made with other parameters than the profile's."""
    message = MessageToSign({name.lower(): value for name, value in OURS.items()})
    message.headers["content-digest"] = content_digest(BODY)
    key_id = thumbprint(KEY.public_key())
    profile: dict[str, Any] = {
        "key_id": key_id,
        "created": NOW,
        "expires": NOW + dt.timedelta(seconds=60),
        "tag": "onestop",
        "covered_component_ids": SIGNED_COMPONENTS,
        "use_existing_digest": True,
    }
    HTTPMessageSigner(
        signature_algorithm=ECDSA_P256_SHA256,
        key_resolver=MappingKeyResolver(public_keys={}, private_keys={key_id: KEY}),
    ).sign(
        message,
        **profile | options,
    )
    return message.headers


class TestGoodSignatures:
    def test_a_signed_request_is_accepted_and_names_its_key(self) -> None:
        assert accept(signed()) == thumbprint(KEY.public_key())

    def test_a_request_without_a_body_needs_no_digest(self) -> None:
        headers = sign(
            method="GET", url=URL, headers={}, body=b"", key=KEY, components=DOCUMENT_COMPONENTS, now=NOW
        )

        assert set(headers) == {"Signature-Input", "Signature"}
        assert accept(headers, method="GET", body=b"", components=DOCUMENT_COMPONENTS) in KNOWN

    def test_an_empty_body_may_be_signed_over_its_digest(self) -> None:
        assert accept(signed(body=b""), body=b"") in KNOWN

    def test_header_names_are_found_in_any_case(self) -> None:
        assert accept({name.upper(): value for name, value in signed().items()}) in KNOWN

    @pytest.mark.parametrize("seconds", [-10, 0, 60, 70])
    def test_the_present_may_differ_by_the_clock_skew(self, seconds: int) -> None:
        assert accept(signed(), now=NOW + dt.timedelta(seconds=seconds)) in KNOWN

    def test_more_than_the_required_components_may_be_covered(self) -> None:
        assert accept(signed(), components=CALLBACK_COMPONENTS) in KNOWN

    def test_a_signature_that_another_signer_made_in_our_profile_is_accepted(self) -> None:
        assert accept(foreign()) in KNOWN

    def test_digest_of_the_standards_example(self) -> None:
        """RFC 9530, appendix B.1: the representation of 18 bytes with its newline."""
        assert content_digest(b'{"hello": "world"}\n') == (
            "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:"
        )

    def test_thumbprint_of_a_key_made_elsewhere_is_stable(self) -> None:
        """The key of RFC 7515, appendix A.3; only members that RFC 7638 names enter the thumbprint."""
        x = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"
        y = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"
        point = [int.from_bytes(base64.urlsafe_b64decode(value + "=")) for value in (x, y)]
        numbers = ec.EllipticCurvePublicNumbers(point[0], point[1], ec.SECP256R1())

        assert thumbprint(numbers.public_key()) == "oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U"


class TestForgeries:
    def test_no_signature(self) -> None:
        with pytest.raises(SignatureRefused):
            accept(OURS | {"Content-Digest": content_digest(BODY)})

    def test_another_body(self) -> None:
        with pytest.raises(SignatureRefused):
            accept(signed(), body=b'{"call":"y"}')

    def test_another_body_with_its_own_digest(self) -> None:
        with pytest.raises(SignatureRefused):
            accept(signed() | {"Content-Digest": content_digest(b"{}")}, body=b"{}")

    def test_digest_left_out_of_the_signature(self) -> None:
        partial = tuple(name for name in SIGNED_COMPONENTS if name != "content-digest")

        with pytest.raises(SignatureRefused):
            accept(foreign(covered_component_ids=partial))

    def test_digest_covered_by_a_parameter_only(self) -> None:
        """`"content-digest";key="sha-256"` covers one member; the field could still grow another."""
        partial = (*SIGNED_COMPONENTS[:2], '"content-digest";key="sha-256"', *SIGNED_COMPONENTS[3:])

        with pytest.raises(SignatureRefused):
            accept(foreign(covered_component_ids=partial))

    @pytest.mark.parametrize("name", SIGNED_COMPONENTS)
    def test_each_component_must_be_covered(self, name: str) -> None:
        partial = tuple(component for component in SIGNED_COMPONENTS if component != name)

        with pytest.raises(SignatureRefused):
            accept(foreign(covered_component_ids=partial))

    @pytest.mark.parametrize("name", ["Authorization", "DPoP", "Idempotency-Key"])
    def test_each_covered_header_is_fixed(self, name: str) -> None:
        with pytest.raises(SignatureRefused):
            accept(signed() | {name: "another"})

    @pytest.mark.parametrize("name", [*OURS, "Content-Digest", "Signature", "Signature-Input"])
    def test_a_header_that_stands_twice(self, name: str) -> None:
        headers = signed()

        with pytest.raises(SignatureRefused):
            accept(Repeated(headers, name, headers[name]))
        with pytest.raises(SignatureRefused):
            accept(headers | {name: f"{headers[name]}, {headers[name]}"})

    def test_another_method(self) -> None:
        with pytest.raises(SignatureRefused):
            accept(signed(), method="PUT")

    @pytest.mark.parametrize(
        "url",
        [
            URL + "/",
            URL + "?x=1",
            URL.replace("http", "https"),
            URL.replace("8100", "8101"),
            URL.replace("127.0.0.1", "agency.example"),
            URL.replace("residence", "final_review"),
            "not a url",
        ],
    )
    def test_another_url(self, url: str) -> None:
        with pytest.raises(SignatureRefused):
            accept(signed(), url=url)

    @pytest.mark.parametrize("seconds", [-11, 71, 3600, -3600])
    def test_expired_or_from_the_future(self, seconds: int) -> None:
        with pytest.raises(SignatureRefused):
            accept(signed(), now=NOW + dt.timedelta(seconds=seconds))

    @pytest.mark.parametrize(
        "options",
        [
            {"expires": None},
            {"expires": NOW + dt.timedelta(days=1)},
            {"expires": NOW - dt.timedelta(seconds=1)},
            {"include_alg": False},
            {"tag": None},
            {"tag": "another-protocol"},
        ],
    )
    def test_parameters_outside_the_profile(self, options: dict[str, object]) -> None:
        with pytest.raises(SignatureRefused):
            accept(foreign(**options))

    def test_a_key_that_is_not_known(self) -> None:
        with pytest.raises(SignatureRefused):
            accept(signed(key=ec.generate_private_key(ec.SECP256R1())))

    def test_the_name_of_a_known_key_over_another_keys_signature(self) -> None:
        stranger = signed(key=ec.generate_private_key(ec.SECP256R1()))
        ours = thumbprint(KEY.public_key())
        head, _, tail = stranger["Signature-Input"].partition('keyid="')

        with pytest.raises(SignatureRefused):
            accept(stranger | {"Signature-Input": f'{head}keyid="{ours}{tail[len(ours) :]}'})

    @pytest.mark.parametrize("algorithm", ["hmac-sha256", "ed25519", "none", ""])
    def test_another_algorithm_named(self, algorithm: str) -> None:
        headers = signed()
        changed = headers["Signature-Input"].replace("ecdsa-p256-sha256", algorithm)

        with pytest.raises(SignatureRefused):
            accept(headers | {"Signature-Input": changed})

    @pytest.mark.parametrize(
        "change",
        [
            {"Signature": "sig=:AAAA:"},
            {"Signature": "sig=1"},
            {"Signature": "other=:AAAA:"},
            {"Signature": "\x00"},
            {"Signature-Input": "sig=1"},
            {"Signature-Input": "sig=()"},
            {"Signature-Input": 'sig=("@signature-params");created=1;expires=2'},
            {"Signature-Input": "(" * 5000},
            {"Signature-Input": "sig=" + "a" * 9000},
            {"Content-Digest": "sha-256=:AAAA:"},
            {"Content-Digest": "md5=:AAAA:"},
            {"Content-Digest": "名"},
        ],
    )
    def test_malformed_fields(self, change: dict[str, str]) -> None:
        with pytest.raises(SignatureRefused):
            accept(signed() | change)

    @pytest.mark.parametrize("value", ["soon", "1.5", "999999999999999", "-1"])
    def test_times_that_are_no_times(self, value: str) -> None:
        headers = signed()
        changed = headers["Signature-Input"].replace(str(int(NOW.timestamp())), value)

        with pytest.raises(SignatureRefused):
            accept(headers | {"Signature-Input": changed})


class TestSigningRefuses:
    def test_a_body_that_would_stay_uncovered(self) -> None:
        with pytest.raises(ValueError, match="content-digest"):
            signed(components=DOCUMENT_COMPONENTS)

    def test_a_component_that_the_message_lacks(self) -> None:
        with pytest.raises(ValueError, match="cannot be signed"):
            sign(
                method="POST", url=URL, headers={}, body=BODY, key=KEY, components=SIGNED_COMPONENTS, now=NOW
            )
