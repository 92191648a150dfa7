"""`doctor`: looks at everything a process needs, and says what is wrong with each."""

import datetime as dt
import stat
from collections.abc import Awaitable, Callable, Mapping

import click

from adapters.errors import AdapterError
from adapters.manifest import load_deployments
from adapters.registry import Registry, kinds
from consent.database import machine_time
from consent.errors import ConsentError
from consent.keys import FileKeyStore
from consent.second_store import SqlSecondStore
from consent.sequencer import Sequencer
from consent.token import TokenMinter
from gateway import parts
from gateway.cli import environment
from gateway.db import SqlDatabase
from gateway.identity.errors import IdentityError
from gateway.identity.provider import Provider
from gateway.settings import Settings, StartRefused

CLOCK_SKEW_SECONDS_MAX = 2.0

Check = Callable[[Settings], Awaitable[str]]


@click.command()
def doctor() -> None:
    """Check settings, database, keys, log, clock, agencies and identity provider. Non-zero on any fault.

    \b
    Example:
        onestop doctor
    """
    settings = environment.settings()
    faults = environment.run(_examine(settings))
    if faults:
        raise click.ClickException(f"{faults} of {len(CHECKS)} checks failed.")


async def _examine(settings: Settings) -> int:
    faults = 0
    for title, check in CHECKS.items():
        try:
            line = f"ok     {title}: {await check(settings)}"
        except (StartRefused, ConsentError, AdapterError, IdentityError) as error:
            line = f"FAULT  {title}: {error}"
        except Exception as error:  # a driver's message may quote an address with its password
            line = f"FAULT  {title}: {type(error).__name__}"
        faults += line.startswith("FAULT")
        click.echo(line)
    return faults


async def _database(settings: Settings) -> str:
    database = SqlDatabase(settings.database_url)
    try:
        await parts.check_schema(database)
        await parts.check_legal_clock(settings, database)
    finally:
        await database.aclose()
    return "reachable, at this release's revision"


async def _clock(settings: Settings) -> str:
    database = SqlDatabase(settings.database_url)
    try:
        async with database.read() as conn:
            skew = (dt.datetime.now(dt.UTC) - await machine_time(conn)).total_seconds()
    finally:
        await database.aclose()
    if abs(skew) > CLOCK_SKEW_SECONDS_MAX:
        raise StartRefused(f"this machine is {skew:+.1f} s beside the database")
    return f"{skew:+.1f} s beside the database"


async def _keys(settings: Settings) -> str:
    mode = stat.S_IMODE(settings.key_folder.stat().st_mode)
    if mode & 0o077:
        raise StartRefused(f"the folder has mode {mode:o}, expected 700")
    loose = [path.name for path in settings.key_folder.iterdir() if path.stat().st_mode & 0o077]
    if loose:
        raise StartRefused(f"others may read {', '.join(sorted(loose)[:5])}")
    version, _ = FileKeyStore(settings.key_folder).master_key()
    return f"private, master key version {version}"


async def _log(settings: Settings) -> str:
    database, second = SqlDatabase(settings.database_url), SqlDatabase(settings.second_store_url)
    key_store = FileKeyStore(settings.key_folder)
    try:
        await parts.check_log(Sequencer(database, SqlSecondStore(second), key_store, settings.log_origin))
    finally:
        await database.aclose()
        await second.aclose()
    return "continues what the second store remembers"


async def _agencies(settings: Settings) -> str:
    key_store = FileKeyStore(settings.key_folder)
    minter = TokenMinter(settings.public_url, key_store, lambda n: parts.status_uri(settings, n))
    registry = Registry(kinds(), load_deployments(settings.agencies_file), minter, key_store)
    try:
        silent = []
        for name in sorted(registry.names):
            try:
                await registry.keys_of(name)
            except AdapterError as error:
                silent.append(f"{name} ({error})")
    finally:
        await registry.aclose()
    if silent:
        raise StartRefused(f"no keys from {'; '.join(silent)}")
    return f"{len(registry.names)} answer with their keys"


async def _identity_provider(settings: Settings) -> str:
    provider = Provider(settings.oidc_issuer)
    try:
        await provider.published()
    finally:
        await provider.aclose()
    return "publishes what a login needs"


CHECKS: Mapping[str, Check] = {
    "database": _database,
    "clock": _clock,
    "keys": _keys,
    "log": _log,
    "agencies": _agencies,
    "identity provider": _identity_provider,
}
