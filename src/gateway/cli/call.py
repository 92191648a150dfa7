"""`call`: calls to agencies that do not get on by themselves."""

from uuid import UUID

import click

from consent import log as consent_log
from consent.database import machine_time
from consent.keys import OPERATOR, FileKeyStore, Vault
from consent.model import EventType, LogEvent
from gateway.cli import environment
from gateway.db import SqlDatabase
from gateway.settings import Settings, StartRefused
from services import calls


@click.group()
def call() -> None:
    """Look at calls that are dead or of unknown outcome, and have one tried again."""


@call.command("list")
def list_calls() -> None:
    """List dead calls and those whose outcome is unknown, oldest first.

    \b
    Example:
        onestop call list
    """
    for found in environment.run(_stuck(environment.settings())):
        click.echo(
            f"{found.call_id}  {found.status:8} {found.agency} {found.operation}  case {found.case_number}  "
            f"attempts {found.attempts}  {found.reason}"
        )


@call.command("retry")
@click.argument("call_id", type=click.UUID)
@click.option("--by", required=True, help="Who has it tried again; logged.")
@click.option("--reason", required=True, help="Why; logged. No personal data.")
def retry_call(call_id: UUID, by: str, reason: str) -> None:
    """Have a dead call tried again: the agency is asked what became of it before it is sent.

    \b
    Example:
        onestop call retry 01a20560-3f20-7873-8cd4-93e3352fcb20 --by lin --reason "agency is back"
    """
    settings = environment.settings()
    if not environment.run(_retry(settings, call_id, by, reason)):
        raise StartRefused(f"There is no dead call {call_id}.")
    click.echo(f"The call {call_id} is due.")


async def _stuck(settings: Settings) -> list[calls.Call]:
    database = SqlDatabase(settings.database_url)
    try:
        async with database.read() as conn:
            return await calls.stuck(conn)
    finally:
        await database.aclose()


async def _retry(settings: Settings, call_id: UUID, by: str, reason: str) -> bool:
    """Revive the call and log who did it, in one transaction."""
    database = SqlDatabase(settings.database_url)
    vault = Vault(FileKeyStore(settings.key_folder))
    try:
        async with database.write() as conn:
            revived = await calls.retry(conn, call_id, await machine_time(conn))
            if revived:
                event = LogEvent(
                    type=EventType.OPERATOR_OVERRIDE,
                    subject=OPERATOR,
                    call=str(call_id),
                    details={"act": "call.retry", "by": by, "reason": reason},
                )
                await consent_log.append(conn, vault, [event])
            return revived
    finally:
        await database.aclose()
