"""Processes are killed, the database restarts, the disk is full: what was acknowledged stays, what was begun
ends.

Each test waits until what it is about is the case (calls are at their agencies), does its harm, and looks at
what came of it.
"""

import asyncio
import random
import secrets
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from gateway.applicant import Applicant
from tests.conftest import Cluster
from tests.journey import steps
from tests.journey.patience import Patient, check_every_call_ended_once, check_nothing_lost
from tests.journey.world import World

SEED = secrets.randbits(32)
WAIT_SECONDS_MAX = 60.0
POLL_SECONDS = 0.02
HOLD_SECONDS = 2.0  # how long an agency keeps a request after it did what was asked
DYING_GATEWAY = (str(Path(__file__).with_name("dying_gateway.py")),)

# Operations of an application in Taiwan after it is filed, and what may happen to a call of each.
OPERATIONS = [
    ("epay", "order"),
    ("nia", "information_check"),
    ("nia", "final_review"),
    ("wda", "qualification_review"),
    ("field_authority:moc", "opinion"),
    ("notify", "send"),
]
FAULTS = ["delay", "timeout_after_effect", "reset_after_effect", "error_after_effect", "lost_callback"]


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait until it holds."""
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        while not await holds():  # noqa: ASYNC110 - what is waited for happens in other processes
            await asyncio.sleep(POLL_SECONDS)


async def in_flight(world: World) -> set[tuple[UUID, int]]:
    """Attempts (call and fence) that a worker holds a lease for and whose request is with the agency."""
    leased = {(call.call_id, call.fence) for call in await world.calls() if call.status == "leased"}
    arrived = await world.histories()
    return {(call, fence) for call, fence in leased if call in arrived}


async def until_started(world: World) -> None:
    """Wait until every worker is at work: one that finds no database when it starts says so and ends."""

    async def all_started() -> bool:
        workers = [name for name in world.working if name != "serve"]
        return all("worker started" in world.output(name) for name in workers)

    await until(all_started)


async def tell_faults(world: World, rng: random.Random, cases: int) -> None:
    """Each operation misbehaves for as many calls as there are cases, so that kills find calls in flight."""
    for agency, operation in OPERATIONS:
        for _ in range(cases):
            kind = rng.choice(FAULTS)
            await world.fault(
                agency=agency, operation=operation, kind=kind, delay_seconds=rng.uniform(0.5, HOLD_SECONDS)
            )


async def kill_at_random(world: World, rng: random.Random, kills: int, applying: asyncio.Future[Any]) -> int:
    """Kill some or all of the product's processes and start them again; returns how many attempts were cut off.

    Counted are attempts at the moments when everything was killed: no process is left then that could finish
    them, so that each was in flight at the kill.
    """
    cut_off: set[tuple[UUID, int]] = set()
    for number in range(kills):
        everything = number == 0 or rng.random() < 0.3
        names = world.working if everything else rng.sample(world.working, rng.randint(1, len(world.working)))
        if not await stand_still_in_flight(world, rng, names, cut_off, applying):
            break
        is_all = len(names) == len(world.working)
        world.kill(*names)
        if is_all:
            cut_off |= await in_flight(world)
        await asyncio.to_thread(world.start_again, *names)
    return len(cut_off)


async def stand_still_in_flight(
    world: World,
    rng: random.Random,
    names: list[str],
    cut_off: set[tuple[UUID, int]],
    applying: asyncio.Future[Any],
) -> bool:
    """Pause these processes at a random moment while more attempts are in flight than those cut off before;
    False when all is done instead."""
    while not applying.done():
        await asyncio.sleep(rng.uniform(0, 0.5))
        world.pause(*names)
        if await in_flight(world) - cut_off:
            return True
        world.resume(*names)
    return False


@pytest.mark.parametrize(("cases", "kills"), [(3, 2), pytest.param(6, 5, marks=pytest.mark.long)])
async def test_killed_processes_lose_nothing_and_repeat_nothing(
    own_world: World, cases: int, kills: int
) -> None:
    print(f"seed {SEED}")  # shown with a failure
    rng = random.Random(SEED)
    people = [Patient(own_world.url) for _ in range(cases)]
    await asyncio.gather(*(person.log_in("ada") for person in people))

    async def apply(person: Patient) -> dict[str, Any]:
        async with person:
            case = await person.applied(await person.drafted())
            await check_nothing_lost(own_world, person, case)
            return case

    await tell_faults(own_world, rng, cases)
    applying = asyncio.gather(*(apply(person) for person in people))
    cut_off = await kill_at_random(own_world, rng, kills, applying)
    ended = await applying

    assert cut_off > 0
    assert {case["state"] for case in ended} == {"approved"}
    await check_every_call_ended_once(own_world)


@pytest.mark.parametrize("verb", ["open", "grant", "submit"])
async def test_answer_lost_by_a_kill_is_given_to_the_repeated_request(own_world: World, verb: str) -> None:
    own_world.kill("serve")
    await asyncio.to_thread(own_world.start_gateway, DYING_GATEWAY)
    async with own_world.applicant() as ada:
        await ada.log_in("ada")
        path, body, headers = await _request_of(ada, verb)
        key = f"fatal-{secrets.token_urlsafe()}"

        with pytest.raises(httpx.TransportError):
            await ada.post(path, body, key=key, **headers)
        assert own_world.ended("serve") == -9
        await asyncio.to_thread(own_world.start_gateway)
        first, second = [await ada.post(path, body, key=key, **headers) for _ in range(2)]

        assert first.status_code == (201 if verb == "open" else 200), first.text
        assert first.headers["idempotent-replay"] == "true"
        assert first.content == second.content
        await _took_effect_once(own_world, ada, verb)


async def _request_of(ada: Applicant, verb: str) -> tuple[str, object, dict[str, str]]:
    """A POST with this verb, as it can be sent now."""
    if verb == "open":
        return "/api/v1/cases", {"service": "gold_card", "language": "en"}, {}
    if verb == "grant":
        case = await steps.draft(ada)
        [shown] = (await ada.notices(case))["consents"]
        path = f"/api/v1/consents/{shown['basis']['basis_id']}/grant"
        return path, {"notice_sha256": shown["notice_sha256"]}, {}
    case = await steps.uploaded(ada, await steps.consented(ada), employment_certificate=steps.PDF)
    return f"/api/v1/cases/{case['case_id']}/submit", {}, {"If_Match": f'"v{case["version"]}"'}


async def _took_effect_once(world: World, ada: Applicant, verb: str) -> None:
    [case] = (await ada.get("/api/v1/cases")).json()["cases"]
    if verb == "grant":
        await ada.wait_for(case, {"fetched": lambda fetched: "nia.residence" in fetched})
    if verb == "submit":
        await ada.wait_for(case, {"fee": lambda fee: bool(fee and fee["pay_url"])})
    planned = [(call.agency, call.operation) for call in await world.calls()]
    assert len(planned) == len(set(planned))
    assert steps.twice(await world.effects()) == []


@pytest.fixture
def own_cluster() -> Iterator[Cluster]:
    """A PostgreSQL that the test may restart."""
    with tempfile.TemporaryDirectory(prefix="onestop-postgres-") as folder:
        cluster = Cluster(Path(folder))
        cluster.start()
        try:
            yield cluster
        finally:
            cluster.stop()


@pytest.fixture
async def world_on_own_cluster(own_cluster: Cluster, tmp_path: Path) -> AsyncIterator[World]:
    """An installation on that PostgreSQL, with two workers."""
    made = World(tmp_path, own_cluster.create_database(), own_cluster.create_database())
    try:
        await asyncio.to_thread(made.start, 2)
        yield made
    finally:
        await asyncio.to_thread(made.stop)


async def test_restart_of_postgresql_loses_nothing_and_needs_nobody(
    world_on_own_cluster: World, own_cluster: Cluster
) -> None:
    world = world_on_own_cluster
    await until_started(world)
    people = [Patient(world.url) for _ in range(2)]
    await asyncio.gather(*(person.log_in("ada") for person in people))
    await world.fault(
        agency="nia", operation="*", kind="timeout_after_effect", count=4, delay_seconds=HOLD_SECONDS
    )

    async def apply(person: Patient) -> dict[str, Any]:
        async with person:
            case = await person.applied(await person.drafted())
            await check_nothing_lost(world, person, case)
            return case

    applying = asyncio.gather(*(apply(person) for person in people))
    processes = set(world.working)
    for _ in range(2):

        async def some_in_flight() -> bool:
            return bool(await in_flight(world))

        await until(some_in_flight)
        await asyncio.to_thread(own_cluster.stop)
        await asyncio.to_thread(own_cluster.start)
    ended = await applying

    assert {case["state"] for case in ended} == {"approved"}
    assert set(world.working) == processes
    assert all(world.runs(name) for name in processes)
    await check_every_call_ended_once(world)


@pytest.mark.parametrize("kind", ["reset_after_effect", "error_after_effect"])
async def test_call_of_unknown_outcome_is_asked_about_and_not_sent_again(own_world: World, kind: str) -> None:
    await own_world.fault(agency="nia", operation="residence", kind=kind)
    async with own_world.applicant() as ada:
        await ada.log_in("ada")
        await steps.consented(ada)

    [history] = (await own_world.histories()).values()
    assert history == ["decided", "submitted", "asked"]


async def test_call_cut_off_by_a_kill_is_asked_about_and_not_sent_again(own_world: World) -> None:
    await own_world.fault(
        agency="nia", operation="residence", kind="timeout_after_effect", delay_seconds=HOLD_SECONDS
    )
    async with Patient(own_world.url) as ada:
        await ada.log_in("ada")
        fetching = asyncio.create_task(ada.drafted())

        async def is_in_flight() -> bool:
            return bool(await in_flight(own_world))

        await until(is_in_flight)
        names = own_world.working
        own_world.kill(*names)
        assert len(await in_flight(own_world)) == 1
        await asyncio.to_thread(own_world.start_again, *names)
        await fetching

    [history] = (await own_world.histories()).values()
    assert history == ["decided", "submitted", "asked"]


async def test_gateway_asked_to_stop_answers_what_it_has_begun(own_world: World) -> None:
    content = steps.document(steps.PNG) + secrets.token_bytes(100_000)
    was_ready: list[int] = []

    async with own_world.applicant() as ada:
        await ada.log_in("ada")
        case = await steps.draft(ada)

        async def slowly() -> AsyncIterator[bytes]:
            yield content[:50_000]
            own_world.terminate("serve")
            async with httpx.AsyncClient(trust_env=False) as http:
                while 503 not in was_ready:
                    was_ready.append((await http.get(f"{own_world.url}/health/ready")).status_code)
            yield content[50_000:]

        length = {"Content-Length": str(len(content))}
        path = f"/api/v1/cases/{case['case_id']}/documents/photo"
        answer = await ada.put(path, case["version"], content=slowly(), headers=length)

        assert answer.status_code == 201, answer.text
        assert await asyncio.to_thread(own_world.ended, "serve") == 0
        await asyncio.to_thread(own_world.start_gateway)
        [photo] = (await ada.case(case))["documents"]
        assert (await ada.get(photo["href"])).content == content


async def test_full_disk_is_told_and_loses_nothing(own_world: World) -> None:
    if not own_world.on_sqlite:
        pytest.skip("the files of PostgreSQL are its server's; to the gateway a full disk is an error of it")
    photo = steps.document(steps.PNG) + secrets.token_bytes(2_000_000)
    async with Patient(own_world.url) as ada, own_world.applicant() as hasty:
        await asyncio.gather(ada.log_in("ada"), hasty.log_in("ada"))
        case = await ada.drafted()
        own_world.limit_files("serve", 1_000_000)

        path = f"/api/v1/cases/{case['case_id']}/documents/photo"
        refused = await hasty.put(path, case["version"], content=photo)

        assert refused.status_code == 503, refused.text
        assert refused.headers["content-type"] == "application/problem+json"
        assert int(refused.headers["retry-after"]) > 0
        assert "SQLITE_" in own_world.output("serve")
        own_world.limit_files("serve")
        case = await ada.applied(await ada.case(case))
        await check_nothing_lost(own_world, ada, case)
    await check_every_call_ended_once(own_world)
