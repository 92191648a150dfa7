"""The migrations lead to exactly the tables that the code declares, on both databases, and back."""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect
from sqlalchemy.exc import DBAPIError

from gateway import migrations
from gateway.db import SqlDatabase

VERSIONS = Path(migrations.__file__).parent / "versions"


def differences(connection: Connection) -> Any:
    """What Alembic would change to get from the database to the declared tables."""
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    return compare_metadata(context, list(migrations.METADATA))  # type: ignore[arg-type] # it takes several


def tables(connection: Connection) -> set[str]:
    return set(inspect(connection).get_table_names())


@pytest.fixture
async def empty(database_url: str) -> Any:
    database = SqlDatabase(database_url)
    yield database
    await database.aclose()


async def test_migrated_schema_is_the_declared_one(empty: SqlDatabase) -> None:
    await migrations.upgrade(empty)

    async with empty.read() as conn:
        assert await conn.run_sync(differences) == []
        assert await migrations.current(conn) == migrations.head()


async def test_migrations_go_up_down_and_up_again(empty: SqlDatabase) -> None:
    await migrations.upgrade(empty)
    await migrations.downgrade(empty)
    async with empty.read() as conn:
        left = await conn.run_sync(tables)
        assert await migrations.current(conn) is None
    await migrations.upgrade(empty)

    assert left <= {"alembic_version"}
    async with empty.read() as conn:
        assert await conn.run_sync(differences) == []


async def test_second_run_changes_nothing(empty: SqlDatabase) -> None:
    await migrations.upgrade(empty)
    await migrations.upgrade(empty)

    async with empty.read() as conn:
        assert await migrations.current(conn) == migrations.head()


async def test_failed_migration_leaves_nothing_behind(empty: SqlDatabase) -> None:
    async with empty.write() as conn:
        await conn.exec_driver_sql("CREATE TABLE log_entry (x integer)")

    with pytest.raises(DBAPIError, match="already exists"):
        await migrations.upgrade(empty)

    async with empty.read() as conn:
        assert await conn.run_sync(tables) <= {"log_entry", "alembic_version"}
        assert await migrations.current(conn) is None


async def test_two_runs_at_once_wait_for_each_other(database_url: str) -> None:
    databases = [SqlDatabase(database_url) for _ in range(2)]

    await asyncio.gather(*(migrations.upgrade(database) for database in databases))

    for database in databases:
        async with database.read() as conn:
            assert await conn.run_sync(differences) == []
        await database.aclose()


def test_revisions_are_named_for_their_files_and_fit_the_version_column() -> None:
    revisions = sorted(path.stem for path in VERSIONS.glob("*.py"))

    assert migrations.head() == revisions[-1]
    for name in revisions:
        assert len(name) <= 32
        assert f'revision = "{name}"' in (VERSIONS / f"{name}.py").read_text()


@pytest.mark.parametrize("name", [[], ["spine"], ["0002_" + "x" * 28], ["../0002_x"]])
def test_generator_refuses_a_name_that_is_none(name: list[str]) -> None:
    run = subprocess.run([sys.executable, "-m", "gateway.migrations", *name], capture_output=True, timeout=60)

    assert run.returncode == 1
    assert b"usage" in run.stderr
