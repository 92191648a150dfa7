"""Keys at rest: the envelope, and the folder of private ones."""

import multiprocessing
import stat
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import select, update

from consent import store
from consent.errors import KeyMissing
from consent.keys import FileKeyStore, Vault, open_sealed, seal
from gateway.db import SqlDatabase


def test_sealed_value_opens_only_at_its_place() -> None:
    key = bytes(32)

    sealed = seal(key, b"A123456789", "person/1")

    assert open_sealed(key, sealed, "person/1") == b"A123456789"
    with pytest.raises(KeyMissing):
        open_sealed(key, sealed, "person/2")
    with pytest.raises(KeyMissing):
        open_sealed(key, sealed[:-1] + bytes([sealed[-1] ^ 1]), "person/1")


async def test_subject_key_is_made_once_and_differs_by_retention(database: SqlDatabase, vault: Vault) -> None:
    async with database.write() as conn:
        first = await vault.subject_key(conn, "alice", "log")
        again = await vault.subject_key(conn, "alice", "log")
        profile = await vault.subject_key(conn, "alice", "profile")

    assert first == again
    assert first != profile


async def test_destroyed_key_is_not_made_anew(database: SqlDatabase, vault: Vault) -> None:
    case_id = uuid4()
    async with database.write() as conn:
        await vault.case_key(conn, case_id)
        await conn.execute(update(store.data_key).values(wrapped=None))

        with pytest.raises(KeyMissing):
            await vault.case_key(conn, case_id)


async def test_wrapped_key_is_not_the_key(database: SqlDatabase, vault: Vault) -> None:
    async with database.write() as conn:
        key = await vault.tag_key(conn, "alice")
        wrapped = (await conn.execute(select(store.data_key.c.wrapped))).scalar_one()

    assert key not in wrapped


def _master(folder: str) -> bytes:
    return FileKeyStore(Path(folder)).master_key()[1]


def test_processes_that_start_together_agree_on_the_master_key(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        keys = pool.map(_master, [str(tmp_path / "keys")] * 8)

    assert len(set(keys)) == 1


def test_key_files_are_private(key_store: FileKeyStore, tmp_path: Path) -> None:
    key_store.master_key()
    key_store.signing_key("agency-token")

    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "keys").iterdir()}

    assert modes == {0o600}
