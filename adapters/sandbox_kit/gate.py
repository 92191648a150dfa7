"""Who may come in: what an agency checks of a request before it reads the content.

1. size (the framework's bound)  2. the gateway's signature over the whole message (RFC 9421)
3. token and proof, by the verifier kit  4. `Idempotency-Key` is the token's `txn`

Whatever fails is answered with a short code and nothing else; nothing has happened then.
"""

import base64
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import msgspec
import structlog

from adapters.contract import SIGNED_COMPONENTS, Operation
from adapters.errors import SignatureRefused
from adapters.sandbox_kit.gateway import KEYS_AGAIN_SECONDS, KEYS_SECONDS, GatewayKeys, GatewayLink
from adapters.sandbox_kit.problems import Problem
from adapters.signatures import verify
from consent.verifier import StatusList, VerificationError, Verified, Verifier

log = structlog.get_logger(__name__)

FIRST_USES_MAX = 100_000

# Which answers the numbered steps of the verifier kit get; every other step is an opaque 401.
STEP_STATUS, STEP_DETAILS, STEP_FIRST_USE = 8, 9, 10
REFUSALS = {
    STEP_STATUS: (403, "basis-withdrawn"),
    STEP_DETAILS: (403, "basis-does-not-cover"),
    STEP_FIRST_USE: (422, "idempotency-conflict"),
}


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A request as it arrived; `url` is the one we know ourselves by, not one from a Host header."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes


class Gate:
    """The checks at one agency's door."""

    def __init__(self, endpoint: str, link: GatewayLink) -> None:
        self._endpoint = endpoint
        self._link = link
        self._verifier: Verifier | None = None
        self._document: Mapping[str, Any] = {}
        self._first_uses: OrderedDict[str, tuple[str, float]] = OrderedDict()

    async def admit(self, message: Message, operation: Operation, action: str) -> Verified:
        """What the token allows. Raises Problem with 401, 403, 422, or 503 when keys cannot be had."""
        keys = await self._check_signature(message)
        headers = message.headers
        status_list = await self._status_list(headers["authorization"])
        try:
            verified = self._verifier_for(keys).verify(
                authorization=headers["authorization"],
                dpop=headers["dpop"],
                method=message.method,
                url=message.url,
                operation_datatype=operation.resource,
                action=action,
                content_digest=headers["content-digest"],
                status_list=status_list,
                now=self._link.clock.now().timestamp(),
            )
        except VerificationError as error:
            log.info("sandbox.token_refused", step=error.step, reason=error.reason)
            raise Problem(*REFUSALS.get(error.step, (401, "token-refused"))) from error
        if headers["idempotency-key"] != verified.txn:
            raise Problem(403, "call-differs", "Idempotency-Key is not the token's call.")
        return verified

    async def _check_signature(self, message: Message) -> GatewayKeys:
        """Step 2. A key that we do not know may be new: look again, not too often."""
        for seconds_max in (KEYS_SECONDS, KEYS_AGAIN_SECONDS):
            keys = await self._link.keys(seconds_max)
            try:
                verify(
                    method=message.method,
                    url=message.url,
                    headers=message.headers,
                    body=message.body,
                    keys=keys.public,
                    components=SIGNED_COMPONENTS,
                    now=self._link.clock.now(),
                )
            except SignatureRefused:
                continue
            return keys
        raise Problem(401, "signature-refused")

    async def _status_list(self, authorization: str) -> StatusList | None:
        """The list that the token names. It is read before the token is verified, only to know what to fetch;
        the verifier then insists on the right one."""
        uri = _status_uri(authorization)
        return await self._link.status_list(uri) if uri else None

    def _verifier_for(self, keys: GatewayKeys) -> Verifier:
        if self._verifier is None or keys.document != self._document:
            self._document = keys.document
            self._verifier = Verifier(
                issuer=self._link.origin,
                audience=self._endpoint,
                jwks=keys.document,
                first_use=self._is_first_use,
            )
        return self._verifier

    def _is_first_use(self, txn: str, digest: str, expires_at: float) -> bool:
        """Whether a one-time call is new, or the same again."""
        known, _ = self._first_uses.setdefault(txn, (digest, expires_at))
        while len(self._first_uses) > FIRST_USES_MAX:
            self._first_uses.popitem(last=False)
        return known == digest


class _StatusList(msgspec.Struct, frozen=True):
    uri: str


class _Status(msgspec.Struct, frozen=True):
    status_list: _StatusList


class _Claims(msgspec.Struct, frozen=True):
    status: _Status | None = None


def _status_uri(authorization: str) -> str:
    """The address of the status list in an unverified token; empty where there is none."""
    segments = authorization.split(".")
    if len(segments) != 3:
        return ""
    try:
        claims = msgspec.json.decode(base64.urlsafe_b64decode(segments[1] + "=="), type=_Claims)
    except (ValueError, msgspec.DecodeError, RecursionError):
        return ""
    return claims.status.status_list.uri if claims.status else ""
