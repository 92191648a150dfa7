"""An office on each database: cases, calls, a log that publishes, agencies that answer as a test says."""

from collections.abc import AsyncIterator

import pytest

from consent.keys import FileKeyStore, Vault
from consent.second_store import SqlSecondStore
from consent.sequencer import Sequencer
from gateway.db import SqlDatabase
from services import store
from tests.conftest import create_tables
from tests.services.fakes import Office


@pytest.fixture
async def database(database: SqlDatabase) -> SqlDatabase:
    """The database of all tests, with this package's tables too."""
    await create_tables(database, store.metadata)
    return database


@pytest.fixture
async def office(
    database: SqlDatabase, vault: Vault, key_store: FileKeyStore, second_store_url: str
) -> AsyncIterator[Office]:
    """See `Office`."""
    second = SqlDatabase(second_store_url)
    second_store = SqlSecondStore(second)
    await second_store.create()
    yield Office(database, vault, Sequencer(database, second_store, key_store, "onestop.example/log"))
    await second.aclose()
