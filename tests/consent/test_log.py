"""Appending events and reading them back: the leaf to the byte, the chain of each subject."""

import asyncio
import base64
import datetime as dt
import hashlib
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import delete, select, update

from consent import log, merkle
from consent.errors import KeyMissing, LogFault
from consent.ids import uuid7
from consent.keys import Vault, seal
from consent.model import EventType, LogEvent
from consent.store import data_key, log_event, log_pending, log_subject
from gateway.db import SqlDatabase

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "leaf" / "events.json").read_text())

words = st.text(st.characters(exclude_categories=["Cs"]))
ascii_words = st.text(st.characters(codec="ascii"))
payloads_of_any_content = st.builds(
    log.Payload,
    **dict.fromkeys(["agency", "basis", "basis_id", "call", "case", "previous", "purpose", "time"], words),
    details=st.dictionaries(ascii_words, words),
    fields=st.lists(words).map(tuple),
    seq=st.integers(1, 2**53 - 1),
)


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def event(subject: str, **members: Any) -> LogEvent:
    return LogEvent(type=EventType.DATA_RELEASED, subject=subject, **members)


async def append(database: SqlDatabase, vault: Vault, *events: LogEvent) -> list[Any]:
    async with database.write() as conn:
        return list(await log.append(conn, vault, events))


async def read(database: SqlDatabase, vault: Vault, subject: str) -> list[log.RecordedEvent]:
    async with database.write() as conn:
        return await log.payloads(conn, vault, subject)


@pytest.mark.parametrize("vector", VECTORS["events"], ids=lambda vector: vector["leaf_hash"][:8])
def test_leaf_vector_is_met_to_the_byte(vector: dict[str, str]) -> None:
    payload = msgspec.json.decode(vector["payload"], type=log.Payload)
    published = json.loads(vector["leaf"])
    event_id = uuid_of(published["event_id"])

    leaf = log.encode_leaf(
        log.Leaf(
            commit=log.base64url(log.commit_of(decoded(vector["salt"]), log.encode_payload(payload))),
            event_id=log.base64url(event_id.bytes),
            hour=payload.time[:13],
            tag=log.base64url(log.tag_of(decoded(vector["tag_key"]), event_id)),
            type=EventType(published["type"]),
        )
    )

    assert log.encode_payload(payload).decode() == vector["payload"]
    assert leaf.decode() == vector["leaf"]
    assert merkle.leaf_hash(leaf) == decoded(vector["leaf_hash"])
    assert log.parse_leaf(leaf, "index 0").type == published["type"]


def uuid_of(text: str) -> Any:
    return type(uuid7())(bytes=decoded(text))


def test_roots_over_the_leaf_vectors_are_met() -> None:
    hashes = [decoded(vector["leaf_hash"]) for vector in VECTORS["events"]]

    roots = [merkle.root(hashes[: size + 1]) for size in range(len(hashes))]

    assert roots == [decoded(root) for root in VECTORS["roots"]]


@given(payloads_of_any_content)
def test_payload_is_canonical_json_for_any_content(payload: log.Payload) -> None:
    assert log.encode_payload(payload) == rfc8785.dumps(
        {**msgspec.structs.asdict(payload), "fields": list(payload.fields)}
    )


def test_greatest_leaf_is_below_one_kibibyte() -> None:
    leaf = log.Leaf(
        commit="A" * 43, event_id="A" * 22, hour="2026-11-22T13", tag="A" * 43,
        type=max(EventType, key=len),
    )  # fmt: skip

    assert len(log.encode_leaf(leaf)) < log.LEAF_BYTES_MAX
    log.parse_leaf(log.encode_leaf(leaf), "index 0")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"v":1', b'"v":2'),
        (b'"v":1', b'"v":1.0'),
        (b'"v":1', b'"v":1,"x":1'),
        (b'"v":1', b'"v":1 '),
        (b'"v":1', b'"v":1,"v":1'),
        (b'"type":"basis.recorded"', b'"type":"basis.invented"'),
        (b'"hour":"2026-11-22T05"', b'"hour":"2026-11-22T25"'),
        (b'"hour":"2026-11-22T05"', b'"hour":"2026-11-22T05:00"'),
        (b'"tag":"JKPl', b'"tag":"'),
        (b'hQ","type"', b'hR","type"'),
        (b'"tag":"JKPl', b'"tag":"+KPl'),
        (b'"commit"', b'"Commit"'),
        (b"{", b" " * 1_024 + b"{"),
        (b"{", b""),
        (b"}", b"\xff}"),
    ],
)
def test_leaf_in_any_other_form_is_refused(old: bytes, new: bytes) -> None:
    leaf = VECTORS["events"][0]["leaf"].encode()
    assert old in leaf

    with pytest.raises(LogFault, match="index 7"):
        log.parse_leaf(leaf.replace(old, new, 1), "index 7")


async def test_events_are_read_back_as_they_were_stated(database: SqlDatabase, vault: Vault) -> None:
    stated = event(
        "alice", agency="nia", basis="consent", basis_id="b", call="c", case="d", purpose="prefill",
        fields=("passport.number", "passport.expiry"), details={"article": "專法 §9"},
    )  # fmt: skip
    [event_id] = await append(database, vault, stated)

    [recorded] = await read(database, vault, "alice")

    assert recorded.event_id == event_id
    assert recorded.type is stated.type
    assert recorded.payload.agency == "nia"
    assert recorded.payload.fields == stated.fields
    assert recorded.payload.details == stated.details
    assert recorded.payload.time == recorded.time.isoformat(timespec="milliseconds")[:-6] + "Z"


async def test_ids_come_in_the_order_of_the_events(database: SqlDatabase, vault: Vault) -> None:
    subjects = ["carol", "alice", "bob", "alice", "carol"]

    ids = await append(database, vault, *[event(subject) for subject in subjects])

    async with database.read() as conn:
        rows = await conn.execute(select(log_event.c.event_id, log_event.c.subject, log_event.c.seq))
        by_id = {row.event_id: (row.subject, row.seq) for row in rows}
    assert [by_id[event_id] for event_id in ids] == [
        ("carol", 1), ("alice", 1), ("bob", 1), ("alice", 2), ("carol", 2),
    ]  # fmt: skip


async def test_each_subject_has_its_own_chain_across_transactions(
    database: SqlDatabase, vault: Vault
) -> None:
    await append(database, vault, event("alice"), event("alice"), event("bob"))
    await append(database, vault, event("bob"), event("alice"))

    alice, bob = await read(database, vault, "alice"), await read(database, vault, "bob")

    for chain in (alice, bob):
        commits = ["", *(json.loads(recorded.leaf)["commit"] for recorded in chain)]
        assert [recorded.payload.previous for recorded in chain] == commits[:-1]
        assert [recorded.payload.seq for recorded in chain] == list(range(1, len(chain) + 1))
    assert (len(alice), len(bob)) == (3, 2)


async def test_nothing_is_recorded_when_the_transaction_fails(database: SqlDatabase, vault: Vault) -> None:
    await append(database, vault, event("alice"))

    with pytest.raises(ValueError, match="ASCII"):
        await append(database, vault, event("alice"), event("bob"), event("bob", details={"額": ""}))

    await append(database, vault, event("alice"))
    assert [recorded.payload.seq for recorded in await read(database, vault, "alice")] == [1, 2]
    assert await read(database, vault, "bob") == []


async def test_concurrent_appends_about_the_same_people_neither_fork_nor_deadlock(
    database: SqlDatabase, vault: Vault
) -> None:
    orders = [("alice", "bob"), ("bob", "alice"), ("bob", "carol", "alice"), ("carol", "bob")] * 5

    await asyncio.gather(
        *(append(database, vault, *[event(subject) for subject in order]) for order in orders)
    )

    for subject in ("alice", "bob", "carol"):
        count = sum(order.count(subject) for order in orders)
        assert len(await read(database, vault, subject)) == count


async def test_leaf_tells_nothing_of_the_person_or_the_agency(database: SqlDatabase, vault: Vault) -> None:
    await append(
        database, vault, event("alice", agency="nia", purpose="prefill", details={"x": "A123456789"})
    )

    async with database.read() as conn:
        leaf = (await conn.execute(select(log_pending.c.leaf))).scalar_one()
        sealed = (await conn.execute(select(log_event.c.sealed))).scalar_one()

    assert json.loads(leaf).keys() == {"commit", "event_id", "hour", "tag", "type", "v"}
    for secret in (b"alice", b"nia", b"prefill", b"A123456789"):
        assert secret not in leaf + sealed


async def test_same_event_twice_has_two_commits_and_two_tags(database: SqlDatabase, vault: Vault) -> None:
    await append(database, vault, event("alice"), event("alice"))

    first, second = [json.loads(recorded.leaf) for recorded in await read(database, vault, "alice")]

    assert first["commit"] != second["commit"]
    assert first["tag"] != second["tag"]


@pytest.mark.parametrize("seq", [1, 2, 3])
async def test_removed_event_of_a_subject_is_noticed(database: SqlDatabase, vault: Vault, seq: int) -> None:
    await append(database, vault, *[event("alice")] * 3)
    async with database.write() as conn:
        await conn.execute(delete(log_event).where(log_event.c.seq == seq))

    with pytest.raises(LogFault, match=f"event {seq} of a subject"):
        await read(database, vault, "alice")


async def test_last_event_removed_with_its_count_is_noticed_by_its_commit(
    database: SqlDatabase, vault: Vault
) -> None:
    await append(database, vault, *[event("alice")] * 3)
    async with database.write() as conn:
        await conn.execute(delete(log_event).where(log_event.c.seq == 3))
        await conn.execute(update(log_subject).values(seq=2))

    with pytest.raises(LogFault, match="missing"):
        await read(database, vault, "alice")


async def test_payload_rewritten_under_the_right_key_is_noticed(database: SqlDatabase, vault: Vault) -> None:
    [event_id] = await append(database, vault, event("alice", agency="nia"))
    [recorded] = await read(database, vault, "alice")
    forged = log.encode_payload(msgspec.structs.replace(recorded.payload, agency="wda"))
    async with database.write() as conn:
        key = await vault.subject_key(conn, "alice", log.RETENTION)
        sealed = seal(key, recorded.salt + forged, f"log_event/{event_id}")
        await conn.execute(update(log_event).values(sealed=sealed))

    with pytest.raises(LogFault, match="event 1 of a subject"):
        await read(database, vault, "alice")


async def test_events_swapped_between_rows_do_not_open(database: SqlDatabase, vault: Vault) -> None:
    first, second = await append(database, vault, event("alice"), event("alice"))
    async with database.write() as conn:
        rows = {row.event_id: row.sealed for row in await conn.execute(select(log_event))}
        for event_id, other in ((first, second), (second, first)):
            await conn.execute(
                update(log_event).where(log_event.c.event_id == event_id).values(sealed=rows[other])
            )

    with pytest.raises(KeyMissing):
        await read(database, vault, "alice")


async def test_destroyed_key_ends_reading_and_recording(database: SqlDatabase, vault: Vault) -> None:
    await append(database, vault, event("alice"))
    async with database.write() as conn:
        await conn.execute(update(data_key).values(wrapped=None))

    with pytest.raises(KeyMissing):
        await read(database, vault, "alice")
    with pytest.raises(KeyMissing):
        await append(database, vault, event("alice"))


@pytest.mark.parametrize(
    "events",
    [
        [event("alice", details={"金額": "1"})],
        [event("alice", details={"x": "y" * log.PAYLOAD_BYTES_MAX})],
        [event("alice")] * (log.EVENTS_MAX + 1),
    ],
    ids=["name that is not ASCII", "payload too long", "too many events"],
)
async def test_event_beyond_the_format_is_refused(
    database: SqlDatabase, vault: Vault, events: list[LogEvent]
) -> None:
    with pytest.raises(ValueError, match="event"):
        await append(database, vault, *events)


async def test_appending_nothing_writes_nothing(database: SqlDatabase, vault: Vault) -> None:
    assert await append(database, vault) == []
    async with database.read() as conn:
        assert await log.published_size(conn) == 0


async def test_time_is_the_databases(database: SqlDatabase, vault: Vault) -> None:
    before = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=1)
    await append(database, vault, event("alice"), event("bob"))

    [alice], [bob] = await read(database, vault, "alice"), await read(database, vault, "bob")

    assert alice.time == bob.time
    assert before < alice.time
    assert json.loads(alice.leaf)["hour"] == alice.payload.time[:13]


def test_commit_and_tag_are_keyed_apart() -> None:
    event_id = uuid7()

    assert log.commit_of(bytes(32), event_id.bytes) != log.tag_of(bytes(32), event_id)
    assert log.commit_of(bytes(32), b"") != log.commit_of(b"\x01" * 32, b"")
    assert len(log.tag_of(bytes(32), event_id)) == hashlib.sha256().digest_size
