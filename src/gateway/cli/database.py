"""`migrate`: brings the database to the schema of this release."""

import click

from consent.second_store import SqlSecondStore
from gateway import migrations
from gateway.cli import environment
from gateway.db import SqlDatabase
from gateway.settings import Settings


@click.command()
def migrate() -> None:
    """Bring database and second store to this release's schema; do nothing where they are.

    \b
    Example:
        ONESTOP_DATABASE_URL=postgresql://onestop@db/onestop onestop migrate
    """
    settings = environment.settings()
    environment.run(run(settings))
    click.echo(f"The database is at revision {migrations.head()}.")


async def run(settings: Settings) -> None:
    """Migrate both."""
    for url in (settings.database_url, settings.second_store_url):
        migrations.make_folder(url)
    database, second = SqlDatabase(settings.database_url), SqlDatabase(settings.second_store_url)
    try:
        await migrations.upgrade(database)
        await SqlSecondStore(second).create()
    finally:
        await database.aclose()
        await second.aclose()
