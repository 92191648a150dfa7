"""Two gateways behind one address and two workers, with the settings of `deploy/compose.yaml`.

The door stands in for the reverse proxy: it gives each new connection to the next gateway, and to the other
one where the first does not take it. People ask for a new connection with every request, so that two requests
in a row are never answered by the same gateway while both live.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import pytest_asyncio

from tests.conftest import Cluster
from tests.journey import steps
from tests.journey.patience import Patient, check_every_call_ended_once, check_nothing_lost
from tests.journey.world import START_SECONDS_MAX, World, _free_ports

SETTINGS = Path(__file__).parents[2] / "deploy" / "settings" / "compose.env"
PIECE_BYTES = 64 * 1024

pytestmark = pytest.mark.asyncio(loop_scope="module")  # one installation, and one loop for its door


class Door:
    """One address for several ports of this machine."""

    def __init__(self, ports: list[int]) -> None:
        self.taken = dict.fromkeys(ports, 0)
        self._next = 0
        self._open: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def opened(self, port: int) -> AsyncIterator[None]:
        """Listen at this port."""
        async with await asyncio.start_server(self._carry, "127.0.0.1", port):
            yield
            for task in self._open:
                task.cancel()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        task.add_done_callback(self._open.discard)
        with contextlib.closing(writer), contextlib.suppress(OSError, asyncio.CancelledError):
            far_reader, far_writer = await self._connect()
            with contextlib.closing(far_writer):
                ways = [_copy(reader, far_writer), _copy(far_reader, writer)]
                await asyncio.gather(*ways)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to the next gateway that takes one. Raises OSError where none does."""
        for _ in range(len(self.taken)):
            port = list(self.taken)[self._next % len(self.taken)]
            self._next += 1
            with contextlib.suppress(ConnectionError):
                connection = await asyncio.open_connection("127.0.0.1", port)
                self.taken[port] += 1
                return connection
        raise ConnectionRefusedError


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(PIECE_BYTES):
        writer.write(piece)
        await writer.drain()
    writer.close()


class TwoGateways(World):
    """An installation whose address is a door's, with two gateways behind it."""

    def __init__(self, folder: Path, cluster: Cluster) -> None:
        super().__init__(folder, cluster.create_database(), cluster.create_database())
        self.ports = _free_ports(2)
        self.door = Door(self.ports)
        lines = [line for line in SETTINGS.read_text().splitlines() if line.startswith("ONESTOP_")]
        # Addresses and folders are this machine's; all else is as in the containers.
        self.environment = dict(line.split("=", 1) for line in lines) | self.environment

    def start_gateway(self, program: object = None) -> None:
        """Start both and wait until each is ready."""
        for number in range(len(self.ports)):
            self.start_numbered(number)
        for number in range(len(self.ports)):
            self.wait_ready(number)

    def start_numbered(self, number: int) -> None:
        """Start one of them."""
        self.environment["ONESTOP_BIND_PORT"] = str(self.ports[number])
        self.start_process(f"serve-{number}")

    def wait_ready(self, number: int) -> None:
        """Wait until this one is ready."""
        address = f"http://127.0.0.1:{self.ports[number]}/health/ready"
        host = {"Host": urlsplit(self.url).netloc}
        end = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < end:
            assert self.runs(f"serve-{number}"), self.output(f"serve-{number}")[-2000:]
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(address, headers=host, timeout=1.0, trust_env=False).status_code == 200:
                    return
            time.sleep(0.1)
        raise AssertionError(self.output(f"serve-{number}")[-2000:])

    def person(self) -> Patient:
        """A person whose every request comes by a connection of its own."""
        made = Patient(self.url)
        made._http.headers["Connection"] = "close"
        return made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def office(tmp_path_factory: pytest.TempPathFactory, postgres: Cluster) -> AsyncIterator[TwoGateways]:
    """The installation, with two workers; every test leaves it whole."""
    made = TwoGateways(tmp_path_factory.mktemp("office"), postgres)
    async with made.door.opened(urlsplit(made.url).port or 80):
        try:
            await asyncio.to_thread(made.start, 2)
            yield made
        finally:
            await asyncio.to_thread(made.stop)


async def test_what_one_gateway_did_the_other_knows(office: TwoGateways) -> None:
    before = dict(office.door.taken)
    async with office.person() as ada:
        session = await ada.log_in("ada")
        body = {"service": "gold_card", "language": "en"}
        first = await ada.post("/api/v1/cases", body, key="the-same-key-0001")
        again = await ada.post("/api/v1/cases", body, key="the-same-key-0001")
        opened = first.json()
        await ada.save_form(opened, steps.form())
        path = f"/api/v1/cases/{opened['case_id']}/form"
        stale = await ada.put(path, opened["version"], json=steps.form(contact__email="other@mail.example"))
        left = await ada.post("/logout")
        sessions = [(await ada.get("/api/v1/session")).json() for _ in office.ports]

    assert session["authenticated"]
    assert (first.status_code, first.content) == (again.status_code, again.content)
    assert first.status_code == 201
    assert stale.status_code == 412
    assert left.is_success
    assert [answer["authenticated"] for answer in sessions] == [False, False]
    assert min(office.door.taken[port] - before[port] for port in office.ports) >= 3


async def test_a_gateway_that_stops_is_not_missed_by_those_who_ask(office: TwoGateways) -> None:
    told = asyncio.Event()
    async with office.person() as ada:
        await ada.log_in("ada")
        asking = asyncio.create_task(_ask_until(told, ada))
        office.terminate("serve-1")
        status = await asyncio.to_thread(office.ended, "serve-1")
        await asyncio.to_thread(office.start_numbered, 1)
        await asyncio.to_thread(office.wait_ready, 1)
        told.set()
        statuses = await asking

    assert status == 0
    assert set(statuses) == {200}
    assert ada.again.repeated <= 1  # a connection that came at the very moment at which listening ends


async def test_an_application_goes_over_both_gateways_and_on_when_one_dies(office: TwoGateways) -> None:
    before = dict(office.door.taken)
    async with office.person() as ada:
        await ada.log_in("ada")
        case = await ada.drafted()
        both = [office.door.taken[port] - before[port] for port in office.ports]
        office.kill("serve-0", "worker-1")
        case = await ada.applied(case)
        await check_nothing_lost(office, ada, case)

    assert min(both) > 0
    assert case["state"] == "approved"
    await check_every_call_ended_once(office)
    office.start_numbered(0)
    office.start_process("worker-1")


async def _ask_until(told: asyncio.Event, person: Patient) -> list[int]:
    statuses = []
    while not told.is_set():
        statuses.append((await person.get("/api/v1/cases")).status_code)
    return statuses
