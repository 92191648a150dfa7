"""The application as a whole: it starts only when it may, and every answer carries what it must."""

import asyncio
import re
import shutil

import msgspec
import pytest
from litestar import Litestar
from litestar.testing import AsyncTestClient
from sqlalchemy import delete, select

from consent import log
from consent.errors import LogFault
from consent.keys import FileKeyStore, Vault
from consent.model import EventType, LogEvent
from consent.store import log_entry, log_head, log_published, log_tile
from gateway import migrations, parts
from gateway.app import create_app
from gateway.db import SqlDatabase
from gateway.settings import Settings, StartRefused
from services import store as services_store

Client = AsyncTestClient[Litestar]


async def published_size(database: SqlDatabase) -> int:
    async with database.read() as conn:
        return (await conn.execute(select(log_published.c.size))).scalar_one_or_none() or 0


async def append_event(settings: Settings, database: SqlDatabase) -> None:
    vault = Vault(FileKeyStore(settings.key_folder))
    async with database.write() as conn:
        await log.append(conn, vault, [LogEvent(type=EventType.KEY_ROTATED, subject="operator")])


async def anchored(settings: Settings) -> None:
    """Run the gateway until its sequencer has published one event."""
    async with AsyncTestClient(create_app(settings)):
        database = SqlDatabase(settings.database_url)
        await append_event(settings, database)
        async with asyncio.timeout(10):
            while not await published_size(database):
                await database.wait_for_hint(log.READY_TOPIC, 0.1)
        await database.aclose()


async def test_every_answer_has_the_security_headers(gateway_client: Client) -> None:
    for path in ("/health/live", "/nowhere", "/oauth/jwks", "/api/v1/session"):
        headers = (await gateway_client.get(path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["referrer-policy"] == "no-referrer"
        assert "x-request-id" in headers
        assert "server" not in headers
        assert "strict-transport-security" not in headers  # plain http, on loopback


async def test_https_gateway_asks_browsers_to_stay_with_https(gateway_settings: Settings) -> None:
    settings = msgspec.structs.replace(gateway_settings, public_url="https://onestop.example")

    async with AsyncTestClient(create_app(settings)) as client:
        headers = (await client.get("/health/live")).headers

    assert "max-age=" in headers["strict-transport-security"]


async def test_only_what_says_so_may_be_cached(gateway_client: Client) -> None:
    cached = (await gateway_client.get("/oauth/jwks")).headers["cache-control"]

    assert "max-age=300" in cached
    for path in ("/health/live", "/nowhere", "/oauth/status/0", "/api/v1/session"):
        assert "no-store" in (await gateway_client.get(path)).headers["cache-control"]


async def test_body_over_the_bound_is_refused(gateway_client: Client) -> None:
    response = await gateway_client.post("/logout", content=b"x" * 300_000)

    assert response.status_code in {401, 403, 413}
    assert response.headers["content-type"] == "application/problem+json"


async def test_keys_are_published_without_their_private_halves(gateway_client: Client) -> None:
    published = (await gateway_client.get("/oauth/jwks")).json()["keys"]

    assert len({key["kid"] for key in published}) == len(published) >= 4
    for key in published:
        assert set(key) == {"kty", "crv", "x", "y", "kid", "use", "alg"}


async def test_status_list_is_a_signed_token_and_unknown_lists_are_not_found(gateway_client: Client) -> None:
    response = await gateway_client.get("/oauth/status/0")

    assert response.headers["content-type"].startswith("application/statuslist+jwt")
    assert re.fullmatch(r"[\w-]+\.[\w-]+\.[\w-]+", response.text)
    assert (await gateway_client.get("/oauth/status/0")).text == response.text  # kept for a moment
    assert (await gateway_client.get("/oauth/status/1")).status_code == 404
    assert (await gateway_client.get("/oauth/status/x")).status_code == 404


async def test_gateway_sequences_and_publishes_the_log(gateway_settings: Settings) -> None:
    await anchored(gateway_settings)


async def refusal(settings: Settings) -> str:
    with pytest.raises(StartRefused) as refused:
        async with parts.opened(settings):
            pass
    sentence = str(refused.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    return sentence


async def test_database_at_another_revision_stops_the_start(gateway_settings: Settings) -> None:
    database = SqlDatabase(gateway_settings.database_url)
    await migrations.downgrade(database)
    await database.aclose()

    assert "onestop migrate" in await refusal(gateway_settings)


async def test_missing_deployment_file_stops_the_start(gateway_settings: Settings) -> None:
    gateway_settings.agencies_file.unlink()

    assert "agencies.toml" in await refusal(gateway_settings)


async def test_moved_legal_clock_stops_the_start_unless_it_may_move(gateway_settings: Settings) -> None:
    database = SqlDatabase(gateway_settings.database_url)
    async with database.write() as conn:
        await services_store.move_legal_clock(conn, 3)
    await database.aclose()

    assert "ONESTOP_LEGAL_CLOCK" in await refusal(gateway_settings)
    async with parts.opened(msgspec.structs.replace(gateway_settings, legal_clock="movable")):
        pass


async def test_restored_backup_stops_the_start(gateway_settings: Settings) -> None:
    await anchored(gateway_settings)
    database = SqlDatabase(gateway_settings.database_url)
    async with database.write() as conn:
        for table in (log_entry, log_head, log_tile, log_published):
            await conn.execute(delete(table))
    await database.aclose()

    assert "log cannot be continued" in await refusal(gateway_settings)


async def test_fault_in_the_background_is_raised_by_the_worker(gateway_settings: Settings) -> None:
    await anchored(gateway_settings)
    async with parts.opened(gateway_settings) as opened:
        async with opened.database.write() as conn:
            await conn.execute(delete(log_tile))
        await append_event(gateway_settings, opened.database)

        with pytest.raises(LogFault):
            async with asyncio.timeout(10):
                await parts.work(opened, asyncio.Event())


async def test_lost_keys_beside_a_database_with_records_stop_the_start(gateway_settings: Settings) -> None:
    await anchored(gateway_settings)
    shutil.rmtree(gateway_settings.key_folder)

    assert "holds no master key" in await refusal(gateway_settings)


async def test_other_log_keys_than_those_of_the_log_stop_the_start(gateway_settings: Settings) -> None:
    await anchored(gateway_settings)
    (gateway_settings.key_folder / "log-ed25519.pem").unlink()

    assert "signed with other keys" in await refusal(gateway_settings)


async def test_all_keys_are_there_before_the_first_request(gateway_settings: Settings) -> None:
    async with parts.opened(gateway_settings):
        made = {path.name for path in gateway_settings.key_folder.iterdir()}

    assert {"master-1.key", "index.key", "log-ed25519.pem", "log-mldsa44.pem"} <= made
    assert {"es256-agency-token.pem", "es256-dpop.pem", "es256-oidc-client.pem"} <= made


@pytest.mark.parametrize("path", ["/", "/cases", "/cases/019ab000-0000-7000-8000-000000000001"])
async def test_browser_is_told_where_things_are(gateway_client: Client, path: str) -> None:
    page = await gateway_client.get(path)

    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert "/api/v1/services" in page.text
