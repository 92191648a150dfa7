"""The command line, `onestop`: one module a group of commands.

Settings come from the environment (docs/settings.md). A command that cannot do its work says why in one
sentence and ends with status 1. Modules are loaded when their command runs, so that `--help` is quick and a
process holds only what it needs.
"""

import importlib
from collections.abc import Mapping

import click
from sqlalchemy.exc import SQLAlchemyError

from gateway.settings import StartRefused

# Command -> module and function; a further command is a line here.
COMMANDS: Mapping[str, str] = {
    "serve": "gateway.cli.processes:serve",
    "worker": "gateway.cli.processes:worker",
    "sandbox": "gateway.cli.sandbox:sandbox",
    "demo": "gateway.cli.demo:demo",
    "migrate": "gateway.cli.database:migrate",
    "doctor": "gateway.cli.doctor:doctor",
    "audit": "gateway.cli.audit:audit",
    "call": "gateway.cli.call:call",
    "document": "gateway.cli.document:document",
}


class Commands(click.Group):
    """Commands by name, each imported when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The command of this name."""
        if name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; a refusal to start becomes click's one line and status 1."""
        try:
            return super().invoke(ctx)
        except StartRefused as error:
            raise click.ClickException(str(error)) from error
        except (SQLAlchemyError, OSError) as error:
            # The kind alone: a driver's message may quote an address with its password.
            raise click.ClickException(f"The database cannot be used ({type(error).__name__}).") from error


@click.command(cls=Commands)
@click.version_option(package_name="onestop", message="%(package)s %(version)s")
def main() -> None:
    """A single window for government services: gateway, workers, sandboxes and their care.

    \b
    Example, on a laptop:
        onestop migrate
        onestop sandbox &
        onestop serve
    """
