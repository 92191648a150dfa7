"""The tables of identity: persons, their sessions, and the logins that were used.

What is personal is sealed under the subject's key of retention class `profile`; a person is found by a keyed
hash of issuer and subject, a session by the hash of its token. Destroying the subject's key ends both.
"""

from sqlalchemy import Column, Index, LargeBinary, MetaData, SmallInteger, Table, Uuid

from consent.database import Instant
from consent.store import metadata as consent_metadata

RETENTION = "profile"

metadata = MetaData(naming_convention=consent_metadata.naming_convention)

person = Table(
    "person",
    metadata,
    Column("person_id", Uuid, primary_key=True),
    Column("shard", SmallInteger, nullable=False),
    Column("identity_hash", LargeBinary, nullable=False, unique=True),  # HMAC of issuer and sub
    Column("profile", LargeBinary, nullable=False),  # sealed `persons.Profile`
    Column("first_login_at", Instant, nullable=False),
    Column("last_login_at", Instant, nullable=False),
)

session = Table(
    "session",
    metadata,
    Column("session_id", Uuid, primary_key=True),
    Column("shard", SmallInteger, nullable=False),  # the person's, so that both stand together
    Column("person_id", Uuid, nullable=False),
    Column("token_hash", LargeBinary, nullable=False, unique=True),  # SHA-256; the token is the browser's
    Column("content", LargeBinary, nullable=False),  # sealed `session_store.Content`
    Column("started_at", Instant, nullable=False),
    Column("seen_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Index(None, "person_id", "started_at"),
    Index(None, "expires_at"),
)

# A login that led to a session; its row outlives its cookie, so that it leads to one session only.
used_login = Table(
    "used_login",
    metadata,
    Column("state_hash", LargeBinary, primary_key=True),
    Column("expires_at", Instant, nullable=False),
    Index(None, "expires_at"),
)
