"""A stand-in for the gateway, as far as agencies see it, and a way to call a sandbox by hand.

It publishes keys and a status list, hands out documents, takes callbacks and payment notices after checking
their signatures, and can be told to refuse the next few. It runs with the sandboxes on sockets of a thread.
"""

import asyncio
import base64
import datetime as dt
import socket
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import msgspec
import uvicorn
from litestar import Litestar, Request, Response, get, post
from litestar.params import FromPath

from adapters import registry, signatures
from adapters.contract import (
    CALLBACK_COMPONENTS,
    DOCUMENT_COMPONENTS,
    SIGNED_COMPONENTS,
    Operation,
    OperationKind,
    OutgoingCall,
    Reply,
)
from adapters.contract import Request as CallRequest
from adapters.epay.adapter import PaymentNotice
from adapters.errors import SignatureRefused
from adapters.keyring import pinned_keys
from adapters.manifest import Deployment, load_deployments
from adapters.registry import Registry, kinds
from adapters.sandbox_kit import SandboxConfig, create_app, server_config, write_deployment
from consent import jws
from consent.ids import uuid7
from consent.keys import FileKeyStore
from consent.model import Authority, BasisKind, Permit
from consent.token import TokenMinter
from tests.adapters.samples import CONTENTS, fields_of, samples

WAIT_SECONDS_MAX = 20.0
WAIT_STEP_SECONDS = 0.01
STATUS_BYTES = 1024
LIVE, WITHDRAWN = 1, 2


@dataclass
class StandIn:
    """The gateway's side, and what it has seen."""

    issuer: str
    key_store: FileKeyStore
    sandbox_url: str
    deployments: Mapping[str, Deployment] = field(default_factory=dict)
    withdrawn: set[int] = field(default_factory=lambda: {WITHDRAWN})
    documents: dict[UUID, bytes] = field(default_factory=lambda: dict(CONTENTS))
    callbacks: list[tuple[str, Reply]] = field(default_factory=list)
    payments: list[PaymentNotice] = field(default_factory=list)
    refused: int = 0
    refuse_next: int = 0
    keys: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.minter = TokenMinter(self.issuer, self.key_store, self.status_uri)

    @property
    def owners(self) -> dict[str, str]:
        """Agencies by the key that they sign with."""
        return {kid: name for name, keys in self.keys.items() for kid in keys}

    def status_uri(self, number: int) -> str:
        return f"{self.issuer}/oauth/status/{number}"

    def status_list(self, number: int) -> str:
        """A signed Token Status List in which the withdrawn indexes are set."""
        bits = bytearray(STATUS_BYTES)
        for index in self.withdrawn:
            bits[index // 8] |= 1 << index % 8
        now = int(dt.datetime.now(dt.UTC).timestamp())
        packed = base64.urlsafe_b64encode(zlib.compress(bytes(bits))).rstrip(b"=").decode()
        claims = {
            "sub": self.status_uri(number),
            "iat": now,
            "exp": now + 300,
            "ttl": 60,
            "status_list": {"bits": 1, "lst": packed},
        }
        return jws.sign(claims, self.key_store.signing_key("status-list"), "statuslist+jwt")

    def replies(self, call: UUID) -> list[Reply]:
        """The callbacks taken for a call."""
        return [reply for _, reply in self.callbacks if reply.call == call]

    def sender_of(self, request: Request[Any, Any, Any], body: bytes, components: tuple[str, ...]) -> str:
        """The agency that signed. Raises SignatureRefused."""
        name = self.owners.get(signatures.claimed_key(request.headers), "")
        signatures.verify(
            method=request.method,
            url=f"{self.issuer}{request.url.path}",
            headers=request.headers,
            body=body,
            keys=self.keys.get(name, {}),
            components=components,
            now=dt.datetime.now(dt.UTC),
        )
        return name

    def take(self, request: Request[Any, Any, Any], body: bytes) -> str | None:
        """The sender of a message that is to be taken; None for one that is refused."""
        if self.refuse_next > 0:
            self.refuse_next -= 1
            return None
        try:
            return self.sender_of(request, body, CALLBACK_COMPONENTS)
        except SignatureRefused:
            self.refused += 1
            return None

    def app(self) -> Litestar:
        """The routes that agencies use."""

        @get("/oauth/jwks")
        async def jwks() -> dict[str, Any]:
            return self.minter.jwks()

        @get("/oauth/status/{number:int}")
        async def status(number: FromPath[int]) -> Response[bytes]:
            return Response(self.status_list(number).encode(), media_type="application/statuslist+jwt")

        @post("/agency/v1/callbacks")
        async def callbacks(request: Request[Any, Any, Any]) -> Response[bytes]:
            body = await request.body()
            sender = self.take(request, body)
            if sender is None:
                return Response(b"", status_code=401)
            self.callbacks.append((sender, msgspec.json.decode(body, type=Reply)))
            return Response(b"", status_code=200)

        @post("/agency/v1/payments")
        async def payments(request: Request[Any, Any, Any]) -> Response[bytes]:
            body = await request.body()
            if self.take(request, body) != "epay":
                return Response(b"", status_code=401)
            self.payments.append(msgspec.json.decode(body, type=PaymentNotice))
            return Response(b"", status_code=200)

        @get("/agency/v1/calls/{call:uuid}/documents/{document:uuid}")
        async def documents(
            request: Request[Any, Any, Any], call: FromPath[UUID], document: FromPath[UUID]
        ) -> Response[bytes]:
            self.sender_of(request, b"", DOCUMENT_COMPONENTS)
            if document not in self.documents:
                return Response(b"", status_code=404)
            return Response(self.documents[document], media_type="application/octet-stream")

        return Litestar([jwks, status, callbacks, payments, documents], openapi_config=None)

    def registry(self) -> Registry:
        """All agencies as production code reaches them."""
        return Registry(kinds(), self.deployments, self.minter, self.key_store)

    def prepare(self, agency: str, operation: Operation, **changes: Any) -> "Prepared":
        """A valid call of this operation with its sample; `changes` are members of the request."""
        call_id = uuid7()
        kind = agency.partition(":")[0]
        data = changes.pop("data", samples(self.issuer)[kind, operation.name])
        request = CallRequest(
            call=call_id,
            case="115000000019",
            purpose="gold_card",
            filed_at="2026-11-20T02:00:00Z",
            callback=f"{self.issuer}/agency/v1/callbacks",
            data=msgspec.Raw(msgspec.json.encode(data)),
        )
        request = msgspec.structs.replace(request, **changes)
        authority = authority_for(agency, operation, call_id)
        return Prepared(self, agency, operation, authority, msgspec.json.encode(request))


@dataclass(frozen=True)
class Prepared:
    """A call that is ready to be sent, well or badly."""

    gateway: StandIn
    agency: str
    operation: Operation
    authority: Permit | Authority
    body: bytes

    @property
    def call_id(self) -> UUID:
        return self.authority.call_id

    @property
    def endpoint(self) -> str:
        return self.gateway.deployments[self.agency].endpoint

    @property
    def url(self) -> str:
        return f"{self.endpoint}/operations/{self.operation.name}"

    def outgoing(self, body: bytes | None = None) -> OutgoingCall:
        """The call as the shared client sends it."""
        return OutgoingCall(
            call_id=self.call_id,
            operation=self.operation.name,
            authority=self.authority,
            body=self.body if body is None else body,
            now=dt.datetime.now(dt.UTC),
        )

    def headers(
        self,
        *,
        method: str = "POST",
        url: str = "",
        body: bytes | None = None,
        authority: Permit | Authority | None = None,
        audience: str = "",
        action: str = "submit",
        token_age_seconds: float = 0,
        minter: TokenMinter | None = None,
        signed_by: FileKeyStore | None = None,
        idempotency_key: str = "",
    ) -> dict[str, str]:
        """The headers of a valid request, but for what a test changes before anything is signed."""
        now = dt.datetime.now(dt.UTC)
        url, minter = url or self.url, minter or self.gateway.minter
        token = minter.agency_token(
            authority or self.authority,
            audience=audience or self.endpoint,
            actions=(action,),
            now=now - dt.timedelta(seconds=token_age_seconds),
        )
        headers = {
            "Authorization": f"DPoP {token}",
            "DPoP": minter.proof(method=method, url=url, token=token, now=now),
            "Idempotency-Key": idempotency_key or str(self.call_id),
        }
        key = (signed_by or self.gateway.key_store).signing_key("http-signature")
        return headers | signatures.sign(
            method=method,
            url=url,
            headers=headers,
            body=self.body if body is None else body,
            key=key,
            components=SIGNED_COMPONENTS,
            now=now,
        )

    async def post(self, headers: Mapping[str, str], body: bytes | None = None) -> httpx.Response:
        """Send by hand."""
        return await request("POST", self.url, headers=headers, content=self.body if body is None else body)

    async def effects(self) -> int:
        """How often the call took effect."""
        counts = (await request("GET", f"{self.gateway.sandbox_url}/sandbox/effects")).json()["effects"]
        found: int = counts.get(self.agency, {}).get(self.operation.name, {}).get(str(self.call_id), 0)
        return found


def authority_for(agency: str, operation: Operation, call_id: UUID, **changes: Any) -> Permit | Authority:
    """What allows this call: everything the operation may carry, for a quarter of an hour."""
    if operation.kind is OperationKind.CONTROL:
        return Authority(
            call_id=call_id,
            case_reference="115000000019",
            agency=agency,
            resource=operation.resource,
            ground=operation.ground,
        )
    permit = Permit(
        call_id=call_id,
        basis_id=uuid7(),
        basis_kind=BasisKind.STATUTORY_DUTY,
        basis_revision=1,
        basis_sha256="0" * 64,
        subject="subject-1",
        case_id=uuid7(),
        agency=agency,
        resource=operation.resource,
        purpose="gold_card.review",
        fields=fields_of(operation),
        one_time=False,
        expires_at=dt.datetime.now(dt.UTC) + dt.timedelta(minutes=15),
        acr="",
        amr=(),
        auth_time=None,
        status_list=0,
        status_index=LIVE,
    )
    return msgspec.structs.replace(permit, **changes)


async def request(method: str, url: str, **options: Any) -> httpx.Response:
    """One request by hand."""
    # No TLS on loopback; reading the machine's trust store each time would be most of the work.
    async with httpx.AsyncClient(timeout=WAIT_SECONDS_MAX, trust_env=False, verify=False) as client:
        return await client.request(method, url, **options)


async def eventually(holds: Callable[[], bool]) -> None:
    """Wait until it holds; a bound, not a measure."""
    for _ in range(int(WAIT_SECONDS_MAX / WAIT_STEP_SECONDS)):
        if holds():
            return
        await asyncio.sleep(WAIT_STEP_SECONDS)
    raise AssertionError("what was waited for did not happen")


def every_operation(*, instances: bool) -> list[tuple[str, str]]:
    """(agency, operation) for every agency found: each instance, or the first one of each kind."""
    return [
        (agency, operation)
        for kind, manifest in kinds().items()
        for agency in (manifest.agencies if instances else list(manifest.agencies)[:1])
        for operation in registry.operations_of(kind)
    ]


@contextmanager
def running(folder: Path, **settings: Any) -> Iterator[StandIn]:
    """The stand-in and all sandboxes, each on its own socket, until the end of the block."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    issuer, sandbox_url = (f"http://127.0.0.1:{it.getsockname()[1]}" for it in sockets)
    gateway = StandIn(issuer, FileKeyStore(folder / "gateway"), sandbox_url)
    config = SandboxConfig(
        base_url=sandbox_url,
        gateway_issuer=issuer,
        folder=folder / "sandbox",
        answer_after_seconds=0.01,
        status_list_seconds=0,
        **settings,
    )
    gateway.deployments = load_deployments(write_deployment(config))
    servers = [
        uvicorn.Server(server_config(app, "127.0.0.1", 0)) for app in (gateway.app(), create_app(config))
    ]

    async def serve() -> None:
        await asyncio.gather(*(server.serve([it]) for server, it in zip(servers, sockets, strict=True)))

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    try:
        for name, deployment in gateway.deployments.items():
            content = _jwks_of(deployment)
            gateway.keys[name] = pinned_keys(content, frozenset(deployment.thumbprints))
        yield gateway
    finally:
        for server in servers:
            server.should_exit = True
        thread.join(WAIT_SECONDS_MAX)
        assert not thread.is_alive()


def _jwks_of(deployment: Deployment) -> bytes:
    """The sockets listen already, so that this waits for the server to start."""
    response = httpx.get(deployment.jwks_url, timeout=WAIT_SECONDS_MAX, trust_env=False)
    assert response.status_code == 200
    return response.content
