"""Verification of a document by whoever was shown it: online without a session, offline by command."""

import asyncio
import datetime as dt
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from litestar import Litestar
from litestar.testing import AsyncTestClient

from consent import jws
from consent.ids import uuid7
from consent.keys import FileKeyStore, Vault
from gateway.db import SqlDatabase
from gateway.settings import Settings
from services import issued, sealing, store
from services.sealing import DOCUMENT_KEY, DOCUMENT_TYP, Issued, Sealer
from tests.services.test_sealing import ESSENTIALS, render

Client = AsyncTestClient[Litestar]
FACTS = msgspec.to_builtins(ESSENTIALS)
UNKNOWN = {"status": "unknown", "facts": None}


@pytest.fixture
async def notice(gateway_settings: Settings, gateway_client: Client) -> Issued:
    """A document that the running gateway knows."""
    key_store = FileKeyStore(gateway_settings.key_folder)
    made = await asyncio.to_thread(
        Sealer(key_store, gateway_settings.public_url).issue, ESSENTIALS, render, dt.datetime.now(dt.UTC)
    )
    database = SqlDatabase(gateway_settings.database_url)
    async with database.write() as conn:
        await issued.record(
            conn,
            Vault(key_store),
            uuid7(),
            document_id=uuid7(),
            public_id=made.public_id,
            facts=ESSENTIALS,
            at=await store.now(conn),
        )
    await database.aclose()
    return made


def token_of(notice: Issued, gateway_settings: Settings) -> str:
    """A token as the QR code has it."""
    key_store = FileKeyStore(gateway_settings.key_folder)
    trusted = jws.KeySet.from_jwks(sealing.published_keys(key_store))
    claims = sealing.verify(notice.pdf, trusted)
    return jws.sign(claims, key_store.signing_key(DOCUMENT_KEY), DOCUMENT_TYP)


async def test_document_is_told_to_be_genuine_with_its_essential_facts(
    gateway_client: Client, notice: Issued
) -> None:
    answer = await gateway_client.get(f"/verify/{notice.public_id}")

    assert answer.json() == {"status": "genuine", "facts": FACTS}
    assert answer.headers["cache-control"] == "no-store"


async def test_page_is_bilingual_and_loads_nothing(gateway_client: Client, notice: Issued) -> None:
    answer = await gateway_client.get(
        f"/verify/{notice.public_id}", headers={"Accept": "text/html,*/*;q=0.8"}
    )

    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "本文件為真" in answer.text
    assert "This document is genuine" in answer.text
    assert ESSENTIALS.case_number in answer.text
    assert not {"<script", "<link", "<img", "http:", "https:"} & set(answer.text.split('"'))


@pytest.mark.parametrize("guess", ["x", "A" * 22, "%3Cscript%3E", "..%2F", "1" * 300])
async def test_what_was_never_issued_is_unknown_alike_and_not_repeated(
    gateway_client: Client, notice: Issued, guess: str
) -> None:
    answer = await gateway_client.get(f"/verify/{guess}")
    page = await gateway_client.get(f"/verify/{guess}", headers={"Accept": "text/html"})
    other = await gateway_client.get("/verify/other", headers={"Accept": "text/html"})

    if answer.status_code != 404:  # what is more than one step of a path is no address at all
        assert answer.json() == UNKNOWN
        assert page.text == other.text


async def test_token_is_enough_to_ask(
    gateway_client: Client, notice: Issued, gateway_settings: Settings
) -> None:
    answer = await gateway_client.post("/verify", json={"token": token_of(notice, gateway_settings)})

    assert (answer.status_code, answer.json()) == (200, {"status": "genuine", "facts": FACTS})


async def test_token_of_another_key_type_or_office_is_unknown(
    gateway_client: Client, notice: Issued, gateway_settings: Settings, tmp_path: Path
) -> None:
    key_store = FileKeyStore(gateway_settings.key_folder)
    claims = sealing.verify(notice.pdf, jws.KeySet.from_jwks(sealing.published_keys(key_store)))
    key = key_store.signing_key(DOCUMENT_KEY)
    elsewhere = msgspec.structs.replace(claims, iss="https://elsewhere.example")
    tokens = [
        jws.sign(claims, FileKeyStore(tmp_path / "other").signing_key(DOCUMENT_KEY), DOCUMENT_TYP),
        jws.sign(claims, key, "JWT"),
        jws.sign(elsewhere, key, DOCUMENT_TYP),
        "a.b.c",
    ]

    for token in tokens:
        answer = await gateway_client.post("/verify", json={"token": token})
        assert answer.json() == UNKNOWN


async def test_document_keys_are_their_own(gateway_client: Client) -> None:
    documents = (await gateway_client.get("/.well-known/onestop-documents.jwks")).json()
    others = (await gateway_client.get("/oauth/jwks")).json()

    assert jws.KeySet.from_jwks(documents)
    assert not {key["kid"] for key in documents["keys"]} & {key["kid"] for key in others["keys"]}


async def test_command_verifies_offline_with_the_published_keys(
    gateway_client: Client, notice: Issued, tmp_path: Path
) -> None:
    (tmp_path / "notice.pdf").write_bytes(notice.pdf)
    (tmp_path / "changed.pdf").write_bytes(notice.pdf.replace(b"/Lang", b"/Lung", 1))
    keys = (await gateway_client.get("/.well-known/onestop-documents.jwks")).content
    (tmp_path / "keys.jwks").write_bytes(keys)

    genuine = await asyncio.to_thread(verify, tmp_path, "notice.pdf")
    changed = await asyncio.to_thread(verify, tmp_path, "changed.pdf")

    assert genuine.returncode == 0, genuine.stderr
    assert genuine.stdout.startswith("The document is genuine and unchanged: ")
    assert ESSENTIALS.case_number in genuine.stdout
    assert changed.returncode == 1
    assert changed.stderr == "Error: The document is not genuine: it was changed after it was sealed.\n"


def verify(folder: Path, name: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gateway.cli", "document", "verify", name, "--jwks", "keys.jwks"],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if not name.startswith("ONESTOP_")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
