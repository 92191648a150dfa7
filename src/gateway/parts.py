"""What a process of the product is made of, opened in order and closed in reverse.

Gateway and worker processes have the same parts; they hold no state that another process would need. Opening
refuses to start in doubt: when the schema is not the one this release was written for, when legal time was
moved although it must not be, when the log in the database is behind or beside the checkpoint that the second
store remembers.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import NamedTuple

import structlog
from sqlalchemy import select

from adapters.errors import Misconfigured
from adapters.manifest import load_deployments
from adapters.registry import Registry, kinds
from consent import checkpoint
from consent.errors import LogFault
from consent.keys import FileKeyStore, KeyStore, Vault
from consent.second_store import SqlSecondStore
from consent.sequencer import Sequencer
from consent.store import data_key, log_head
from consent.token import DPOP_KEY, PUBLISHED_KEYS, TokenMinter
from gateway import migrations
from gateway.db import SqlDatabase
from gateway.identity.oidc import CLIENT_KEY, RelyingParty
from gateway.settings import Settings, StartRefused
from services import store as services_store
from services.flow import Flow
from services.gold_card.service import GoldCard
from services.sealing import DOCUMENT_KEY, Sealer
from services.worker import Worker

SIGNING_PURPOSES = (*PUBLISHED_KEYS, DPOP_KEY, CLIENT_KEY, DOCUMENT_KEY)
STOP_SECONDS_MAX = 25.0  # more than the worker's own bounds for finishing what is in flight

log = structlog.get_logger(__name__)


class Parts(NamedTuple):
    """The open parts of one process."""

    settings: Settings
    database: SqlDatabase
    second_store: SqlSecondStore
    key_store: KeyStore
    vault: Vault
    minter: TokenMinter
    registry: Registry
    relying_party: RelyingParty
    sequencer: Sequencer
    flow: Flow


@contextlib.asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Parts]:
    """Open the parts, check that this process may start, close them at the end. Raises StartRefused."""
    async with contextlib.AsyncExitStack() as stack:
        database = SqlDatabase(settings.database_url, listen_url=settings.listen_url)
        stack.push_async_callback(database.aclose)
        second = SqlDatabase(settings.second_store_url)
        stack.push_async_callback(second.aclose)
        key_store = FileKeyStore(settings.key_folder)
        minter = TokenMinter(settings.public_url, key_store, lambda n: status_uri(settings, n))
        try:
            registry = Registry(kinds(), load_deployments(settings.agencies_file), minter, key_store)
        except Misconfigured as error:
            raise StartRefused(f"{error}.") from error
        stack.push_async_callback(registry.aclose)
        relying_party = RelyingParty(
            issuer=settings.oidc_issuer,
            client_id=settings.oidc_client_id,
            public_url=settings.public_url,
            key_store=key_store,
        )
        stack.push_async_callback(relying_party.aclose)
        second_store = SqlSecondStore(second)
        sequencer = Sequencer(database, second_store, key_store, settings.log_origin)
        await check_schema(database)
        await check_keys(settings, database, key_store)
        await check_legal_clock(settings, database)
        await check_log(sequencer)
        yield Parts(
            settings=settings,
            database=database,
            second_store=second_store,
            key_store=key_store,
            vault=Vault(key_store),
            minter=minter,
            registry=registry,
            relying_party=relying_party,
            sequencer=sequencer,
            flow=Flow(
                Vault(key_store),
                {GoldCard.service_id: GoldCard(settings.public_url)},
                {name: registry.agency(name).operations for name in registry.names},
                f"{settings.public_url}/agency/v1/callbacks",
                Sealer(key_store, settings.public_url),
            ),
        )


def status_uri(settings: Settings, list_number: int) -> str:
    """Where a status list is published."""
    return f"{settings.public_url}/oauth/status/{list_number}"


async def check_schema(database: SqlDatabase) -> None:
    """Raise StartRefused when the database is not at the revision that this release needs."""
    async with database.read() as conn:
        found = await migrations.current(conn)
    needed = migrations.head()
    if found != needed:
        raise StartRefused(
            f"The database is at revision {found or 'none'}, this release needs {needed}: "
            "run 'onestop migrate'."
        )


async def check_keys(settings: Settings, database: SqlDatabase, key_store: KeyStore) -> None:
    """Raise StartRefused when the keys are not those of the database; make missing ones of a new one.

    New keys beside old records would look like a start and open nothing.
    """
    async with database.read() as conn:
        has_records = (await conn.execute(select(data_key.c.key_id).limit(1))).one_or_none() is not None
        newest = select(log_head.c.note).order_by(log_head.c.size.desc()).limit(1)
        note = (await conn.execute(newest)).scalar_one_or_none()
    if has_records and key_store.is_new:
        raise StartRefused(
            f"The folder {settings.key_folder} holds no master key, but the database has records sealed "
            "under one: bring the keys back from their backup."
        )
    key_store.prepare(SIGNING_PURPOSES)
    try:
        if note is not None:
            checkpoint.open_note(note, settings.log_origin, checkpoint.public_keys(key_store))
    except LogFault as error:
        raise StartRefused(
            f"The log was signed with other keys than those in {settings.key_folder}."
        ) from error


async def check_legal_clock(settings: Settings, database: SqlDatabase) -> None:
    """Raise StartRefused when legal time was moved in a database whose clock is fixed."""
    async with database.read() as conn:
        offset_seconds = await services_store.legal_offset_seconds(conn)
    if offset_seconds and settings.legal_clock == "fixed":
        raise StartRefused(
            f"Legal time of this database is {offset_seconds} s ahead, expected 0: it was a sandbox's, "
            "or ONESTOP_LEGAL_CLOCK must be 'movable'."
        )


async def check_log(sequencer: Sequencer) -> None:
    """Raise StartRefused when the log does not continue what the second store remembers."""
    try:
        await sequencer.check_start()
    except LogFault as error:
        raise StartRefused(f"The log cannot be continued: {error}.") from error


async def work(parts: Parts, stop: asyncio.Event) -> None:
    """Run what works in the background until told to stop, or until one of it ends with a fault.

    That fault is logged and raised: a log that contradicts itself needs a human, and meanwhile no call leaves.
    """
    worker = Worker(parts.database, parts.flow, parts.registry)
    tasks = [asyncio.create_task(parts.sequencer.run(stop)), asyncio.create_task(worker.run(stop))]
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait([stopped, *tasks], return_when=asyncio.FIRST_COMPLETED)
    stop.set()
    await stopped
    done, late = await asyncio.wait(tasks, timeout=STOP_SECONDS_MAX)
    for task in late:
        task.cancel()
    for task in done:
        if fault := task.exception():
            log.critical("background work ended", exc_info=fault)
            raise fault
