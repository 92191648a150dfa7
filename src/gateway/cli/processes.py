"""`serve` and `worker`: the processes that run day and night."""

import asyncio
import signal

import click
import msgspec
import structlog

from consent.errors import ConsentError
from gateway import parts, server
from gateway.cli import environment
from gateway.settings import WORKERS_MAX, Settings, StartRefused

log = structlog.get_logger(__name__)


@click.command()
@click.option(
    "--workers",
    type=click.IntRange(1, WORKERS_MAX),
    help="Gateway processes; else ONESTOP_WORKERS.",
)
def serve(workers: int | None) -> None:
    """Serve HTTP to citizens, agencies and auditors until told to stop.

    On SQLite the outbox worker and the sequencer run inside; on PostgreSQL run `onestop worker` beside it.

    \b
    Example:
        ONESTOP_PUBLIC_URL=https://onestop.example onestop serve --workers 4
    """
    settings = environment.settings()
    server.serve(msgspec.structs.replace(settings, workers=workers or settings.workers))


@click.command()
def worker() -> None:
    """Make agency calls and sequence the log until told to stop. Any number, on any machine.

    \b
    Example:
        ONESTOP_DATABASE_URL=postgresql://onestop@db/onestop onestop worker
    """
    settings = environment.settings()
    try:
        environment.run(_work(settings))
    except ConsentError as error:
        raise StartRefused(f"The worker stopped: {error}.") from error


async def _work(settings: Settings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with parts.opened(settings) as opened:
        log.info("worker started")
        await parts.work(opened, stop)
