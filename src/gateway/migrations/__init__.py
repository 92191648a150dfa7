"""The database's schema through time: Alembic, run from the installed package, without a settings file.

Every revision is a module in `versions/`, named as the revision itself (`0001_spine`, at most 32 characters:
Alembic's version column is that wide). A run is one transaction: all revisions or none. On PostgreSQL one run
at a time holds an advisory lock, and waits four seconds at most for a table, so that a migration behind a
long query fails instead of stopping everybody else.

How a release changes the schema: the tables are declared in each package's `store.py`;
`python -m gateway.migrations 0002_what_it_does` writes the revision that leads from the newest revision to
what is declared. Read it, mend it, commit it with the code. `0001_spine` may be deleted and written anew until
the first release.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncConnection

from consent import store as consent_store
from gateway.db import SqlDatabase
from gateway.identity import store as identity_store
from services import store as services_store

# In the order in which their tables are made.
METADATA: Sequence[MetaData] = (
    consent_store.metadata,
    services_store.metadata,
    identity_store.metadata,
)

_RUN_LOCK = 0x6F6E6573746F7000
_LIMITS = (
    "SET LOCAL lock_timeout = '4s'",
    "SET LOCAL statement_timeout = '60s'",
    f"SELECT pg_advisory_xact_lock({_RUN_LOCK})",
)


def head() -> str:
    """The revision that this release needs."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    if revision is None:
        raise LookupError("this installation holds no migrations")
    return revision


async def current(conn: AsyncConnection) -> str | None:
    """The revision that the database is at; None for an empty database."""
    return await conn.run_sync(lambda sync: MigrationContext.configure(sync).get_current_revision())


async def upgrade(database: SqlDatabase, revision: str = "head") -> None:
    """Bring the database up to a revision."""
    await _run(database, lambda config: command.upgrade(config, revision))


async def downgrade(database: SqlDatabase, revision: str = "base") -> None:
    """Take the database back to a revision; `base` is empty."""
    await _run(database, lambda config: command.downgrade(config, revision))


async def write_revision(database: SqlDatabase, name: str, folder: Path) -> None:
    """Write the revision that leads from this database, which must be at the head, to the declared tables."""

    def write(config: Config) -> None:
        command.revision(config, message=name, rev_id=name, autogenerate=True, version_path=str(folder))

    await _run(database, write)


def make_folder(url: str) -> None:
    """Make the folder of a SQLite file."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite" and parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)


async def _run(database: SqlDatabase, act: Callable[[Config], None]) -> None:
    async with database.write() as conn:
        if not database.is_sqlite:
            for statement in _LIMITS:
                await conn.execute(text(statement))
        await conn.run_sync(lambda sync: act(_config(sync)))


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", "gateway:migrations")
    config.set_main_option("file_template", "%%(rev)s")
    attributes: dict[str, Any] = {"connection": connection}
    config.attributes.update(attributes)
    return config
