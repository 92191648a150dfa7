"""The worker: claims due calls, makes them, and commits what they brought, many together.

Any number of workers run on any number of machines; they meet only in the database. One task claims, one task
an attempt talks to an agency, and one task commits results in groups, each in a savepoint of its own; a result
that cannot be taken is tried once more alone, so that a bad one never fails its neighbours. Leases are renewed
while attempts run. Three further tasks watch the legal clock (timers of cases) and the expiry of consents, and
forget old answers to repeated requests.

Everything is bounded: attempts in flight, results in one commit, the wait for the next look, the time to stop.
"""

import asyncio
import contextlib
import datetime as dt
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol
from uuid import UUID

import structlog
from sqlalchemy import delete, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.contract import Agency, OutgoingCall, Reply, ReplyStatus
from adapters.errors import Refused, Unavailable, Unsupported
from consent import bases
from consent.database import Database, fault_name, machine_time
from consent.errors import NotPermitted
from consent.ids import uuid7
from consent.model import Authority, Permit
from services import calls, consents, idempotency, store
from services import events as ev
from services.case import At
from services.flow import SYSTEM, Flow
from services.outbox import Attempt, AttemptResult, CallStatus

LEASE_SECONDS = 15.0  # more than an agency's total time-out; renewed at a third of it
IN_FLIGHT_MAX = 64
GROUP_MAX = 64
IDLE_SECONDS = 0.1
TIMER_SECONDS = 0.5
TIMERS_AT_ONCE = 100
FORGET_SECONDS = 600.0
CLAIM_MAX = 16
AGENCY_MAX = 16  # a slow agency may hold this many attempts before a worker claims no more of its calls
POLL_SECONDS_MIN = 1
POLL_SECONDS_MAX = 3600
STOP_SECONDS = 10.0
PAUSE_AFTER_ERROR_SECONDS = 1.0

logger = structlog.get_logger()


class Agencies(Protocol):
    """Where a worker finds the agencies."""

    def agency(self, name: str) -> Agency:
        """The agency of this name."""
        ...

    def unavailable(self) -> Sequence[str]:
        """Names of agencies whose breaker is open."""
        ...


class Worker:
    """One worker; `run` it until `stop` is set."""

    def __init__(
        self,
        database: Database,
        flow: Flow,
        agencies: Agencies,
        *,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self._database = database
        self._flow = flow
        self._agencies = agencies
        self._lease_seconds = lease_seconds
        self._owner = uuid7()
        self._in_flight: dict[UUID, calls.Claimed] = {}
        self._attempts: set[asyncio.Task[None]] = set()
        self._results: asyncio.Queue[Attempt] = asyncio.Queue(IN_FLIGHT_MAX)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until told to stop; then finish what is in flight, at most ten seconds."""
        background = [
            asyncio.create_task(self._forever(step, stop))
            for step in (
                self._claim_step,
                self._renew_step,
                self._timer_step,
                self._expiry_step,
                self._forget_step,
            )
        ]
        committer = asyncio.create_task(self._commit_forever())
        await stop.wait()
        await asyncio.gather(*background)
        if self._attempts:
            await asyncio.wait(self._attempts, timeout=STOP_SECONDS)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                await self._results.join()
        for task in (committer, *self._attempts):
            task.cancel()
        await asyncio.gather(committer, *self._attempts, return_exceptions=True)

    async def _forever(self, step: Callable[[asyncio.Event], Awaitable[None]], stop: asyncio.Event) -> None:
        """Repeat a step. A fault is logged and waited out: one bad step must not end all work of a process."""
        while not stop.is_set():
            try:
                await step(stop)
            except Exception as error:
                passing = isinstance(error, SQLAlchemyError | OSError)
                fault = fault_name(error)
                logger.warning("worker.step_failed", step=step.__name__, error=fault, exc_info=not passing)
                await _sleep(stop, PAUSE_AFTER_ERROR_SECONDS)

    async def _claim_step(self, stop: asyncio.Event) -> None:
        free = min(IN_FLIGHT_MAX - len(self._in_flight), CLAIM_MAX)
        claimed: list[calls.Claimed] = []
        if free and await self._anything_due():
            async with self._database.write() as conn:
                now = await machine_time(conn)
                claimed = await calls.claim(
                    conn,
                    self._flow.vault,
                    self._owner,
                    now=now,
                    lease_seconds=self._lease_seconds,
                    limit=free,
                    skip=self._busy(),
                )
                authorities = await self._flow.planner.authorities(conn, [item.call for item in claimed], now)
            for item, authority in zip(claimed, authorities, strict=True):
                self._in_flight[item.call.call_id] = item
                task = asyncio.create_task(self._attempt(item, authority, now))
                self._attempts.add(task)
                task.add_done_callback(self._attempts.discard)
        if not claimed:
            await self._database.wait_for_hint(calls.TOPIC, IDLE_SECONDS)

    def _busy(self) -> list[str]:
        """Agencies not to be called now: their breaker is open, or they hold enough attempts already."""
        held = Counter(item.call.agency for item in self._in_flight.values())
        crowded = [agency for agency, count in held.items() if count >= AGENCY_MAX]
        return [*crowded, *self._agencies.unavailable()]

    async def _anything_due(self) -> bool:
        """A look without the write lock, which an idle worker must not take ten times a second."""
        async with self._database.read() as conn:
            return await calls.anything_due(conn, await machine_time(conn))

    async def _attempt(
        self,
        item: calls.Claimed,
        authority: Permit | Authority | NotPermitted | Unsupported,
        now: dt.datetime,
    ) -> None:
        """Make one attempt and hand its result to the committer."""
        result: AttemptResult
        if isinstance(authority, Permit | Authority):
            result = await self._call(item, authority, now)
        else:
            result = authority
        await self._results.put(Attempt(lease=item.lease, asked=item.ask_first, result=result))

    async def _call(
        self, item: calls.Claimed, authority: Permit | Authority, now: dt.datetime
    ) -> AttemptResult:
        """Ask first where the call may have been sent before; send where the agency never heard of it."""
        outgoing = OutgoingCall(
            call_id=item.call.call_id,
            operation=item.call.operation,
            authority=authority,
            body=item.body,
            now=now,
        )
        try:
            agency = self._agencies.agency(item.call.agency)
            reply = await agency.ask(outgoing) if item.ask_first else None
            return reply or await agency.send(outgoing)
        except (Unavailable, Refused, Unsupported, NotPermitted) as error:
            return error
        except Exception:
            # Ours to mend; the call must not be lost over it, and may have left.
            logger.exception("worker.attempt_failed", call=str(item.call.call_id))
            return Unavailable("an error of our own", outcome_unknown=True)

    async def _commit_forever(self) -> None:
        while True:
            group = [await self._results.get()]
            while len(group) < GROUP_MAX and not self._results.empty():
                group.append(self._results.get_nowait())
            try:
                await self._commit(group)
            finally:
                for attempt in group:
                    self._in_flight.pop(attempt.lease.call_id, None)
                    self._results.task_done()

    async def _commit(self, group: Sequence[Attempt]) -> None:
        """Commit a group; what fails in it is tried alone, and what fails alone waits for its lease to end."""
        for attempt in await self._settle_all(group):
            for lost in await self._settle_all([attempt]):
                logger.error("worker.result_lost", call=str(lost.lease.call_id))

    async def _settle_all(self, group: Sequence[Attempt]) -> list[Attempt]:
        """Write results in one transaction, each in a savepoint of its own; gives those that failed."""
        failed: list[Attempt] = []
        try:
            async with self._database.write() as conn:
                at = await store.now(conn)
                for attempt, call in await self._held(conn, group):
                    try:
                        async with conn.begin_nested():
                            await self._settle(conn, call, attempt, at)
                    except Exception as error:  # whatever it is, it must not fail its neighbours
                        passing = isinstance(error, SQLAlchemyError | OSError)
                        logger.warning(
                            "worker.result_failed", error=type(error).__name__, exc_info=not passing
                        )
                        failed.append(attempt)
        except Exception as error:  # nothing was committed, and the committer must live on
            passing = isinstance(error, SQLAlchemyError | OSError)
            logger.warning("worker.commit_failed", error=type(error).__name__, exc_info=not passing)
            return list(group)
        return failed

    async def _held(
        self, conn: AsyncConnection, group: Sequence[Attempt]
    ) -> list[tuple[Attempt, calls.Call]]:
        """The results that still count, with their calls and cases locked, in the order to settle them in.

        Another worker or a callback may have been first; its result stands and ours is dropped.
        """
        held = await calls.held(conn, [attempt.lease for attempt in group])
        cases = await store.lock_cases(conn, {call.case_id for call in held.values()})
        place = {case_id: n for n, case_id in enumerate(cases)}
        counting = [
            (attempt, held[attempt.lease.call_id]) for attempt in group if attempt.lease.call_id in held
        ]
        return sorted(counting, key=lambda pair: place.get(pair[1].case_id, -1))

    async def _settle(self, conn: AsyncConnection, call: calls.Call, attempt: Attempt, at: At) -> None:
        """Write one result."""
        result = attempt.result
        if isinstance(result, Reply):
            await self._take(conn, call, result, at)
        elif isinstance(result, NotPermitted):
            await self._flow.withhold(conn, call, result, at)
        elif isinstance(result, Refused):
            await self._flow.fail(conn, call, CallStatus.REFUSED, f"agency: {result.code}"[:60], at)
        elif isinstance(result, Unavailable) and call.attempts < calls.ATTEMPTS_MAX:
            unknown = result.outcome_unknown or attempt.asked
            await calls.again(
                conn,
                call,
                CallStatus.UNKNOWN if unknown else CallStatus.READY,
                now=at.machine,
                after_seconds=calls.delay_seconds(call, result.retry_after_seconds),
                reason="unavailable",
                maybe_sent=unknown,
                attempts=None if result.tried else call.attempts - 1,
            )
        else:
            reason = "attempts spent" if isinstance(result, Unavailable) else "not the contract"
            logger.error("call.dead", call=str(call.call_id), agency=call.agency, reason=reason)
            await self._flow.fail(conn, call, CallStatus.DEAD, reason, at)

    async def _take(self, conn: AsyncConnection, call: calls.Call, reply: Reply, at: At) -> None:
        if reply.status is ReplyStatus.ACCEPTED:
            await calls.again(
                conn,
                call,
                CallStatus.WAITING,
                now=at.machine,
                after_seconds=min(max(reply.poll_after_seconds, POLL_SECONDS_MIN), POLL_SECONDS_MAX),
                attempts=0,  # an agency that says "later" answers
            )
            return
        await take_answer(conn, self._flow, call, bytes(reply.data), at)

    async def _renew_step(self, stop: asyncio.Event) -> None:
        await _sleep(stop, self._lease_seconds / 3)
        leases = [item.lease for item in self._in_flight.values()]
        if leases:
            async with self._database.write() as conn:
                now = await machine_time(conn)
                await calls.renew(conn, leases, now=now, lease_seconds=self._lease_seconds)

    async def _timer_step(self, stop: asyncio.Event) -> None:
        await _sleep(stop, TIMER_SECONDS)
        async with self._database.read() as conn:
            legal = (await store.now(conn)).legal
            due = (
                select(store.timer.c.case_id, store.timer.c.name)
                .where(store.timer.c.due_at <= legal)
                .order_by(store.timer.c.due_at)
                .limit(TIMERS_AT_ONCE)
            )
            rows = (await conn.execute(due)).all()
        for row in rows:
            await self._alone("timer", self._fire, row.case_id, row.name)

    async def _fire(self, conn: AsyncConnection, case_id: UUID, name: str) -> None:
        """Tell a case that its timer is due; another worker, or the case itself, may have been first."""
        case = await store.load_case(conn, self._flow.vault, case_id, lock=True)
        at = await store.now(conn)
        taken = await conn.execute(
            delete(store.timer).where(
                store.timer.c.case_id == case_id, store.timer.c.name == name, store.timer.c.due_at <= at.legal
            )
        )
        if taken.rowcount:
            await self._flow.advance(conn, case, [ev.DeadlinePassed(timer=name)], actor=SYSTEM, at=at)

    async def _expiry_step(self, stop: asyncio.Event) -> None:
        await _sleep(stop, TIMER_SECONDS)
        async with self._database.read() as conn:
            due = await bases.expired(conn, await machine_time(conn))
        for basis_id in due:
            await self._alone("expiry", consents.expire, self._flow, basis_id)

    async def _forget_step(self, stop: asyncio.Event) -> None:
        async with self._database.write() as conn:
            await idempotency.forget_old(conn, await machine_time(conn))
        await _sleep(stop, FORGET_SECONDS)

    async def _alone(self, what: str, work: Callable[..., Awaitable[None]], *arguments: object) -> None:
        """Do one piece of work in a transaction of its own; one that fails must not keep the next from it."""
        try:
            async with self._database.write() as conn:
                await work(conn, *arguments)
        except Exception as error:
            passing = isinstance(error, SQLAlchemyError | OSError)
            logger.warning("worker.work_failed", work=what, error=type(error).__name__, exc_info=not passing)


async def take_answer(conn: AsyncConnection, flow: Flow, call: calls.Call, answer: bytes, at: At) -> None:
    """Take an answer in, wherever it came from; one that has not the contract's shape ends the call as dead."""
    try:
        await flow.answer(conn, call, answer, at)
    except Unsupported:
        logger.exception("call.dead", call=str(call.call_id), agency=call.agency)
        await flow.fail(conn, call, CallStatus.DEAD, "not the contract", at)


async def _sleep(stop: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()
