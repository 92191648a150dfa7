"""Doing a POST once: the idempotency key, the transaction and the answer, in one place.

`once` opens the transaction, takes the caller's key in it, runs the work, keeps its answer under the key, and
commits all of that together. A repeated request gets the kept answer, with `Idempotent-Replay: true`.
"""

import hashlib
import re
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import msgspec
from litestar import Request, Response
from litestar.enums import MediaType
from sqlalchemy.ext.asyncio import AsyncConnection

from consent.database import machine_time
from gateway.db import SqlDatabase
from services import idempotency
from services.errors import PreconditionMissing
from services.flow import Flow
from services.idempotency import KEY_LENGTH_MAX, Answer

HEADER = "Idempotency-Key"
_VERSION = re.compile(r'"v([0-9]{1,10})"')


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """What the work of a POST made: the answer's body and status, and the case it is about."""

    case_id: UUID
    body: msgspec.Struct
    status: int = 200
    etag: str = ""


Work = Callable[[AsyncConnection], Awaitable[Made]]


def idempotency_key(request: Request[Any, Any, Any]) -> str:
    """The request's key. Raises PreconditionMissing when there is none or it is not plain and short."""
    key = request.headers.get(HEADER, "")
    if not key or len(key) > KEY_LENGTH_MAX or not key.isascii() or not key.isprintable():
        raise PreconditionMissing(HEADER)
    return key


def if_match(request: Request[Any, Any, Any]) -> int:
    """The version that the caller's change was made from. Raises PreconditionMissing without a usable one."""
    found = _VERSION.fullmatch(request.headers.get("If-Match", ""))
    if found is None:
        raise PreconditionMissing("If-Match")
    return int(found[1])


def etag(version: int) -> str:
    """The entity tag of a version."""
    return f'"v{version}"'


async def once(
    request: Request[Any, Any, Any], database: SqlDatabase, flow: Flow, owner: str, work: Work
) -> Response[bytes]:
    """Run the work for this request once and answer it, now and whenever it is repeated."""
    key = idempotency_key(request)
    digest = hashlib.sha256(
        b"\0".join(
            [
                request.method.encode(),
                request.url.path.encode(),
                request.headers.get("If-Match", "").encode(),
                await request.body(),
            ]
        )
    ).digest()
    async with database.write() as conn:
        now = await machine_time(conn)
        kept = await idempotency.begin(conn, flow.vault, owner, key, digest, now)
        if kept is None:
            made = await work(conn)
            answer = Answer(
                case_id=made.case_id,
                status=made.status,
                body=msgspec.json.encode(made.body),
                etag=made.etag,
            )
            await idempotency.finish(conn, flow.vault, owner, key, answer)
    return _response(kept or answer, replayed=kept is not None)


def _response(answer: Answer, *, replayed: bool) -> Response[bytes]:
    headers = {"Cache-Control": "no-store"}
    if answer.etag:
        headers["ETag"] = answer.etag
    if replayed:
        headers["Idempotent-Replay"] = "true"
    return Response(answer.body, status_code=answer.status, headers=headers, media_type=MediaType.JSON)
