"""A gateway on a migrated database, once on each kind of database."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from litestar import Litestar
from litestar.testing import AsyncTestClient

from consent.second_store import SqlSecondStore
from gateway import migrations
from gateway.app import create_app
from gateway.db import SqlDatabase
from gateway.settings import Settings


async def migrate(settings: Settings) -> None:
    """Do what `onestop migrate` does."""
    for url in (settings.database_url, settings.second_store_url):
        migrations.make_folder(url)
    database, second = SqlDatabase(settings.database_url), SqlDatabase(settings.second_store_url)
    await migrations.upgrade(database)
    await SqlSecondStore(second).create()
    await database.aclose()
    await second.aclose()


@pytest.fixture
async def gateway_settings(database_url: str, second_store_url: str, tmp_path: Path) -> Settings:
    """Settings of a gateway with an empty, migrated database and no agencies."""
    agencies = tmp_path / "agencies.toml"
    agencies.write_text("[agencies]\n")
    settings = Settings(
        database_url=database_url,
        second_store_url=second_store_url,
        key_folder=tmp_path / "keys",
        agencies_file=agencies,
        embedded_worker=True,
    )
    await migrate(settings)
    return settings


@pytest.fixture
async def gateway_client(gateway_settings: Settings) -> AsyncIterator[AsyncTestClient[Litestar]]:
    """A client of that gateway, within its lifespan."""
    async with AsyncTestClient(create_app(gateway_settings)) as client:
        yield client
