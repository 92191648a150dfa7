"""`audit`: the log, checked by whoever does not want to believe it."""

import click
import msgspec
from rich.console import Console
from rich.progress import Progress

from consent import audit as audit_log
from consent.checkpoint import public_keys
from consent.errors import LogFault
from consent.keys import FileKeyStore
from consent.second_store import SqlSecondStore
from gateway import parts
from gateway.cli import environment
from gateway.db import SqlDatabase
from gateway.settings import Settings, StartRefused


@click.group()
def audit() -> None:
    """Check the log of lawful bases, calls and releases."""


@audit.command("verify")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
def verify_log(as_json: bool) -> None:
    """Read the whole log again: every leaf, tile, signed head and event. Non-zero on any fault.

    \b
    Example:
        onestop audit verify
    """
    settings = environment.settings()
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("leaves", total=None)
        report = environment.run(
            _verify(settings, lambda done, total: progress.update(task, completed=done, total=total))
        )
    if as_json:
        result = {"size": report.size, "root": report.root.hex(), "heads": report.heads, "verified": True}
        click.echo(msgspec.json.encode(result))
        return
    click.echo(
        f"The log holds {report.size} leaves under {report.heads} signed heads; root {report.root.hex()}; "
        f"{report.published} leaves are anchored, {report.pending} wait. No fault was found."
    )


async def _verify(settings: Settings, progress: audit_log.Progress) -> audit_log.Report:
    database, second = SqlDatabase(settings.database_url), SqlDatabase(settings.second_store_url)
    keys = public_keys(FileKeyStore(settings.key_folder))
    try:
        await parts.check_schema(database)
        return await audit_log.verify(database, SqlSecondStore(second), keys, settings.log_origin, progress)
    except LogFault as error:
        raise StartRefused(f"The log does not verify: {error}.") from error
    finally:
        await database.aclose()
        await second.aclose()
