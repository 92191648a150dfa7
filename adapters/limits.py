"""What keeps a slow or dead agency from slowing anybody else, and us from overloading an agency.

A *breaker* counts answers that never came. After a few in a row it lets nothing through for a while, then one
call as a trial; the trial's end decides. A *lane* bounds how many calls are on their way to one instance, how
many wait, how long, and how many start in a second. Both live in one process: with N processes an agency sees
at most N times as much.

`backoff_seconds` says how long to leave a call alone after its n-th failure.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random

from adapters.errors import Unavailable

Clock = Callable[[], float]  # seconds, never going backwards

BACKOFF_FIRST_SECONDS = 1.0
BACKOFF_SECONDS_MAX = 900.0
FAILURES_MAX = 5
PAUSE_SECONDS = 10.0
BURST_SECONDS = 1.0


def backoff_seconds(attempt: int, random: Random) -> float:
    """Seconds to wait after failed attempt number `attempt` (from 1): exponential, full jitter, a ceiling.

    Full jitter (uniform between nothing and the exponential bound) spreads calls that failed together.
    """
    if attempt < 1:
        raise ValueError("attempts are counted from 1")
    doublings = min(attempt - 1, math.ceil(math.log2(BACKOFF_SECONDS_MAX / BACKOFF_FIRST_SECONDS)))
    return random.uniform(0, min(BACKOFF_SECONDS_MAX, BACKOFF_FIRST_SECONDS * 2**doublings))


class Breaker:
    """Closed (all calls pass) or open (none, save one trial each `pause_seconds`)."""

    def __init__(
        self,
        *,
        failures_max: int = FAILURES_MAX,
        pause_seconds: float = PAUSE_SECONDS,
        clock: Clock = time.monotonic,
    ) -> None:
        self._failures_max = failures_max
        self._pause_seconds = pause_seconds
        self._clock = clock
        self._failures = 0
        self._trial_at: float | None = None  # None while closed

    def admit(self) -> None:
        """Let one call pass, or raise Unavailable with the seconds until the next trial.

        A trial moves the next one a whole pause away, so that one which never ends (its caller was cancelled)
        blocks nothing for longer than that.
        """
        if self._trial_at is None:
            return
        self.check()
        self._trial_at = self._clock() + self._pause_seconds

    def check(self) -> None:
        """Raise Unavailable when `admit` would; takes no trial."""
        if self._trial_at is None:
            return
        remaining = self._trial_at - self._clock()
        if remaining > 0:
            raise Unavailable(
                "the agency does not answer at present", retry_after_seconds=remaining, tried=False
            )

    def answered(self) -> bool:
        """An answer came, of whatever kind. True when the agency had been gone until now."""
        was_open = self._trial_at is not None
        self._failures = 0
        self._trial_at = None
        return was_open

    def failed(self) -> bool:
        """No answer came. True when the agency counts as gone from now on."""
        self._failures += 1
        if self._failures < self._failures_max:
            return False
        was_open = self._trial_at is not None
        self._trial_at = self._clock() + self._pause_seconds
        return not was_open


class Lane:
    """At most `concurrency_max` calls at once and `requests_per_second`, with a short, bounded queue."""

    def __init__(
        self,
        *,
        concurrency_max: int,
        waiting_max: int,
        wait_seconds_max: float,
        requests_per_second: float,
        clock: Clock = time.monotonic,
    ) -> None:
        self._places = asyncio.Semaphore(concurrency_max)
        self._waiting = 0
        self._waiting_max = waiting_max
        self._wait_seconds_max = wait_seconds_max
        self._interval_seconds = 1 / requests_per_second
        self._clock = clock
        self._due = -math.inf

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Hold one place. Raises Unavailable, before anything is sent, when that would take too long."""
        await self._enter()
        try:
            await self._keep_pace()
            yield
        finally:
            self._places.release()

    async def _enter(self) -> None:
        if self._places.locked() and self._waiting >= self._waiting_max:
            raise Unavailable("too many calls wait for this agency", tried=False)
        self._waiting += 1
        try:
            async with asyncio.timeout(self._wait_seconds_max):
                await self._places.acquire()
        except TimeoutError as error:
            raise Unavailable(
                "no place became free for a call to this agency in time", tried=False
            ) from error
        finally:
            self._waiting -= 1

    async def _keep_pace(self) -> None:
        """Each start moves `due` one interval on; a start may be early by the burst, later ones wait."""
        now = self._clock()
        wait_seconds = max(0.0, self._due - BURST_SECONDS - now)
        if wait_seconds > self._wait_seconds_max:
            raise Unavailable(
                "calls to this agency start too fast", retry_after_seconds=wait_seconds, tried=False
            )
        self._due = max(self._due, now) + self._interval_seconds
        if wait_seconds > 0:
            await asyncio.sleep(wait_seconds)
