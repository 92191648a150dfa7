"""The tables of this package: data keys, lawful bases, notices, and the log.

Queries stand in the module whose subject they serve (`keys`, `bases`, `log`, `audit`); the shape stands here.
Ciphertext columns are `LargeBinary` and named for what they seal. No foreign key leaves the package.
"""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from consent.database import Instant
from consent.model import BasisKind, BasisState

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "ck": "%(table_name)s_%(constraint_name)s_check",
    }
)


def one_of(column: str, words: type) -> CheckConstraint:
    """A constraint that holds the column to the members of an enumeration."""
    members = ", ".join(f"'{word}'" for word in words)  # type: ignore[attr-defined] # enum classes iterate
    return CheckConstraint(f"{column} IN ({members})", name=column)


def insert_or_ignore(conn: AsyncConnection, table: Table) -> postgresql.Insert | sqlite.Insert:
    """An INSERT that leaves an existing row (by any unique key) as it is."""
    return insert_into(conn, table).on_conflict_do_nothing()


def insert_into(conn: AsyncConnection, table: Table) -> postgresql.Insert | sqlite.Insert:
    """An INSERT that can say what to do with an existing row; both databases know ON CONFLICT."""
    if conn.dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)


data_key = Table(
    "data_key",
    metadata,
    Column("key_id", Uuid, primary_key=True),
    Column("shard", SmallInteger, nullable=False),
    Column("owner", String(7), nullable=False),
    Column("owner_id", String(36), nullable=False),
    Column("retention", String(32), nullable=False),
    Column("master_version", Integer, nullable=False),
    Column("wrapped", LargeBinary),  # NULL: the key was destroyed
    UniqueConstraint("owner", "owner_id", "retention"),
)

# A notice is content-addressed: the exact text that was shown can be shown again.
notice = Table(
    "notice",
    metadata,
    Column("notice_sha256", String(64), primary_key=True),
    Column("notice_id", String(64), nullable=False),
    Column("language", String(8), nullable=False),
    Column("content", LargeBinary, nullable=False),
)

# One row a revision; the newest revision is the record, the older ones show how it came to be.
lawful_basis = Table(
    "lawful_basis",
    metadata,
    Column("basis_id", Uuid, primary_key=True),
    Column("revision", Integer, primary_key=True),
    Column("shard", SmallInteger, nullable=False),
    Column("subject", String(36), nullable=False),
    Column("case_id", Uuid),
    Column("kind", String(20), nullable=False),
    Column("state", String(12), nullable=False),
    Column("current", Integer, nullable=False),  # 1: the newest revision, 0: an older one
    Column("expires_at", Instant, nullable=False),
    Column("record_sha256", LargeBinary, nullable=False),
    Column("record", LargeBinary, nullable=False),  # sealed under the subject's key
    one_of("kind", BasisKind),
    one_of("state", BasisState),
    Index(None, "case_id", "current"),
    Index(None, "subject", "current", "basis_id"),
    Index(None, "state", "current", "expires_at"),
    Index(
        "lawful_basis_one_current_idx",
        "basis_id",
        unique=True,
        postgresql_where=text("current = 1"),
        sqlite_where=text("current = 1"),
    ),
)

# One row a use of one item of a basis: the call is the use, so that a repeated call is not a second one.
grant_use = Table(
    "grant_use",
    metadata,
    Column("basis_id", Uuid, primary_key=True),
    Column("call_id", Uuid, primary_key=True),
    Column("item", SmallInteger, nullable=False),
)

# A random place in a published status list for each basis, so that agencies see a withdrawal within a minute.
status_slot = Table(
    "status_slot",
    metadata,
    Column("list", SmallInteger, primary_key=True, autoincrement=False),
    Column("idx", Integer, primary_key=True, autoincrement=False),
    Column("basis_id", Uuid, nullable=False, unique=True),
    Column("revoked", Integer, nullable=False),  # 0 or 1
    Index(None, "list", "revoked"),
)

log_subject = Table(
    "log_subject",
    metadata,
    Column("subject", String(36), primary_key=True),
    Column("seq", BigInteger, nullable=False),
    Column("previous", LargeBinary, nullable=False),  # commit of the subject's last event; empty at first
)

log_event = Table(
    "log_event",
    metadata,
    Column("event_id", Uuid, primary_key=True),
    Column("shard", SmallInteger, nullable=False),
    Column("subject", String(36), nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("type", String(32), nullable=False),
    Column("time", Instant, nullable=False),
    Column("sealed", LargeBinary, nullable=False),  # salt (32 bytes) || payload, under the subject's key
    UniqueConstraint("subject", "seq"),
)

log_pending = Table(
    "log_pending",
    metadata,
    Column("event_id", Uuid, primary_key=True),
    Column("leaf", LargeBinary, nullable=False),
)

log_entry = Table(
    "log_entry",
    metadata,
    Column("idx", BigInteger, primary_key=True, autoincrement=False),
    Column("event_id", Uuid, nullable=False, unique=True),
    Column("leaf", LargeBinary, nullable=False),
)

log_tile = Table(
    "log_tile",
    metadata,
    Column("level", SmallInteger, primary_key=True, autoincrement=False),
    Column("n", BigInteger, primary_key=True, autoincrement=False),
    Column("hashes", LargeBinary, nullable=False),  # 1 to 256 hashes of 32 bytes
)

log_head = Table(
    "log_head",
    metadata,
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    Column("root", LargeBinary, nullable=False),
    Column("time", Instant, nullable=False),
    Column("note", LargeBinary, nullable=False),
)

# One row: the size up to which the second store is known to hold the log. A call may leave once its leaf
# stands below it.
log_published = Table(
    "log_published",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("size", BigInteger, nullable=False),
    CheckConstraint("id = 1", name="one_row"),
)

second_store_metadata = MetaData()

# Stands in another database (another file with SQLite): the newest checkpoint, advanced by compare-and-swap.
second_store_checkpoint = Table(
    "checkpoint",
    second_store_metadata,
    Column("origin", String(200), primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("root", LargeBinary, nullable=False),
    Column("note", LargeBinary, nullable=False),
)
