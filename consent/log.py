"""What happened, as hashes that anyone may hold and contents that few may read.

A business transaction appends its events here, in the same transaction: an event is on record exactly when
what it tells of is. Of each event two things are made:

* the *payload*, which says everything: RFC 8785 (JCS) JSON, sealed under the subject's key together with a
  random salt of 32 bytes. `seq` counts the subject's events and `previous` is the commit before, so that
  whoever holds the key sees a gap;
* the *leaf*, which is public: event id, type, hour, a *commit* (HMAC of the payload under the salt) and a
  *tag* (HMAC of the event id under the subject's tag key, by which the subject finds its own leaves).

The leaf waits in `log_pending` until the sequencer (`consent.sequencer`) gives it its place in the tree.

An event about two people is two events. Append once in a transaction where you can: one append locks the
subjects in the order of their ids, two appends one after the other may meet another transaction's and one of
both be rolled back by the database.
"""

import base64
import datetime as dt
import hashlib
import hmac
import re
import secrets
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal
from uuid import UUID

import msgspec
from sqlalchemy import bindparam, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from consent.database import hint, machine_time
from consent.errors import LogFault
from consent.ids import shard_of, uuid7
from consent.keys import Vault, open_sealed, seal
from consent.model import EventType, LogEvent
from consent.store import insert_into, log_entry, log_event, log_pending, log_published, log_subject

RETENTION = "log"
SALT_BYTES = 32
LEAF_BYTES_MAX = 1_024
PAYLOAD_BYTES_MAX = 65_536
EVENTS_MAX = 1_024
COMMIT_CONTEXT = b"onestop/commit/v1\x00"
TAG_CONTEXT = b"onestop/tag/v1\x00"
PENDING_TOPIC = "log.pending"
READY_TOPIC = "call.ready"
_HOUR = re.compile(r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3])", re.ASCII)


class Leaf(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The public part of an event; binary members in base64url without padding, the hour in UTC."""

    commit: str
    event_id: str
    hour: str
    tag: str
    type: EventType
    v: Literal[1] = 1


class Payload(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The sealed part of an event; `basis` is the kind of the basis, `time` RFC 3339 with milliseconds."""

    agency: str
    basis: str
    basis_id: str
    call: str
    case: str
    details: dict[str, str]
    fields: tuple[str, ...]
    previous: str
    purpose: str
    seq: int
    time: str


class RecordedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One event as its subject may read it: with the salt, its commit can be checked by anyone."""

    event_id: UUID
    type: EventType
    time: dt.datetime
    salt: bytes
    payload: Payload
    leaf: bytes


def encode_payload(payload: Payload) -> bytes:
    """RFC 8785 JSON.

    msgspec writes it for our kinds of value: strings, small integers, arrays of strings. It orders members
    by code point and JCS by UTF-16 unit, which is one order for the ASCII names that `append` holds to.
    """
    return msgspec.json.encode(payload, order="sorted")


def encode_leaf(leaf: Leaf) -> bytes:
    """RFC 8785 JSON, always below 1 KiB."""
    return msgspec.json.encode(leaf, order="sorted")


def parse_leaf(leaf: bytes, where: str) -> Leaf:
    """The leaf, when it is in its one form. Raises LogFault naming `where`."""
    if len(leaf) > LEAF_BYTES_MAX:
        raise LogFault(where, f"the leaf has {len(leaf)} bytes, over {LEAF_BYTES_MAX}")
    try:
        parsed = msgspec.json.decode(leaf, type=Leaf)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise LogFault(where, "the leaf is not of its form") from error
    sizes = [_decoded_size(value) for value in (parsed.commit, parsed.event_id, parsed.tag)]
    if encode_leaf(parsed) != leaf or sizes != [32, 16, 32] or not _HOUR.fullmatch(parsed.hour):
        raise LogFault(where, "the leaf is not of its form")
    return parsed


def commit_of(salt: bytes, payload: bytes) -> bytes:
    """HMAC-SHA256 that binds the log to the payload and tells nothing of it without the salt."""
    return hmac.digest(salt, COMMIT_CONTEXT + payload, hashlib.sha256)


def tag_of(tag_key: bytes, event_id: UUID) -> bytes:
    """HMAC-SHA256 by which whoever holds the subject's tag key recognises the subject's leaves."""
    return hmac.digest(tag_key, TAG_CONTEXT + event_id.bytes, hashlib.sha256)


def base64url(value: bytes) -> str:
    """Base64url without padding (RFC 4648, section 5)."""
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


async def append(conn: AsyncConnection, vault: Vault, events: Sequence[LogEvent]) -> list[UUID]:
    """Record the events with this transaction; their ids, in the order given.

    At most 1,024 events at once, names of details in ASCII, a payload of at most 64 KiB (ValueError).
    Raises KeyMissing when a subject's keys were destroyed.
    """
    if not events:
        return []
    if len(events) > EVENTS_MAX:
        raise ValueError(f"{len(events)} events at once, at most {EVENTS_MAX}")
    writers = await _lock_subjects(conn, vault, Counter(event.subject for event in events))
    time = await machine_time(conn)
    rows = [writers[event.subject].write(event, time) for event in events]
    await conn.execute(
        update(log_subject)
        .where(log_subject.c.subject == bindparam("of_subject"))
        .values(previous=bindparam("commit")),
        [{"of_subject": subject, "commit": writer.previous} for subject, writer in writers.items()],
    )
    await conn.execute(insert(log_event), [event for event, _ in rows])
    await conn.execute(insert(log_pending), [pending for _, pending in rows])
    await hint(conn, PENDING_TOPIC)
    return [event["event_id"] for event, _ in rows]


async def payloads(conn: AsyncConnection, vault: Vault, subject: str) -> list[RecordedEvent]:
    """All events of a subject, from the first, read from the sealed payloads.

    Raises LogFault when one is missing, out of order, or not the one its leaf commits to, and KeyMissing
    when the subject's key was destroyed.
    """
    query = select(log_subject.c.seq, log_subject.c.previous).where(log_subject.c.subject == subject)
    head = (await conn.execute(query)).one_or_none()
    if head is None:
        return []
    key = await vault.subject_key(conn, subject, RETENTION)
    tag_key = await vault.tag_key(conn, subject)
    rows = await conn.execute(
        select(log_event, func.coalesce(log_entry.c.leaf, log_pending.c.leaf).label("leaf"))
        .outerjoin(log_entry, log_entry.c.event_id == log_event.c.event_id)
        .outerjoin(log_pending, log_pending.c.event_id == log_event.c.event_id)
        .where(log_event.c.subject == subject, log_event.c.seq <= head.seq)
        .order_by(log_event.c.seq)
    )
    recorded: list[RecordedEvent] = []
    previous = b""
    for row in rows:
        recorded.append(_open(row, key))
        previous = _check_chain(recorded[-1], len(recorded), previous, tag_key)
    if (len(recorded), previous) != (head.seq, head.previous):
        raise LogFault(f"event {len(recorded) + 1} of a subject", "the subject's last events are missing")
    return recorded


async def published_size(conn: AsyncConnection) -> int:
    """How many leaves stand under a checkpoint that the second store holds."""
    return (await conn.execute(select(log_published.c.size))).scalar_one_or_none() or 0


class _Writer:
    """Makes one subject's events, each chained to the one before."""

    def __init__(self, seq: int, previous: bytes, key: bytes, tag_key: bytes) -> None:
        self.seq = seq
        self.previous = previous
        self._key = key
        self._tag_key = tag_key

    def write(self, event: LogEvent, time: dt.datetime) -> tuple[dict[str, Any], dict[str, Any]]:
        """The rows for `log_event` and `log_pending`."""
        if not all(name.isascii() for name in event.details):
            raise ValueError("the names of an event's details must be ASCII")
        event_id = uuid7()
        self.seq += 1
        payload = encode_payload(
            Payload(
                agency=event.agency,
                basis=event.basis,
                basis_id=event.basis_id,
                call=event.call,
                case=event.case,
                details=event.details,
                fields=event.fields,
                previous=base64url(self.previous),
                purpose=event.purpose,
                seq=self.seq,
                time=time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            )
        )
        if len(payload) > PAYLOAD_BYTES_MAX:
            raise ValueError(f"an event's payload has {len(payload)} bytes, over {PAYLOAD_BYTES_MAX}")
        salt = secrets.token_bytes(SALT_BYTES)
        self.previous = commit_of(salt, payload)
        leaf = Leaf(
            commit=base64url(self.previous),
            event_id=base64url(event_id.bytes),
            hour=time.strftime("%Y-%m-%dT%H"),
            tag=base64url(tag_of(self._tag_key, event_id)),
            type=event.type,
        )
        row = {
            "event_id": event_id,
            "shard": shard_of(event_id),
            "subject": event.subject,
            "seq": self.seq,
            "type": event.type.value,
            "time": time,
            "sealed": seal(self._key, salt + payload, _place(event_id)),
        }
        return row, {"event_id": event_id, "leaf": encode_leaf(leaf)}


async def _lock_subjects(conn: AsyncConnection, vault: Vault, counts: Counter[str]) -> dict[str, _Writer]:
    """Lock the subjects' rows in the order of their ids, making those that are new, and count them up."""
    statement = insert_into(conn, log_subject)
    locked = await conn.execute(
        statement.on_conflict_do_update(
            index_elements=["subject"], set_={"seq": log_subject.c.seq + statement.excluded.seq}
        ).returning(log_subject),
        [{"subject": subject, "seq": counts[subject], "previous": b""} for subject in sorted(counts)],
    )
    return {
        row.subject: _Writer(
            row.seq - counts[row.subject],
            row.previous,
            await vault.subject_key(conn, row.subject, RETENTION),
            await vault.tag_key(conn, row.subject),
        )
        for row in locked.all()
    }


def _open(row: Any, key: bytes) -> RecordedEvent:
    content = open_sealed(key, row.sealed, _place(row.event_id))
    return RecordedEvent(
        event_id=row.event_id,
        type=EventType(row.type),
        time=row.time,
        salt=content[:SALT_BYTES],
        payload=msgspec.json.decode(content[SALT_BYTES:], type=Payload),
        leaf=row.leaf or b"",
    )


def _check_chain(event: RecordedEvent, seq: int, previous: bytes, tag_key: bytes) -> bytes:
    """Check one event against the one before it and against its leaf; its commit."""
    where = f"event {seq} of a subject"
    if event.payload.seq != seq or event.payload.previous != base64url(previous):
        raise LogFault(where, "does not follow the event before it")
    commit = commit_of(event.salt, encode_payload(event.payload))
    leaf = parse_leaf(event.leaf, where)
    expected = (
        base64url(commit),
        base64url(event.event_id.bytes),
        base64url(tag_of(tag_key, event.event_id)),
    )
    if (leaf.commit, leaf.event_id, leaf.tag) != expected or leaf.type != event.type:
        raise LogFault(where, "is not the event that its leaf commits to")
    return commit


def _decoded_size(value: str) -> int:
    """Bytes of an unpadded base64url value in its one encoding; -1 for any other."""
    try:
        decoded = base64.b64decode(value + "=" * (-len(value) % 4), altchars=b"-_", validate=True)
    except ValueError:
        return -1
    return len(decoded) if base64url(decoded) == value else -1


def _place(event_id: UUID) -> str:
    return f"log_event/{event_id}"
