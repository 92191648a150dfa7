"""Sessions, kept by the server: the browser holds a random token, the database its hash.

A session begins with a login and with nothing else, always under a new token; a login in a browser that has
a session ends that one. So a token that was planted before the login is worth nothing after it, and a gain
of privilege (another role, a stronger means) always comes with a new token, because it comes by a login.

A session ends by logout, after half an hour without a request, or after twelve hours in any case (NIST SP
800-63B, section 4.2.3, for its middle level). The last use is written once a minute at most, so that reading
pages does not write.

The CSRF token is an HMAC of the session's token: it is bound to the session, and known only to who can read
what the session may read.
"""

import base64
import datetime as dt
import hashlib
import hmac
import secrets
from uuid import UUID

import msgspec
from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from consent.errors import KeyMissing
from consent.ids import shard_of, uuid7
from consent.keys import Vault, open_sealed, seal
from gateway.identity.errors import NotAuthenticated
from gateway.identity.store import RETENTION, session

IDLE_MAX = dt.timedelta(minutes=30)
LIFETIME = dt.timedelta(hours=12)
SEEN_EVERY = dt.timedelta(minutes=1)
SESSIONS_OF_ONE_PERSON_MAX = 10
EXPIRED_DELETED_AT_ONCE_MAX = 100
TOKEN_BYTES = 32
TOKEN_CHARACTERS = 43  # 32 bytes in unpadded base64url
CSRF_LABEL = b"onestop/csrf/v1"


class Content(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a session says of its person: sealed where it is stored.

    `means` is the identity means, `acr` and `amr` the provider's words for how strong it was (OpenID Connect
    Core, section 2), `auth_time` when the person showed it.
    """

    display_name: str
    roles: frozenset[str]
    means: str
    acr: str
    amr: tuple[str, ...]
    auth_time: dt.datetime


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A live session. `expires_at` is its end in any case, `idle_expires_at` if it is not used again."""

    session_id: UUID
    person_id: UUID
    subject: str
    display_name: str
    roles: frozenset[str]
    means: str
    acr: str
    amr: tuple[str, ...]
    auth_time: dt.datetime
    expires_at: dt.datetime
    idle_expires_at: dt.datetime
    csrf_token: str


async def start(
    conn: AsyncConnection, vault: Vault, *, person_id: UUID, content: Content, now: dt.datetime
) -> str:
    """The token of a new session. The person's oldest sessions end where there are too many.

    Called in the transaction that updated the person's row, so that two logins of one person take turns.
    """
    token = secrets.token_urlsafe(TOKEN_BYTES)
    session_id = uuid7()
    key = await vault.subject_key(conn, str(person_id), RETENTION)
    row = {
        "session_id": session_id,
        "shard": shard_of(person_id),
        "person_id": person_id,
        "token_hash": _hash_of(token),
        "content": seal(key, msgspec.json.encode(content), _place(session_id)),
        "started_at": now,
        "seen_at": now,
        "expires_at": now + LIFETIME,
    }
    await conn.execute(insert(session), row)
    newest = (
        select(session.c.session_id)
        .where(session.c.person_id == person_id)
        .order_by(session.c.started_at.desc(), session.c.session_id.desc())
        .limit(SESSIONS_OF_ONE_PERSON_MAX)
    )
    await conn.execute(
        delete(session).where(session.c.person_id == person_id, session.c.session_id.not_in(newest))
    )
    expired = (
        select(session.c.session_id).where(session.c.expires_at <= now).limit(EXPIRED_DELETED_AT_ONCE_MAX)
    )
    await conn.execute(delete(session).where(session.c.session_id.in_(expired)))
    return token


async def load(conn: AsyncConnection, vault: Vault, token: str, now: dt.datetime) -> tuple[Session, bool]:
    """The live session of a token, and whether its use is due to be recorded by `seen`.

    Raises NotAuthenticated when there is none, when it has ended, or when its person was erased.
    """
    if len(token) != TOKEN_CHARACTERS:
        raise NotAuthenticated("there is no such session")
    row = (await conn.execute(select(session).where(session.c.token_hash == _hash_of(token)))).one_or_none()
    if row is None:
        raise NotAuthenticated("there is no such session")
    idle_expires_at = row.seen_at + IDLE_MAX
    if now >= row.expires_at or now >= idle_expires_at:
        raise NotAuthenticated("the session has ended")
    try:
        key = await vault.subject_key(conn, str(row.person_id), RETENTION)
        content = msgspec.json.decode(open_sealed(key, row.content, _place(row.session_id)), type=Content)
    except KeyMissing as error:
        raise NotAuthenticated("the session's person was erased") from error
    loaded = Session(
        session_id=row.session_id,
        person_id=row.person_id,
        subject=str(row.person_id),
        display_name=content.display_name,
        roles=content.roles,
        means=content.means,
        acr=content.acr,
        amr=content.amr,
        auth_time=content.auth_time,
        expires_at=row.expires_at,
        idle_expires_at=min(idle_expires_at, row.expires_at),
        csrf_token=csrf_token_of(token),
    )
    return loaded, now >= row.seen_at + SEEN_EVERY


async def seen(conn: AsyncConnection, session_id: UUID, now: dt.datetime) -> None:
    """Record that the session was used."""
    await conn.execute(update(session).where(session.c.session_id == session_id).values(seen_at=now))


async def end(conn: AsyncConnection, session_id: UUID) -> None:
    """End a session."""
    await conn.execute(delete(session).where(session.c.session_id == session_id))


async def end_of_token(conn: AsyncConnection, token: str) -> None:
    """End the session of a token, if there is one."""
    await conn.execute(delete(session).where(session.c.token_hash == _hash_of(token)))


def csrf_token_of(token: str) -> str:
    """The CSRF token that goes with a session's token."""
    mac = hmac.digest(token.encode(), CSRF_LABEL, hashlib.sha256)
    return base64.urlsafe_b64encode(mac).rstrip(b"=").decode("ascii")


def _hash_of(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _place(session_id: UUID) -> str:
    return f"session/{session_id}/content"
