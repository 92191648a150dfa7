"""What agency systems call: answers that come later, payment notices, documents of their calls.

Every request is signed (RFC 9421) with a key that is pinned for the agency named in the path; nothing else is
believed. Callbacks are idempotent: they may come twice, late, or before our own 202 was stored.
"""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import msgspec
from litestar import Request, Response, Router, get, post

from adapters import signatures
from adapters.contract import (
    CALLBACK_COMPONENTS,
    DOCUMENT_COMPONENTS,
    OperationKind,
    Reply,
    ReplyStatus,
)
from adapters.contract import Request as AgencyRequest
from adapters.epay.adapter import PaymentNotice
from adapters.errors import SignatureRefused
from adapters.registry import Registry
from consent import bases, policy
from consent.database import machine_time
from consent.errors import NotPermitted
from gateway.db import SqlDatabase
from gateway.settings import Settings
from services import calls, documents, payments, store
from services.errors import CaseNotFound, NotAllowed
from services.flow import Flow
from services.outbox import ENDED, CallStatus
from services.worker import take_answer

AGENCY_HEADER = "X-Agency"


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
    """The agency that signed the request. Raises SignatureRefused."""
    name = request.headers.get(AGENCY_HEADER, "")
    if name not in registry.names:
        raise SignatureRefused("no such agency")
    async with database.read() as conn:
        now = await machine_time(conn)
    headers: Mapping[str, str] = _single_headers(request)
    query = f"?{request.url.query}" if request.url.query else ""
    signatures.verify(
        method=request.method,
        url=f"{settings.public_url}{request.url.path}{query}",
        headers=headers,
        body=await request.body(),
        keys=await registry.keys_of(name),
        components=components,
        now=now,
    )
    return name


def _single_headers(request: Request[Any, Any, Any]) -> dict[str, str]:
    """Headers by name. A header that comes twice could be read in two ways, so that it is refused."""
    headers: dict[str, str] = {}
    for name, value in request.headers.multi_items():
        if name in headers:
            raise SignatureRefused("a header came twice")
        headers[name] = value
    return headers


@post("/callbacks", status_code=200)
async def take_callback(
    request: Request[Any, Any, Any],
    data: Reply,
    database: SqlDatabase,
    flow: Flow,
    registry: Registry,
    settings: Settings,
) -> Taken:
    """An agency's later answer to one of our calls."""
    agency = await signer(request, settings, registry, database, CALLBACK_COMPONENTS)
    if data.status is not ReplyStatus.ANSWERED:
        return Taken(new=False)
    async with database.write() as conn:
        call = await calls.load(conn, data.call, lock=True)
        if call is None or call.agency != agency:
            raise CaseNotFound("no such call")
        if call.status in ENDED:
            calls.check_same_answer(call, bytes(data.data))
            return Taken(new=False)
        await take_answer(conn, flow, call, data, await store.now(conn))
    return Taken(new=True)


@post("/payments", status_code=200)
async def take_payment(
    request: Request[Any, Any, Any],
    data: PaymentNotice,
    database: SqlDatabase,
    flow: Flow,
    registry: Registry,
    settings: Settings,
) -> Taken:
    """A payment that arrived."""
    agency = await signer(request, settings, registry, database, CALLBACK_COMPONENTS)
    async with database.write() as conn:
        return Taken(new=await payments.take_notice(conn, flow, agency, data))


@get("/calls/{call_id:uuid}/documents/{document_id:uuid}")
async def read_document(
    request: Request[Any, Any, Any],
    call_id: UUID,
    document_id: UUID,
    database: SqlDatabase,
    flow: Flow,
    registry: Registry,
    settings: Settings,
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
