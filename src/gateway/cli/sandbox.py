"""`sandbox`: the agency sandboxes and the identity provider's, in one process. Never in production.

Sandboxes are no part of the product, which is why they are found by name when this command runs.
"""

import asyncio
import contextlib
import importlib
import signal
import socket
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import uvicorn

from gateway.cli import environment
from gateway.db import SqlDatabase
from gateway.identity.oidc import CALLBACK_PATH
from gateway.settings import Settings, StartRefused
from services import store

HOST = "127.0.0.1"
AGENCIES_PORT = 8100


@click.command()
@click.option("--faults", type=click.Path(path_type=Path, dir_okay=False), help="Faults to come (JSON).")
@click.option("--port", default=AGENCIES_PORT, show_default=True, help="Port of the agency sandboxes.")
def sandbox(faults: Path | None, port: int) -> None:
    """Run all agency sandboxes, and the sandbox identity provider at the port of ONESTOP_OIDC_ISSUER.

    They write where they are to `agencies.toml` beside their keys, where the default settings look for it.

    \b
    Example:
        onestop sandbox --faults faults.json
    """
    settings = environment.settings()
    with contextlib.suppress(KeyboardInterrupt):
        environment.run(_serve(settings, faults, port))


async def _serve(settings: Settings, faults: Path | None, port: int) -> None:
    kit = importlib.import_module("adapters.sandbox_kit")
    provider = importlib.import_module("adapters.sandbox_idp")
    async with contextlib.AsyncExitStack() as stack:
        database = SqlDatabase(settings.database_url)
        stack.push_async_callback(database.aclose)

        async def move_legal_clock(days: int) -> int:
            if settings.legal_clock != "movable":
                raise StartRefused("Legal time is fixed; ONESTOP_LEGAL_CLOCK=movable lets a sandbox move it.")
            async with database.write() as conn:
                await store.move_legal_clock(conn, days)
                return await store.legal_offset_seconds(conn) // 86_400

        folder = settings.agencies_file.parent
        agencies = kit.create_app(
            kit.SandboxConfig(
                base_url=f"http://{HOST}:{port}",
                gateway_issuer=settings.public_url,
                folder=folder,
                move_legal_clock=move_legal_clock,
                faults=_load_faults(kit, faults),
            )
        )
        client = provider.Client(
            client_id=settings.oidc_client_id,
            redirect_uris=(settings.public_url + CALLBACK_PATH,),
            jwks_url=f"{settings.public_url}/oauth/jwks",
        )
        people = provider.create_app(
            provider.IdpConfig(issuer=settings.oidc_issuer, clients=(client,), folder=folder)
        )
        await _run_until_told(
            {
                port: kit.server_config(agencies, HOST, port),
                urlsplit(settings.oidc_issuer).port or 80: uvicorn.Config(people, log_level="warning"),
            }
        )


def _load_faults(kit: Any, path: Path | None) -> Any:
    try:
        return kit.load_faults(path) if path else ()
    except (OSError, ValueError) as error:
        raise StartRefused(f"{path} is no profile of faults: {error}.") from error


class _Server(uvicorn.Server):
    """A server that leaves signals alone: two of them share this process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Nothing is captured."""
        yield


async def _run_until_told(configs: Mapping[int, uvicorn.Config]) -> None:
    """Serve each on its port until a signal comes or one of them ends."""
    servers = [(_Server(config), _listen(port)) for port, config in configs.items()]

    def stop() -> None:
        for server, _ in servers:
            server.should_exit = True

    async def run(server: uvicorn.Server, listener: socket.socket) -> None:
        await server.serve(sockets=[listener])
        stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    async with asyncio.TaskGroup() as tasks:
        for server, listener in servers:
            tasks.create_task(run(server, listener))


def _listen(port: int) -> socket.socket:
    try:
        return socket.create_server((HOST, port))
    except OSError as error:
        raise StartRefused(f"{HOST}:{port} cannot be listened on: {error.strerror}.") from error
