"""How the database class tells that the database fails: one kind of error, with the driver's word for it."""

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, OperationalError

from consent.database import fault_name
from gateway.db import SqlDatabase
from tests.conftest import Cluster


@pytest.fixture
def postgresql_url(postgres: Cluster) -> str:
    return postgres.create_database()


async def _write(database: SqlDatabase, *statements: str) -> None:
    async with database.write() as conn:
        for statement in statements:
            await conn.execute(text(statement))


async def _lose(database: SqlDatabase, kind: str, url: str) -> None:
    async with database.read() if kind == "read" else database.write() as conn:
        await conn.execute(text("SELECT 1"))
        await _terminate_others(url)
        await conn.execute(text("SELECT 1"))


async def _terminate_others(url: str) -> None:
    other = SqlDatabase(url)
    async with other.write() as conn:
        mine = "pid <> pg_backend_pid() AND datname = current_database()"
        await conn.execute(text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {mine}"))
    await other.aclose()


@pytest.mark.parametrize("kind", ["read", "write"])
async def test_connection_lost_in_a_transaction_is_an_operational_error(
    postgresql_url: str, kind: str
) -> None:
    database = SqlDatabase(postgresql_url)

    with pytest.raises(OperationalError) as raised:
        await _lose(database, kind, postgresql_url)
    await _write(database, "SELECT 1")

    assert raised.value.connection_invalidated
    assert "SELECT" not in fault_name(raised.value)
    await database.aclose()


async def test_connection_lost_between_transactions_costs_one_of_them(postgresql_url: str) -> None:
    database = SqlDatabase(postgresql_url)
    await _write(database, "SELECT 1")
    await _terminate_others(postgresql_url)

    with pytest.raises(OperationalError):
        await _write(database, "SELECT 1")
    await _write(database, "SELECT 1")

    await database.aclose()


async def test_server_that_is_not_there_is_an_operational_error(tmp_path: Path) -> None:
    database = SqlDatabase(f"postgresql://onestop@/nowhere?host={tmp_path}")

    with pytest.raises(OperationalError) as raised:
        async with database.read():
            pass

    assert fault_name(raised.value) == "FileNotFoundError"
    await database.aclose()


async def test_cancelled_statement_is_an_operational_error_and_a_broken_rule_is_not(
    postgresql_url: str,
) -> None:
    database = SqlDatabase(postgresql_url)

    with pytest.raises(OperationalError) as cancelled:
        await _write(database, "SET LOCAL statement_timeout = 1", "SELECT pg_sleep(60)")
    with pytest.raises(IntegrityError) as broken:
        await _write(database, "CREATE TABLE t (a int PRIMARY KEY)", "INSERT INTO t VALUES (7), (7)")

    assert fault_name(cancelled.value) == "QueryCanceledError"
    assert fault_name(broken.value) == "UniqueViolationError"
    await database.aclose()


async def test_full_sqlite_is_told_by_its_own_name_and_takes_writes_again_later(tmp_path: Path) -> None:
    database = SqlDatabase(f"sqlite:///{tmp_path}/full.sqlite")
    insert = "INSERT INTO t VALUES (zeroblob(1000000))"
    async with database.write() as conn:
        await conn.execute(text("CREATE TABLE t (a blob)"))
        pages = (await conn.execute(text("PRAGMA page_count"))).scalar_one()

    with pytest.raises(OperationalError) as raised:
        await _write(database, f"PRAGMA max_page_count = {pages}", insert)
    await _write(database, "PRAGMA max_page_count = 1000000", insert)

    assert fault_name(raised.value) == "SQLITE_FULL"
    assert fault_name(sqlite3.OperationalError()) == "OperationalError"
    await database.aclose()
