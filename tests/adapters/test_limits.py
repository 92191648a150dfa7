"""The breaker, the lane and the back-off, with a clock that the test moves."""

import asyncio
from random import Random

import pytest

from adapters.errors import Unavailable
from adapters.limits import BACKOFF_SECONDS_MAX, BURST_SECONDS, Breaker, Lane, backoff_seconds


class HandClock:
    """Seconds that pass only when told."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


class TestBackoff:
    def test_waits_lie_between_nothing_and_a_doubling_bound(self) -> None:
        random = Random(1)

        for attempt, bound in [(1, 1), (2, 2), (3, 4), (6, 32), (10, 512), (11, 900), (10_000, 900)]:
            waits = [backoff_seconds(attempt, random) for _ in range(500)]
            assert 0 <= min(waits) < bound * 0.1
            assert bound * 0.9 < max(waits) <= bound <= BACKOFF_SECONDS_MAX

    def test_attempts_are_counted_from_one(self) -> None:
        with pytest.raises(ValueError, match="from 1"):
            backoff_seconds(0, Random(1))


class TestBreaker:
    def make(self) -> tuple[Breaker, HandClock]:
        clock = HandClock()
        return Breaker(failures_max=3, pause_seconds=10, clock=clock), clock

    def test_it_opens_after_failures_in_a_row_and_says_so_once(self) -> None:
        breaker, _ = self.make()

        assert [breaker.failed() for _ in range(5)] == [False, False, True, False, False]
        with pytest.raises(Unavailable) as refusal:
            breaker.admit()
        assert refusal.value.retry_after_seconds == 10
        assert not refusal.value.outcome_unknown

    def test_an_answer_between_failures_starts_the_count_again(self) -> None:
        breaker, _ = self.make()

        for _ in range(10):
            breaker.failed()
            breaker.failed()
            assert not breaker.answered()
        breaker.admit()

    def test_after_the_pause_one_trial_passes_and_no_second(self) -> None:
        breaker, clock = self.make()
        for _ in range(3):
            breaker.failed()
        clock.seconds += 10

        breaker.check()
        breaker.admit()

        with pytest.raises(Unavailable):
            breaker.admit()

    def test_a_good_trial_closes_it_and_says_so_once(self) -> None:
        breaker, clock = self.make()
        for _ in range(3):
            breaker.failed()
        clock.seconds += 10
        breaker.admit()

        assert breaker.answered()
        assert not breaker.answered()
        breaker.admit()
        breaker.admit()

    def test_a_bad_trial_starts_another_pause_silently(self) -> None:
        breaker, clock = self.make()
        for _ in range(3):
            breaker.failed()
        clock.seconds += 10
        breaker.admit()

        assert not breaker.failed()

        with pytest.raises(Unavailable):
            breaker.admit()

    def test_a_trial_that_never_ends_makes_room_for_another(self) -> None:
        breaker, clock = self.make()
        for _ in range(3):
            breaker.failed()
        clock.seconds += 10
        breaker.admit()
        clock.seconds += 10

        breaker.admit()


class TestLane:
    def make(
        self,
        *,
        waiting_max: int = 10,
        wait_seconds_max: float = 5.0,
        requests_per_second: float = 10_000,
        clock: HandClock | None = None,
    ) -> Lane:
        return Lane(
            concurrency_max=2,
            waiting_max=waiting_max,
            wait_seconds_max=wait_seconds_max,
            requests_per_second=requests_per_second,
            clock=clock or HandClock(),
        )

    async def test_no_more_calls_at_once_than_places(self) -> None:
        lane = self.make()
        inside, most = 0, 0

        async def call() -> None:
            nonlocal inside, most
            async with lane.place():
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(0)
                inside -= 1

        await asyncio.gather(*(call() for _ in range(10)))

        assert most == 2

    async def test_a_full_queue_refuses_at_once(self) -> None:
        lane = self.make(waiting_max=0)

        async with lane.place(), lane.place():
            with pytest.raises(Unavailable, match="too many calls"):
                async with lane.place():
                    pass

    async def test_waiting_for_a_place_ends(self) -> None:
        lane = self.make(wait_seconds_max=0.01)

        async with lane.place(), lane.place():
            with pytest.raises(Unavailable, match="in time"):
                async with lane.place():
                    pass

    async def test_a_cancelled_or_failed_call_gives_its_place_back(self) -> None:
        lane = self.make(waiting_max=0)

        for _ in range(5):
            with pytest.raises(RuntimeError):
                async with lane.place():
                    raise RuntimeError
        async with lane.place(), lane.place():
            pass

    async def test_starts_beyond_rate_and_burst_are_refused_with_the_time_to_wait(self) -> None:
        clock = HandClock()
        lane = self.make(requests_per_second=1, wait_seconds_max=0, clock=clock)
        for _ in range(2):
            async with lane.place():
                pass

        with pytest.raises(Unavailable, match="too fast") as refusal:
            async with lane.place():
                pass

        assert refusal.value.retry_after_seconds == 2 - BURST_SECONDS
        clock.seconds += 1
        async with lane.place():
            pass
