"""A bare HTTP server that answers byte by byte as a test says, and calls for it that stand in for real ones."""

import asyncio
import base64
import datetime as dt
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from adapters.client import AgencyClient
from adapters.contract import OutgoingCall
from adapters.limits import Breaker
from adapters.manifest import Deployment, Limits
from adapters.registry import operations_of
from consent.ids import uuid7
from consent.keys import FileKeyStore
from consent.model import Authority, BasisKind, Permit
from consent.token import TokenMinter

NOW = dt.datetime(2026, 3, 2, 8, 0, tzinfo=dt.UTC)
CASE = UUID("01980000-0000-7000-8000-000000000001")
LIMITS = Limits(timeout_seconds=5, concurrency_max=4, answer_bytes_max=64 * 1024, requests_per_second=1000)


@dataclass
class Received:
    """One request as it came over the socket; header names in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


Respond = Callable[[Received, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Server:
    """A bare HTTP/1.1 server whose answers the test writes byte by byte."""

    respond: Respond
    requests: list[Received] = field(default_factory=list)
    port: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection: read whole requests, answer each as told."""
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode("latin-1").split("\r\n")
                method, target, _ = lines[0].split(" ")
                fields = (line.split(": ", 1) for line in lines[1:] if line)
                headers = {name.lower(): value for name, value in fields}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                received = Received(method, target, headers, body)
                self.requests.append(received)
                await self.respond(received, writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    @property
    def endpoint(self) -> str:
        """Its address as an agency's."""
        return f"http://127.0.0.1:{self.port}/nia"


def answer(
    status: int, body: object = None, *, media_type: str = "application/json", **headers: str
) -> Respond:
    """Answer with this status; a body that is not bytes becomes JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    fields = {"Content-Type": media_type, "Content-Length": str(len(content))} | fields

    async def respond(_: Received, writer: asyncio.StreamWriter) -> None:
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        writer.write(f"HTTP/1.1 {status} Status\r\n{head}\r\n".encode() + content)

    return respond


async def echo(received: Received, writer: asyncio.StreamWriter) -> None:
    """Answer the call at once, as a good agency does."""
    call = received.headers["idempotency-key"]
    await answer(200, {"call": call, "status": "answered", "data": {"arc": None}})(received, writer)


async def reset(_: Received, writer: asyncio.StreamWriter) -> None:
    """Read the request, then drop the connection."""
    writer.transport.abort()


async def silence(_: Received, __: asyncio.StreamWriter) -> None:
    """Read the request and say nothing."""
    await asyncio.sleep(60)


Connect = Callable[..., Awaitable[tuple[AgencyClient, Server]]]


@asynccontextmanager
async def serving(respond: Respond) -> AsyncIterator[Server]:
    """The server on a port of its own."""
    server = Server(respond)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()


def client_for(
    endpoint: str, key_store: FileKeyStore, *, limits: Limits = LIMITS, breaker: Breaker | None = None
) -> AgencyClient:
    """A client of NIA at this endpoint."""
    return AgencyClient(
        "nia",
        operations=operations_of("nia"),
        limits=limits,
        deployment=Deployment(endpoint=endpoint, jwks_url=f"{endpoint}/jwks.json", thumbprints=("A" * 43,)),
        minter=TokenMinter("https://gateway.example", key_store, lambda n: f"https://gateway.example/{n}"),
        key_store=key_store,
        breaker=breaker,
    )


def permit(call_id: UUID, **changes: Any) -> Permit:
    """A permit for the residence record."""
    values: dict[str, Any] = {
        "call_id": call_id,
        "basis_id": uuid7(),
        "basis_kind": BasisKind.CONSENT,
        "basis_revision": 1,
        "basis_sha256": "0" * 64,
        "subject": "subject-1",
        "case_id": CASE,
        "agency": "nia",
        "resource": "nia.residence",
        "purpose": "gold_card",
        "fields": frozenset({"passport.number"}),
        "one_time": True,
        "expires_at": NOW + dt.timedelta(hours=1),
        "acr": "substantial",
        "amr": ("pop",),
        "auth_time": NOW,
        "status_list": 1,
        "status_index": 7,
    }
    return Permit(**values | changes)


def residence(**changes: Any) -> OutgoingCall:
    """A call for the residence record."""
    call_id = uuid7()
    values: dict[str, Any] = {
        "call_id": call_id,
        "operation": "residence",
        "authority": permit(call_id),
        "body": b'{"call":"..."}',
        "now": NOW,
    }
    return OutgoingCall(**values | changes)


def notice(**changes: Any) -> OutgoingCall:
    """A control call: the supplement notice."""
    call_id = uuid7()
    authority = Authority(
        call_id=call_id,
        case_reference="115000000019",
        agency="nia",
        resource="gold_card.supplement_notice",
        ground="外國特定專業人才申請就業金卡許可辦法 §4",
    )
    values: dict[str, Any] = {
        "call_id": call_id,
        "operation": "supplement_notice",
        "authority": authority,
        "body": b"{}",
        "now": NOW,
    }
    return OutgoingCall(**values | changes)


def claims_of(token: str) -> dict[str, Any]:
    """Claims of a JWT, unverified: who verifies tokens is tested elsewhere."""
    payload = token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return claims


@contextmanager
def unused_port() -> Iterator[int]:
    """A port that is ours and refuses connections: bound, but not listened on."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]
