"""Documents of a case: uploaded as raw bodies, read back in ranges."""

import re
from typing import Any
from uuid import UUID

from litestar import Request, Response, Router, get, put
from litestar.di import Provide
from litestar.params import FromPath

from gateway.identity.sessions import guard_csrf, provide_session
from gateway.injected import TheDatabase, TheFlow, TheSession
from gateway.once import etag, if_match
from gateway.routes.citizen.cases import own_case
from gateway.views import CaseView, case_view
from services import documents, store, verbs
from services.errors import CaseNotFound
from services.events import Document

REQUEST_BYTES_MAX = (
    11 * 1024 * 1024
)  # the edition's own bound for a slot is lower and is checked while reading
_RANGE = re.compile(r"bytes=(\d{1,12})-(\d{0,12})")


@put("/{slot:str}", status_code=201, request_max_body_size=REQUEST_BYTES_MAX)
async def upload(
    request: Request[Any, Any, Any],
    case_id: FromPath[UUID],
    slot: FromPath[str],
    session: TheSession,
    database: TheDatabase,
    flow: TheFlow,
) -> Response[CaseView]:
    """Put a document into a slot. The body is the file itself; its type is read from its bytes."""
    version = if_match(request)
    async with database.read() as conn:
        case = await own_case(conn, flow, session, case_id)
    rule = flow.service_of(case).upload_rule(case, slot)
    if rule is None:
        raise CaseNotFound("no such document slot")
    content = await documents.receive(request.stream(), rule.bytes_max)
    async with database.write() as conn:
        case = await own_case(conn, flow, session, case_id, lock=True)
        at = await store.now(conn)
        case, _ = await verbs.upload(conn, flow, case, slot, content, version=version, at=at)
    return Response(case_view(flow, case, at), status_code=201, headers={"ETag": etag(case.version)})


@get("/{document_id:uuid}")
async def download(
    request: Request[Any, Any, Any],
    case_id: FromPath[UUID],
    document_id: FromPath[UUID],
    session: TheSession,
    database: TheDatabase,
    flow: TheFlow,
) -> Response[bytes]:
    """A document's content, whole or one byte range (206)."""
    async with database.read() as conn:
        case = await own_case(conn, flow, session, case_id)
        found = _find((*case.documents, *case.outcome), document_id)
        start, end = _range_of(request.headers.get("Range", ""), found.size)
        content = await documents.read(conn, flow.vault, case_id, document_id, start=start, end=end)
    partial = len(content) < found.size
    headers = {
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-store",
        "Content-Disposition": f'attachment; filename="{found.slot.replace(":", "-")}-{case.number}"',
        "X-Content-Type-Options": "nosniff",
    }
    if partial:
        headers["Content-Range"] = f"bytes {start}-{start + len(content) - 1}/{found.size}"
    return Response(
        content, status_code=206 if partial else 200, headers=headers, media_type=found.media_type
    )


def _find(known: tuple[Document, ...], document_id: UUID) -> Document:
    for document in known:
        if document.document_id == document_id:
            return document
    raise CaseNotFound("no such document")


def _range_of(header: str, size: int) -> tuple[int, int]:
    """Start and end (exclusive) of the one range asked for; the whole where none, or none usable, is."""
    match = _RANGE.fullmatch(header)
    if match is None:
        return 0, size
    start, end = int(match[1]), min(int(match[2]) + 1, size) if match[2] else size
    return (start, end) if start < end else (0, size)


router = Router(
    path="/api/v1/cases/{case_id:uuid}/documents",
    route_handlers=[upload, download],
    dependencies={"session": Provide(provide_session)},
    guards=[guard_csrf],
    tags=["documents"],
)
