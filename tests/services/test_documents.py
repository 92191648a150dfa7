"""Documents: what they are is read from their bytes, and only their own case reads them back."""

import asyncio
import os
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select, update

from consent.errors import KeyMissing
from consent.ids import uuid7
from consent.keys import Vault
from consent.store import data_key
from gateway.db import SqlDatabase
from services import documents, store
from services.documents import CHUNK_BYTES, read, receive, sniff
from services.errors import CaseNotFound, TooLarge, UnsupportedMedia
from services.events import Document
from services.store import document, document_chunk

PDF, PNG, JPEG = "application/pdf", "image/png", "image/jpeg"
ALL = (PDF, PNG, JPEG)
HEADS = {
    PDF: b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
    PNG: b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR",
    JPEG: b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01",
}
READ_SECONDS_MAX = 30
CASE, OTHER = uuid7(), uuid7()
CONTENT = os.urandom(2 * CHUNK_BYTES + 12_345)


@pytest.mark.parametrize("media_type", ALL)
def test_a_document_s_type_is_read_from_its_first_bytes(media_type: str) -> None:
    assert sniff(HEADS[media_type] + bytes(100), ALL) == media_type


@pytest.mark.parametrize("media_type", ALL)
def test_a_type_that_is_not_taken_here_is_refused(media_type: str) -> None:
    with pytest.raises(UnsupportedMedia):
        sniff(HEADS[media_type] + bytes(100), [other for other in ALL if other != media_type])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"%",
        b"hello",
        b"%pdf-1.7\n",
        b"\n%PDF-1.7\n",
        b"GIF89a" + bytes(20),
        b"PK\x03\x04" + bytes(40),
        b"MZ" + bytes(100),
        b"<!DOCTYPE html><script>alert(1)</script>",
        b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>",
        bytes(5000),
        bytes(4000) + HEADS[PNG],
    ],
)
def test_what_is_none_of_the_types_is_refused(content: bytes) -> None:
    with pytest.raises(UnsupportedMedia):
        sniff(content, ALL)


@pytest.mark.parametrize("picture", [PNG, JPEG])
@pytest.mark.parametrize("gap", [0, 500, 990])
def test_a_picture_that_a_reader_of_pdf_would_open_is_refused(picture: str, gap: int) -> None:
    content = HEADS[picture] + bytes(gap) + HEADS[PDF]

    with pytest.raises(UnsupportedMedia, match="several types"):
        sniff(content, ALL)
    with pytest.raises(UnsupportedMedia):
        sniff(content, [picture])


@pytest.mark.parametrize("head", [HEADS[PNG], HEADS[JPEG], b"%PDF-1.4", b"<html>", b"PK\x03\x04"])
def test_a_pdf_may_hold_anything_behind_its_header(head: bytes) -> None:
    assert sniff(HEADS[PDF] + head + bytes(100), ALL) == PDF


@given(st.binary(max_size=200))
def test_whatever_is_uploaded_is_taken_for_a_type_or_refused(content: bytes) -> None:
    try:
        found = sniff(content, ALL)
    except UnsupportedMedia:
        return
    assert content.startswith(HEADS[found][:3])


async def test_an_upload_is_read_no_further_than_its_bound() -> None:
    parts_read = 0

    async def stream() -> AsyncIterator[bytes]:
        nonlocal parts_read
        for _ in range(1000):
            parts_read += 1
            yield bytes(100)

    with pytest.raises(TooLarge):
        await receive(stream(), 250)

    assert parts_read == 3


@pytest.mark.parametrize("size", [0, 1, 249, 250])
async def test_an_upload_within_its_bound_arrives_whole(size: int) -> None:
    async def stream() -> AsyncIterator[bytes]:
        for start in range(0, size, 7):
            yield CONTENT[start : min(start + 7, size)]

    assert await receive(stream(), 250) == CONTENT[:size]


async def kept(database: SqlDatabase, vault: Vault, content: bytes = CONTENT) -> Document:
    async with database.write() as conn:
        return await documents.keep(conn, vault, CASE, slot="passport", media_type=PDF, content=content)


EDGES = [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES, len(CONTENT) - 1]
EDGES += [len(CONTENT), len(CONTENT) + 1]
PLACES = st.one_of(st.sampled_from(EDGES), st.integers(0, len(CONTENT) + 10))


async def test_any_range_of_a_document_is_that_range_of_its_content(
    database: SqlDatabase, vault: Vault
) -> None:
    found = await kept(database, vault)
    loop = asyncio.get_running_loop()

    async def part(start: int, end: int | None) -> bytes:
        async with database.read() as conn:
            return await read(conn, vault, CASE, found.document_id, start=start, end=end)

    @settings(max_examples=60)
    @given(PLACES, st.one_of(PLACES, st.none()))
    def check(start: int, end: int | None) -> None:
        reading = asyncio.run_coroutine_threadsafe(part(start, end), loop)
        assert reading.result(READ_SECONDS_MAX) == CONTENT[start:end]

    await asyncio.to_thread(check)


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1])
async def test_a_document_is_cut_into_chunks_of_one_mebibyte(
    database: SqlDatabase, vault: Vault, size: int
) -> None:
    found = await kept(database, vault, CONTENT[:size])

    async with database.read() as conn:
        count = (await conn.execute(select(func.count()).select_from(document_chunk))).scalar_one()
        assert count == -(-size // CHUNK_BYTES)
        assert await read(conn, vault, CASE, found.document_id) == CONTENT[:size]
    assert found.size == size


async def test_another_case_s_document_is_not_there(database: SqlDatabase, vault: Vault) -> None:
    found = await kept(database, vault, b"content")

    async with database.write() as conn:
        for case_id, document_id in ((OTHER, found.document_id), (CASE, uuid7())):
            with pytest.raises(CaseNotFound):
                await read(conn, vault, case_id, document_id)


async def test_a_document_moved_to_another_case_does_not_open(database: SqlDatabase, vault: Vault) -> None:
    found = await kept(database, vault, b"content")
    async with database.write() as conn:
        await conn.execute(update(document).values(case_id=OTHER))

    with pytest.raises(KeyMissing):
        async with database.write() as conn:
            await read(conn, vault, OTHER, found.document_id)


async def test_chunks_that_changed_places_do_not_open(database: SqlDatabase, vault: Vault) -> None:
    found = await kept(database, vault)
    async with database.write() as conn:
        for n, to in ((0, 9), (1, 0), (9, 1)):
            await conn.execute(update(document_chunk).where(document_chunk.c.n == n).values(n=to))

    with pytest.raises(KeyMissing):
        async with database.read() as conn:
            await read(conn, vault, CASE, found.document_id)


async def test_equal_content_has_one_address_in_a_case_and_another_in_the_next(
    database: SqlDatabase, vault: Vault
) -> None:
    async with database.write() as conn:
        for case_id in (CASE, CASE, OTHER):
            await documents.keep(conn, vault, case_id, slot="photo", media_type=PNG, content=b"same")
        rows = (await conn.execute(select(document.c.case_id, document.c.address))).all()

    assert len({row.address for row in rows if row.case_id == CASE}) == 1
    assert len({row.address for row in rows}) == 2


async def test_a_document_is_unreadable_once_its_case_s_key_is_destroyed(
    database: SqlDatabase, vault: Vault
) -> None:
    found = await kept(database, vault, b"content")
    async with database.write() as conn:
        await conn.execute(update(data_key).values(wrapped=None))

    with pytest.raises(KeyMissing):
        async with database.read() as conn:
            await read(conn, vault, CASE, found.document_id)


async def test_content_is_stored_as_ciphertext(database: SqlDatabase, vault: Vault) -> None:
    await kept(database, vault, b"passport number 12AB34567" * 100)

    async with database.read() as conn:
        sealed = (await conn.execute(select(store.document_chunk.c.sealed))).scalar_one()

    assert b"12AB34567" not in sealed
