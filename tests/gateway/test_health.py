"""Live says that the process answers; ready says that it can do its work now."""

import datetime as dt

import msgspec
from litestar import Litestar
from litestar.testing import AsyncTestClient
from sqlalchemy import insert

from consent.store import log_head
from gateway import migrations
from gateway.app import create_app
from gateway.db import SqlDatabase
from gateway.settings import Settings

Client = AsyncTestClient[Litestar]


async def test_running_gateway_is_live_and_ready(gateway_client: Client) -> None:
    live, ready = await gateway_client.get("/health/live"), await gateway_client.get("/health/ready")

    assert (live.status_code, live.json()) == (200, {"status": "live"})
    assert ready.status_code == 200
    assert ready.json() == {
        "status": "ready",
        "accepting": True,
        "database": True,
        "migrations": True,
        "log": True,
    }


async def test_gateway_that_is_about_to_stop_is_live_but_not_ready(gateway_settings: Settings) -> None:
    app = create_app(gateway_settings)
    async with AsyncTestClient(app) as client:
        app.state.draining = True
        live, ready = await client.get("/health/live"), await client.get("/health/ready")

    assert live.status_code == 200
    assert ready.status_code == 503
    assert ready.headers["retry-after"].isdigit()
    assert not ready.json()["accepting"]


async def test_database_at_another_revision_is_not_ready(gateway_settings: Settings) -> None:
    async with AsyncTestClient(create_app(gateway_settings)) as client:
        database = SqlDatabase(gateway_settings.database_url)
        await migrations.downgrade(database)
        await database.aclose()
        ready = await client.get("/health/ready")

    assert ready.status_code == 503
    assert (ready.json()["database"], ready.json()["migrations"]) == (True, False)


async def test_log_that_is_not_anchored_for_long_is_not_ready(gateway_settings: Settings) -> None:
    app = create_app(msgspec.structs.replace(gateway_settings, embedded_worker=False))
    async with AsyncTestClient(app) as client:
        database = SqlDatabase(gateway_settings.database_url)
        long_ago = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=5)
        async with database.write() as conn:
            await conn.execute(insert(log_head).values(size=1, root=b"r", time=long_ago, note=b"n"))
        await database.aclose()
        ready = await client.get("/health/ready")

    assert ready.status_code == 503
    assert (ready.json()["migrations"], ready.json()["log"]) == (True, False)


async def test_unreachable_database_is_not_ready_and_no_error(gateway_settings: Settings) -> None:
    app = create_app(msgspec.structs.replace(gateway_settings, embedded_worker=False))
    async with AsyncTestClient(app) as client:
        # A database of which the pool hands out nothing any more: no connection can be had in time.
        held = [await app.state.parts.database.engine.connect() for _ in range(20)]
        ready = await client.get("/health/ready")
        for connection in held:
            await connection.close()

    assert ready.status_code == 503
    assert not ready.json()["database"]
