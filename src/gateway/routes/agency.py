"""What agency systems call: answers that come later, payment notices, documents of their calls.

Every request is signed (RFC 9421), and the key says which agency it is: each key is pinned for one. Nothing
else about the sender is believed. Callbacks are idempotent: they may come twice, late, or before our own 202
was stored.
"""

from typing import Any
from uuid import UUID

import msgspec
from litestar import Request, Response, Router, get, post
from litestar.params import FromPath, JSONBody

from adapters import signatures
from adapters.contract import (
    CALLBACK_COMPONENTS,
    DOCUMENT_COMPONENTS,
    ReplyStatus,
)
from adapters.epay.adapter import PaymentNotice
from adapters.registry import Registry
from consent.database import machine_time
from gateway.db import SqlDatabase
from gateway.injected import TheDatabase, TheFlow, TheRegistry, TheSettings
from gateway.settings import Settings
from services import calls, payments, store
from services.errors import CaseNotFound
from services.outbox import ENDED
from services.worker import take_answer


class Callback(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An agency's answer (`adapters.contract.Reply`): `data` has the shape of the operation's answer."""

    call: UUID
    status: ReplyStatus
    data: dict[str, Any] = msgspec.field(default_factory=dict)
    poll_after_seconds: int = 0


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the message was new; a known one changes nothing and is no error."""

    new: bool


async def signer(
    request: Request[Any, Any, Any],
    settings: Settings,
    registry: Registry,
    database: SqlDatabase,
    components: tuple[str, ...],
) -> str:
    """The agency whose pinned key signed the request. Raises SignatureRefused."""
    name = registry.agency_of_key(signatures.claimed_key(request.headers))
    async with database.read() as conn:
        now = await machine_time(conn)
    query = f"?{request.url.query}" if request.url.query else ""
    signatures.verify(
        method=request.method,
        url=f"{settings.public_url}{request.url.path}{query}",
        headers=request.headers,
        body=await request.body(),
        keys=await registry.keys_of(name),
        components=components,
        now=now,
    )
    return name


@post("/callbacks", status_code=200)
async def take_callback(
    request: Request[Any, Any, Any],
    data: JSONBody[Callback],
    database: TheDatabase,
    flow: TheFlow,
    registry: TheRegistry,
    settings: TheSettings,
) -> Taken:
    """An agency's later answer to one of our calls."""
    agency = await signer(request, settings, registry, database, CALLBACK_COMPONENTS)
    if data.status is not ReplyStatus.ANSWERED:
        return Taken(new=False)
    answer = msgspec.json.encode(data.data)
    async with database.write() as conn:
        call = await calls.load(conn, data.call, lock=True)
        if call is None or call.agency != agency:
            raise CaseNotFound("no such call")
        if call.status in ENDED:
            calls.check_same_answer(call, answer)
            return Taken(new=False)
        await take_answer(conn, flow, call, answer, await store.now(conn))
    return Taken(new=True)


@post("/payments", status_code=200)
async def take_payment(
    request: Request[Any, Any, Any],
    data: JSONBody[PaymentNotice],
    database: TheDatabase,
    flow: TheFlow,
    registry: TheRegistry,
    settings: TheSettings,
) -> Taken:
    """A payment that arrived."""
    agency = await signer(request, settings, registry, database, CALLBACK_COMPONENTS)
    async with database.write() as conn:
        return Taken(new=await payments.take_notice(conn, flow, agency, data))


@get("/calls/{call_id:uuid}/documents/{document_id:uuid}")
async def read_document(
    request: Request[Any, Any, Any],
    call_id: FromPath[UUID],
    document_id: FromPath[UUID],
    database: TheDatabase,
    flow: TheFlow,
    registry: TheRegistry,
    settings: TheSettings,
) -> Response[bytes]:
    """The content of a document that one of the agency's open calls names, while its basis is live."""
    agency = await signer(request, settings, registry, database, DOCUMENT_COMPONENTS)
    async with database.write() as conn:
        call = await calls.load(conn, call_id)
        if call is None or call.agency != agency or call.status in ENDED:
            raise CaseNotFound("no such call")
        content = await flow.release_document(conn, call, document_id, await store.now(conn))
    return Response(content, media_type="application/octet-stream", headers={"Cache-Control": "no-store"})


router = Router(
    path="/agency/v1", route_handlers=[take_callback, take_payment, read_document], tags=["agency"]
)
