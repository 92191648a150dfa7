"""The registry and the keys of agencies, over real sockets where keys are fetched."""

import base64
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from adapters.contract import Agency
from adapters.errors import Misconfigured, Unavailable, Unsupported
from adapters.keyring import FRESH_SECONDS, RETRY_SECONDS, STALE_SECONDS_MAX, KeyRing, pinned_keys
from adapters.manifest import Deployment
from adapters.registry import Registry, kinds, operations_of
from adapters.signatures import thumbprint
from consent.keys import FileKeyStore
from consent.token import TokenMinter
from tests.adapters.loopback import answer, echo, residence, serving, silence

KEY = ec.generate_private_key(ec.SECP256R1()).public_key()
STRANGER = ec.generate_private_key(ec.SECP256R1()).public_key()
PIN = thumbprint(KEY)
OTHER_PIN = thumbprint(STRANGER)


def jwk(key: ec.EllipticCurvePublicKey, **changes: Any) -> dict[str, Any]:
    """A public key as the JWK that an agency publishes."""
    numbers = key.public_numbers()

    def text(number: int) -> str:
        return base64.urlsafe_b64encode(number.to_bytes(32)).rstrip(b"=").decode()

    members = {"kty": "EC", "crv": "P-256", "x": text(numbers.x), "y": text(numbers.y), "use": "sig"}
    return members | changes


def deployment(endpoint: str, *, pin: str = PIN) -> Deployment:
    """Where an instance lives."""
    return Deployment(endpoint=endpoint, jwks_url=f"{endpoint}/jwks.json", thumbprints=(pin,))


@asynccontextmanager
async def registry_of(deployments: dict[str, Deployment], key_store: FileKeyStore) -> AsyncIterator[Registry]:
    """A registry of these, closed at the end."""
    minter = TokenMinter("https://gateway.example", key_store, lambda n: f"https://gateway.example/{n}")
    async with aclosing(Registry(kinds(), deployments, minter, key_store)) as registry:
        yield registry


class TestRegistry:
    async def test_agencies_are_those_that_are_deployed(self, key_store: FileKeyStore) -> None:
        places = {
            "nia": deployment("https://a.example"),
            "field_authority:moc": deployment("https://b.example", pin=OTHER_PIN),
        }

        async with registry_of(places, key_store) as registry:
            agency: Agency = registry.agency("field_authority:moc")

            assert registry.names == {"nia", "field_authority:moc"}
            assert agency.name == "field_authority:moc"
            assert agency.operations == operations_of("field_authority")

    @pytest.mark.parametrize("name", ["wda", "field_authority", "nia:moc", "", "../nia"])
    async def test_an_agency_that_is_not_deployed(self, key_store: FileKeyStore, name: str) -> None:
        async with registry_of({"nia": deployment("https://a.example")}, key_store) as registry:
            with pytest.raises(Unsupported):
                registry.agency(name)
            with pytest.raises(Unsupported):
                await registry.keys_of(name)

    async def test_a_deployment_that_no_manifest_knows_stops_the_start(self, key_store: FileKeyStore) -> None:
        with pytest.raises(Misconfigured, match="field_authority:nobody"):
            async with registry_of({"field_authority:nobody": deployment("https://a.example")}, key_store):
                pass

    async def test_one_dead_agency_slows_no_other(self, key_store: FileKeyStore) -> None:
        async with serving(silence) as dead, serving(echo) as alive:
            places = {"wda": deployment(dead.endpoint, pin=OTHER_PIN), "nia": deployment(alive.endpoint)}
            async with registry_of(places, key_store) as registry:
                reply = await registry.agency("nia").send(residence())

        assert bytes(reply.data)
        assert dead.requests == []

    async def test_keys_are_fetched_once_and_only_pinned_ones_count(self, key_store: FileKeyStore) -> None:
        keys = {"keys": [jwk(STRANGER, kid=PIN), jwk(KEY)]}
        async with (
            serving(answer(200, keys)) as server,
            registry_of({"nia": deployment(server.endpoint)}, key_store) as registry,
        ):
            found = [await registry.keys_of("nia") for _ in range(3)]

        assert [list(ring) for ring in found] == [[PIN]] * 3
        assert found[0][PIN].public_numbers() == KEY.public_numbers()
        assert [request.target for request in server.requests] == ["/nia/jwks.json"]

    @pytest.mark.parametrize("status", [307, 404, 500])
    async def test_keys_that_cannot_be_had(self, key_store: FileKeyStore, status: int) -> None:
        async with (
            serving(answer(status, b"{}")) as server,
            registry_of({"nia": deployment(server.endpoint)}, key_store) as registry,
        ):
            with pytest.raises(Unavailable):
                await registry.keys_of("nia")


class Publisher:
    """An agency's address for keys, and the clock of who asks it."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.fetches = 0
        self.keys: list[dict[str, Any]] | None = [jwk(KEY)]

    async def fetch(self, _: str) -> bytes:
        self.fetches += 1
        if self.keys is None:
            raise Unavailable("gone")
        return msgspec.json.encode({"keys": self.keys})

    def ring(self) -> KeyRing:
        return KeyRing(self.fetch, deployment("https://a.example"), clock=lambda: self.seconds)


class TestKeyRing:
    async def test_keys_are_fetched_again_when_they_are_old(self) -> None:
        publisher = Publisher()
        ring = publisher.ring()
        await ring.keys()
        publisher.seconds += FRESH_SECONDS - 1
        await ring.keys()
        assert publisher.fetches == 1

        publisher.seconds += 1
        await ring.keys()

        assert publisher.fetches == 2

    async def test_old_keys_serve_while_the_agency_is_gone_but_not_for_ever(self) -> None:
        publisher = Publisher()
        ring = publisher.ring()
        await ring.keys()
        publisher.keys = None
        publisher.seconds += FRESH_SECONDS + STALE_SECONDS_MAX - 1

        assert list(await ring.keys()) == [PIN]
        publisher.seconds += 1
        with pytest.raises(Unavailable):
            await ring.keys()

    async def test_an_agency_that_is_gone_is_not_asked_at_every_call(self) -> None:
        publisher = Publisher()
        publisher.keys = None
        ring = publisher.ring()
        for _ in range(5):
            with pytest.raises(Unavailable):
                await ring.keys()
        assert publisher.fetches == 1

        publisher.keys = [jwk(KEY)]
        publisher.seconds += RETRY_SECONDS

        assert list(await ring.keys()) == [PIN]

    async def test_whoever_takes_over_the_address_adds_no_key(self) -> None:
        publisher = Publisher()
        publisher.keys = [jwk(STRANGER)]

        with pytest.raises(Unavailable):
            await publisher.ring().keys()


class TestJwks:
    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"[]",
            b'{"keys": 1}',
            b'{"keys": []}',
            b'{"keys": [{}]}',
            b'{"keys":' + b"[" * 1_000_000,
            msgspec.json.encode({"keys": [jwk(KEY)] * 65}),
            msgspec.json.encode({"keys": [jwk(STRANGER)]}),
            msgspec.json.encode({"keys": [jwk(KEY, x=7)]}),
        ],
    )
    def test_sets_without_a_usable_key(self, content: bytes) -> None:
        with pytest.raises(Unsupported):
            pinned_keys(content, frozenset({PIN}))

    @pytest.mark.parametrize(
        "change",
        [
            {"kty": "oct"},
            {"kty": "RSA"},
            {"crv": "P-384"},
            {"x": "AAAA"},
            {"x": jwk(STRANGER)["x"]},
            {"y": "!" * 43},
            {"y": ""},
        ],
    )
    def test_a_broken_key_is_passed_over_beside_a_good_one(self, change: dict[str, str]) -> None:
        content = msgspec.json.encode({"keys": [jwk(KEY, **change), jwk(KEY)]})

        assert list(pinned_keys(content, frozenset({PIN}))) == [PIN]
