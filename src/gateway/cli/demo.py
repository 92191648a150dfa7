"""`demo`: one application from login to approval, on this machine, for whoever wants to see it."""

from pathlib import Path

import click

from gateway import demo as walk
from gateway.cli import environment


@click.command()
@click.option("--once", is_flag=True, help="End after the walk instead of serving on.")
@click.option("--sandbox-port", default=8100, show_default=True, help="Port of the agency sandboxes.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("demo-output"),
    show_default=True,
    help="Folder for the documents and summary.json.",
)
def demo(once: bool, output: Path, sandbox_port: int) -> None:
    """Start gateway and sandboxes, walk an application through them, check everything that is claimed.

    \b
    Example:
        onestop demo --once
    """
    try:
        status = walk.run(environment.settings(), output, sandbox_port=sandbox_port, once=once)
    except walk.DemoFailed as error:
        raise click.ClickException(str(error)) from error
    if status:
        raise click.exceptions.Exit(status)
