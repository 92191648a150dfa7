"""Due dates against the rules of 行政程序法 §48, and the properties that any of them must have."""

import datetime as dt
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.calendar import ClosedDay, Overrides, WorkingCalendar, working_calendar
from services.clock import Duty, Projection, Suspension, Unit, add_months, projection
from services.text import Text

CALENDAR = working_calendar()
SUPPLEMENT = Text("補正", "supplement")
STARTS = st.dates(dt.date(2018, 2, 8), dt.date(2026, 1, 1))
UNITS = st.sampled_from(Unit)


def project(
    unit: Unit,
    budget: int,
    started_on: dt.date,
    suspensions: Sequence[Suspension] = (),
    today: dt.date | None = None,
    calendar: WorkingCalendar = CALENDAR,
    *,
    first_day_excluded: bool = True,
) -> Projection:
    """Where a duty stands."""
    duty = Duty(
        unit=unit,
        budget=budget,
        started_on=started_on,
        calendar=calendar.edition,
        first_day_excluded=first_day_excluded,
    )
    return projection(duty, suspensions, today or started_on, calendar)


def rest(on: dt.date, until: dt.date | None) -> Suspension:
    """A suspension by a supplement."""
    return Suspension(on=on, until=until, reason=SUPPLEMENT)


def said(seen: Projection) -> str:
    """The explanation in English."""
    return "\n".join(line.text.en for line in seen.lines)


def test_the_review_s_thirty_days_and_the_target_of_twenty_three() -> None:
    accepted = dt.date(2020, 12, 14)

    assert project(Unit.WORKING_DAYS, 30, accepted).due_on == dt.date(2021, 1, 26)
    assert project(Unit.WORKING_DAYS, 23, accepted).due_on == dt.date(2021, 1, 15)
    assert "2021-01-01 is not counted: Founding Day" in said(project(Unit.WORKING_DAYS, 30, accepted))


def test_each_shift_carries_its_reason() -> None:
    seen = project(
        Unit.WORKING_DAYS, 30, dt.date(2021, 1, 25), [rest(dt.date(2021, 2, 3), dt.date(2021, 2, 8))]
    )

    assert seen.due_on == dt.date(2021, 3, 18)
    assert "2021-02-20 is counted: make-up working day" in said(seen)
    assert "2021-02-16 is not counted: Chinese New Year (observed)" in said(seen)
    assert "suspended from 2021-02-03 to 2021-02-07, 3 working day(s): supplement" in said(seen)
    assert all(line.text.zh for line in seen.lines)


@pytest.mark.parametrize(
    ("started_on", "months", "last"),
    [
        (dt.date(2022, 3, 1), 6, dt.date(2022, 9, 1)),
        (dt.date(2022, 8, 30), 1, dt.date(2022, 9, 30)),  # no 31 September: the month's end
        (dt.date(2022, 2, 28), 1, dt.date(2022, 3, 31)),  # from the first of March: the whole month
        (dt.date(2022, 11, 29), 3, dt.date(2023, 3, 1)),  # its end, 28 February, is a holiday
    ],
)
def test_a_period_of_months_ends_before_the_corresponding_day(
    started_on: dt.date, months: int, last: dt.date
) -> None:
    assert project(Unit.MONTHS, months, started_on).due_on == last


def test_a_last_day_on_a_day_of_rest_moves_on_and_says_so() -> None:
    seen = project(Unit.CALENDAR_DAYS, 30, dt.date(2021, 1, 29))

    assert seen.due_on == dt.date(2021, 3, 2)
    assert "the last day, 2021-02-28, is Peace Memorial Day: it moves to 2021-03-02" in said(seen)


def test_a_typhoon_on_the_last_day_moves_it() -> None:
    typhoon = ClosedDay(dt.date(2024, 7, 24), ("taipei",), Text("颱風", "typhoon"), "announcement")
    overrides = Overrides(announced_until=dt.date(2026, 12, 31), closed=(typhoon,))

    seen = project(
        Unit.CALENDAR_DAYS, 30, dt.date(2024, 6, 24), calendar=WorkingCalendar(overrides, "taipei")
    )

    assert seen.due_on == dt.date(2024, 7, 25)
    assert "typhoon" in said(seen)


def test_a_first_day_counts_where_a_statute_says_so() -> None:
    assert project(Unit.CALENDAR_DAYS, 30, dt.date(2022, 3, 1), first_day_excluded=False).due_on == dt.date(
        2022, 3, 30
    )


def test_an_open_suspension_rests_the_clock_today_and_is_no_promise() -> None:
    start, asked = dt.date(2022, 3, 1), dt.date(2022, 3, 7)

    earlier, later = (
        project(Unit.WORKING_DAYS, 30, start, [rest(asked, None)], today)
        for today in (dt.date(2022, 3, 8), dt.date(2022, 3, 9))
    )

    assert earlier.resting
    assert earlier.elapsed_days == later.elapsed_days == 3
    assert later.due_on > earlier.due_on
    assert "the clock rests" in said(later)


def test_a_missed_duty_is_overdue_from_the_day_after() -> None:
    start, due = dt.date(2020, 12, 14), dt.date(2021, 1, 26)

    on_time, late = (project(Unit.WORKING_DAYS, 30, start, (), due + dt.timedelta(days=n)) for n in (0, 1))

    assert (on_time.elapsed_days, on_time.overdue) == (30, False)
    assert (late.elapsed_days, late.overdue) == (31, True)


def test_a_date_beyond_the_announced_calendar_says_that_it_may_move() -> None:
    assert "not announced yet" in said(project(Unit.WORKING_DAYS, 30, dt.date(2026, 12, 20)))


@pytest.mark.parametrize("budget", [0, -3, 100_000])
def test_a_budget_out_of_bounds_is_refused(budget: int) -> None:
    with pytest.raises(ValueError, match="duty"):
        project(Unit.WORKING_DAYS, budget, dt.date(2022, 3, 1))


@given(UNITS, st.integers(1, 24), STARTS)
def test_a_larger_budget_is_never_due_earlier(unit: Unit, budget: int, start: dt.date) -> None:
    assert project(unit, budget, start).due_on <= project(unit, budget + 1, start).due_on


@given(UNITS, st.integers(1, 40), STARTS)
def test_what_is_due_is_due_on_a_working_day_after_the_start(unit: Unit, budget: int, start: dt.date) -> None:
    due_on = project(unit, budget, start).due_on

    assert due_on > start
    assert CALENDAR.is_working_day(due_on)


@given(st.integers(1, 40), STARTS, st.integers(0, 30), st.integers(0, 60))
def test_a_suspension_of_k_working_days_moves_the_date_by_k_working_days(
    budget: int, start: dt.date, after: int, length: int
) -> None:
    plain = project(Unit.WORKING_DAYS, budget, start).due_on
    asked = min(start + dt.timedelta(days=1 + after), plain)
    answered = asked + dt.timedelta(days=length)
    rested = CALENDAR.working_days_between(asked - dt.timedelta(days=1), answered - dt.timedelta(days=1))

    seen = project(Unit.WORKING_DAYS, budget, start, [rest(asked, answered)])

    assert CALENDAR.working_days_between(plain, seen.due_on) == rested
    assert seen.due_on == (CALENDAR.add_working_days(plain, rested) if rested else plain)


@given(st.integers(1, 40), STARTS, st.lists(st.tuples(st.integers(1, 60), st.integers(0, 20)), max_size=4))
def test_suspensions_that_overlap_count_each_day_once_and_in_any_order(
    budget: int, start: dt.date, spans: list[tuple[int, int]]
) -> None:
    rests = [
        rest(start + dt.timedelta(days=after), start + dt.timedelta(days=after + length))
        for after, length in spans
    ]

    seen = project(Unit.WORKING_DAYS, budget, start, rests)

    assert seen.due_on == project(Unit.WORKING_DAYS, budget, start, rests[::-1] * 2).due_on


@given(st.dates(dt.date(2018, 1, 1), dt.date(2030, 1, 1)), st.integers(0, 48))
def test_months_add_up(day: dt.date, count: int) -> None:
    later = add_months(day, count)

    assert (later.year * 12 + later.month) - (day.year * 12 + day.month) == count
    assert later.day <= day.day
