"""A whole installation on loopback: sandboxes, gateway, workers, each a process of its own.

Everything is started by the commands an operator would use, on free ports, with a folder of its own. Output
goes to `<name>.log` in that folder.
"""

import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import httpx
from sqlalchemy import select

from gateway.applicant import Applicant
from gateway.db import SqlDatabase
from services.store import agency_call

ONESTOP = ("-m", "gateway.cli")
START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 20.0


class StoredCall(NamedTuple):
    """An agency call as it stands in the database."""

    call_id: UUID
    agency: str
    operation: str
    status: str
    fence: int


class World:
    """One installation. `start` brings up sandboxes and gateway; `stop` ends whatever runs."""

    def __init__(self, folder: Path, database_url: str, second_store_url: str) -> None:
        self.folder = folder
        self.database_url = database_url
        gateway, sandbox, provider = _free_ports(3)
        self.url = f"http://127.0.0.1:{gateway}"
        self.sandbox_url = f"http://127.0.0.1:{sandbox}"
        self.sandbox_port = sandbox
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("ONESTOP_")},
            "ONESTOP_DATABASE_URL": database_url,
            "ONESTOP_SECOND_STORE_URL": second_store_url,
            "ONESTOP_KEY_FOLDER": str(folder / "keys"),
            "ONESTOP_PUBLIC_URL": self.url,
            "ONESTOP_BIND_PORT": str(gateway),
            "ONESTOP_OIDC_ISSUER": f"http://127.0.0.1:{provider}",
            "ONESTOP_AGENCIES_FILE": str(folder / "sandbox" / "agencies.toml"),
            "ONESTOP_LEGAL_CLOCK": "movable",
        }

    @property
    def on_sqlite(self) -> bool:
        """Whether the gateway itself does the background work."""
        return self.database_url.startswith("sqlite:")

    def start(self, workers: int = 1) -> None:
        """Migrate, then start the sandboxes, the gateway and, on PostgreSQL, workers."""
        done = self.command("migrate")
        assert done.returncode == 0, done.stderr
        self.start_process("sandbox", "--port", str(self.sandbox_port))
        self._wait_for("sandbox", f"{self.sandbox_url}/nia/jwks.json")
        self.start_gateway()
        if not self.on_sqlite:
            for number in range(workers):
                self.start_process(f"worker-{number}")

    def start_gateway(self, program: Sequence[str] = ONESTOP) -> None:
        """Start the gateway and wait until it is ready."""
        self.start_process("serve", program=program)
        self._wait_for("serve", f"{self.url}/health/ready")

    def start_process(self, name: str, *arguments: str, program: Sequence[str] = ONESTOP) -> None:
        """Start `onestop <name>`; a number behind a dash only tells several of one kind apart.

        `program` is what Python runs, where that is more than `onestop`.
        """
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, *program, name.partition("-")[0], *arguments],
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
            )

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `onestop <arguments>` to its end."""
        return subprocess.run(
            [sys.executable, *ONESTOP, *arguments],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=START_SECONDS_MAX,
            check=False,
        )

    @property
    def working(self) -> list[str]:
        """Names of the product's own processes that run: the gateway and its workers."""
        return [name for name in self._processes if name != "sandbox"]

    def runs(self, name: str) -> bool:
        """Whether a process that was started has not ended."""
        return self._processes[name].poll() is None

    def kill(self, *names: str) -> None:
        """kill -9, all of them at once."""
        killed = [self._processes.pop(name) for name in names]
        for process in killed:
            process.kill()
        for process in killed:
            process.wait(STOP_SECONDS_MAX)

    def pause(self, *names: str) -> None:
        """Have processes stand still where they are."""
        for name in names:
            self._processes[name].send_signal(signal.SIGSTOP)

    def resume(self, *names: str) -> None:
        """Have paused processes go on."""
        for name in names:
            self._processes[name].send_signal(signal.SIGCONT)

    def start_again(self, *names: str) -> None:
        """Start processes that were killed."""
        for name in names:
            if name == "serve":
                self.start_gateway()
            else:
                self.start_process(name)

    def terminate(self, name: str) -> None:
        """Ask a process to end; see `ended`."""
        self._processes[name].send_signal(signal.SIGTERM)

    def ended(self, name: str) -> int:
        """Wait for a process to end; its exit status."""
        return self._processes.pop(name).wait(STOP_SECONDS_MAX)

    def limit_files(self, name: str, bytes_max: int = resource.RLIM_INFINITY) -> None:
        """Let a process write no file beyond this size, as on a full disk; without a size, lift that."""
        pid = self._processes[name].pid
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (bytes_max, hard))

    def stop(self) -> None:
        """End everything; a process that does not end in time has not shut down gracefully."""
        for process in self._processes.values():
            process.send_signal(signal.SIGTERM)
        for name, process in self._processes.items():
            try:
                process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                process.kill()
                raise AssertionError(f"'{name}' did not end within {STOP_SECONDS_MAX} s") from None

    def applicant(self) -> Applicant:
        """A person at a browser."""
        return Applicant(self.url)

    def output(self, name: str) -> str:
        """What a process has written so far."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    async def fault(self, **fault: Any) -> None:
        """Have a sandbox misbehave."""
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.post(f"{self.sandbox_url}/sandbox/faults", json=fault)
        assert answer.is_success, answer.text

    async def clear_faults(self) -> None:
        """Have all sandboxes behave."""
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.delete(f"{self.sandbox_url}/sandbox/faults")
        assert answer.is_success, answer.text

    async def move_legal_clock(self, days: int) -> None:
        """Move legal time ahead."""
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.post(f"{self.sandbox_url}/sandbox/clock", json={"days": days})
        assert answer.is_success, answer.text

    async def effects(self) -> dict[str, dict[str, dict[str, int]]]:
        """How often each call took effect: agency -> operation -> call -> count."""
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.get(f"{self.sandbox_url}/sandbox/effects")
        found: dict[str, dict[str, dict[str, int]]] = answer.json()["effects"]
        return found

    async def calls(self) -> list[StoredCall]:
        """Every agency call, from the database itself."""
        database = SqlDatabase(self.database_url)
        columns = [agency_call.c[name] for name in StoredCall._fields]
        try:
            async with database.read() as conn:
                return [StoredCall(*row) for row in (await conn.execute(select(*columns))).all()]
        finally:
            await database.aclose()

    async def histories(self) -> dict[UUID, list[str]]:
        """What happened to each call at its agency, in order."""
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.get(f"{self.sandbox_url}/sandbox/effects")
        return {UUID(call["call"]): call["history"] for call in answer.json()["calls"]}

    def _wait_for(self, name: str, url: str) -> None:
        end = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < end:
            assert self._processes[name].poll() is None, self.output(name)[-2000:]
            try:
                if httpx.get(url, timeout=1.0, trust_env=False).status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            time.sleep(0.1)
        raise AssertionError(f"'{name}' was not ready in time: {self.output(name)[-2000:]}")


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens on at the moment."""
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports
