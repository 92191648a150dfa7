"""Whether this process lives, and whether it should be sent requests.

*Live* says that the process answers; whoever watches may end one that does not. *Ready* says that it can do
its work now: the database answers, its schema is the one needed, what the log holds is anchored in the second
store, and the process is not about to stop. Neither tells more than that to whoever asks.
"""

import asyncio
import datetime as dt
from typing import Literal

import msgspec
import structlog
from litestar import Response, Router, get
from litestar.datastructures import State
from litestar.di import NamedDependency
from sqlalchemy import select

from consent.database import machine_time
from consent.store import log_head, log_published
from gateway import migrations
from gateway.db import SqlDatabase
from gateway.problems import RETRY_AFTER_SECONDS

CHECK_SECONDS_MAX = 2.0
# A head is normally anchored within milliseconds; this long without means that no call can leave.
ANCHORED_WITHIN = dt.timedelta(seconds=30)

log = structlog.get_logger(__name__)


class Live(msgspec.Struct, frozen=True, kw_only=True):
    """The process answers."""

    status: Literal["live"] = "live"


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """Each check, and whether all hold."""

    status: Literal["ready", "not-ready"]
    accepting: bool
    database: bool
    migrations: bool
    log: bool


@get("/live", summary="Whether the process answers")
async def live() -> Live:
    """Answers as long as the process runs."""
    return Live()


@get("/ready", summary="Whether requests should be sent here")
async def ready(state: State, database: NamedDependency[SqlDatabase]) -> Response[Ready]:
    """Checks what a request would need, within two seconds; 503 when any of it is missing."""
    accepting = not state.draining
    reachable, migrated, anchored = False, False, False
    try:
        async with asyncio.timeout(CHECK_SECONDS_MAX), database.read() as conn:
            reachable = True
            migrated = await migrations.current(conn) == migrations.head()
            size = (await conn.execute(select(log_published.c.size))).scalar_one_or_none() or 0
            waiting = select(log_head.c.time).where(log_head.c.size > size).order_by(log_head.c.size).limit(1)
            since = (await conn.execute(waiting)).scalar_one_or_none()
            anchored = since is None or await machine_time(conn) - since < ANCHORED_WITHIN
    except Exception as error:  # whatever it is, the answer is "not ready" and never an error
        log.warning("not ready", error=type(error).__name__)
    holds = accepting and reachable and migrated and anchored
    return Response(
        Ready(
            status="ready" if holds else "not-ready",
            accepting=accepting,
            database=reachable,
            migrations=migrated,
            log=anchored,
        ),
        status_code=200 if holds else 503,
        headers={} if holds else {"Retry-After": str(RETRY_AFTER_SECONDS)},
    )


router = Router(path="/health", route_handlers=[live, ready], tags=["health"])
