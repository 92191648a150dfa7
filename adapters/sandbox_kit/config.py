"""How the sandboxes are set up, and the deployment file by which the product finds them.

Every agency has an ES256 key of its own, made at the first start and kept in the folder; the product pins its
thumbprint through `agencies.toml`, and reads the key itself from `{endpoint}/jwks.json`.
"""

import base64
import datetime as dt
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from adapters import registry
from adapters.sandbox_kit.faults import Fault
from adapters.signatures import thumbprint
from consent.keys import FileKeyStore

TAIPEI = ZoneInfo("Asia/Taipei")
COORDINATE_BYTES = 32
DEPLOYMENT_FILE = "agencies.toml"

# Moves the product's legal clock by so many days and returns how many days it is ahead altogether.
MoveLegalClock = Callable[[int], Awaitable[int]]


class SandboxConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Set-up of one sandbox process.

    `base_url` is where it is reached, without a slash at its end; `gateway_issuer` is both the issuer of
    tokens and the address that documents are fetched from and answers are posted to. `gateway_jwks_url`
    defaults to the issuer's; where `gateway_thumbprints` are given, other keys are not believed.
    `answer_after_seconds` is how long a review takes, `poll_after_seconds` what a 202 advises.
    """

    base_url: str
    gateway_issuer: str
    folder: Path
    gateway_jwks_url: str = ""
    gateway_thumbprints: tuple[str, ...] = ()
    move_legal_clock: MoveLegalClock | None = None
    faults: tuple[Fault, ...] = ()
    answer_after_seconds: float = 0.3
    poll_after_seconds: int = 2
    status_list_seconds: float = 60


class Clock:
    """The agencies' day: machine time in Taiwan, plus the days by which a demonstration has moved on."""

    def __init__(self, move_legal_clock: MoveLegalClock | None) -> None:
        self._move = move_legal_clock
        self.days = 0

    def now(self) -> dt.datetime:
        """Machine time: tokens and signatures live by it."""
        return dt.datetime.now(dt.UTC)

    def today(self) -> dt.date:
        """The legal date."""
        return self.legal_now().astimezone(TAIPEI).date()

    def legal_now(self) -> dt.datetime:
        """The legal instant."""
        return self.now() + dt.timedelta(days=self.days)

    async def move(self, days: int) -> None:
        """Move on, and the product's legal clock with us."""
        self.days = self.days + days if self._move is None else await self._move(days)


def agency_names() -> Mapping[str, str]:
    """Every agency instance that a manifest names, with its path under the base URL."""
    return {
        name: name.replace(":", "/") for manifest in registry.kinds().values() for name in manifest.agencies
    }


def signing_key(config: SandboxConfig, agency: str) -> ec.EllipticCurvePrivateKey:
    """The key of one agency, made when it is first asked for."""
    return FileKeyStore(config.folder / "keys").signing_key(f"agency-{agency.replace(':', '-')}")


def public_set(key: ec.EllipticCurvePublicKey) -> dict[str, Any]:
    """A JSON Web Key Set (RFC 7517) with this one public key."""
    numbers = key.public_numbers()
    return {
        "keys": [
            {
                "kty": "EC",
                "crv": "P-256",
                "x": _base64url(numbers.x.to_bytes(COORDINATE_BYTES)),
                "y": _base64url(numbers.y.to_bytes(COORDINATE_BYTES)),
                "kid": thumbprint(key),
                "use": "sig",
                "alg": "ES256",
            }
        ]
    }


def write_deployment(config: SandboxConfig) -> Path:
    """Write `agencies.toml` for these sandboxes and return its path; keys are made where they are missing."""
    lines = ["# Made by the sandboxes at their start: where they live and which keys are theirs."]
    for name, path in agency_names().items():
        endpoint = f"{config.base_url}/{path}"
        pinned = thumbprint(signing_key(config, name).public_key())
        lines += [
            f'\n[agencies."{name}"]',
            f'endpoint = "{endpoint}"',
            f'jwks_url = "{endpoint}/jwks.json"',
            f'thumbprints = ["{pinned}"]',
        ]
    config.folder.mkdir(parents=True, exist_ok=True)
    target = config.folder / DEPLOYMENT_FILE
    draft = target.with_suffix(f".{os.getpid()}")
    draft.write_text("\n".join(lines) + "\n", encoding="utf-8")
    draft.replace(target)  # whoever reads meanwhile sees a whole file
    return target


def _base64url(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
