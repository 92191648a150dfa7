"""Working days against the published calendars."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.calendar import ClosedDay, Overrides, WorkingCalendar, working_calendar
from services.text import Text

CLOSED = ClosedDay(dt.date(2024, 7, 24), ("taipei",), Text("颱風", "typhoon"), "announcement")
DAYS = st.dates(dt.date(2015, 1, 1), dt.date(2030, 1, 1))


@pytest.fixture
def calendar() -> WorkingCalendar:
    """Taipei's calendar with one typhoon day."""
    return WorkingCalendar(Overrides(announced_until=dt.date(2026, 12, 31), closed=(CLOSED,)), "taipei")


@pytest.mark.parametrize(
    ("day", "open_", "why"),
    [
        (dt.date(2020, 2, 15), True, "make-up working day"),
        (dt.date(2021, 2, 20), True, "make-up working day"),
        (dt.date(2025, 2, 8), True, "make-up working day"),
        (dt.date(2020, 10, 2), False, "Day off (substituted from 09/26/2020)"),
        (dt.date(2021, 1, 1), False, "Founding Day of the Republic of China"),
        (dt.date(2021, 3, 1), False, "Peace Memorial Day (observed)"),
        (dt.date(2021, 1, 2), False, "Saturday"),
        (dt.date(2021, 1, 3), False, "Sunday"),
        (dt.date(2021, 1, 4), True, "working day"),
        (dt.date(2024, 7, 24), False, "typhoon"),
    ],
)
def test_each_day_is_what_the_government_calendar_says(
    calendar: WorkingCalendar, day: dt.date, open_: bool, why: str
) -> None:
    assert calendar.is_working_day(day) is open_
    assert calendar.why(day).en == why


def test_reasons_are_given_in_chinese_too(calendar: WorkingCalendar) -> None:
    assert calendar.why(dt.date(2021, 2, 11)).zh == "農曆除夕"
    assert calendar.why(dt.date(2021, 2, 20)).zh == "補行上班日"


def test_a_typhoon_closes_only_the_county_that_announced_it() -> None:
    overrides = Overrides(announced_until=dt.date(2026, 12, 31), closed=(CLOSED,))

    assert WorkingCalendar(overrides, "hualien").is_working_day(CLOSED.date)


def test_a_typhoon_day_makes_another_edition(calendar: WorkingCalendar) -> None:
    without = WorkingCalendar(Overrides(announced_until=dt.date(2026, 12, 31)), "taipei")

    assert without.edition != calendar.edition


def test_thirty_working_days_from_the_journal_s_date(calendar: WorkingCalendar) -> None:
    accepted = dt.date(2020, 12, 14)

    assert calendar.add_working_days(accepted, 30) == dt.date(2021, 1, 26)
    assert calendar.add_working_days(accepted, 23) == dt.date(2021, 1, 15)


@given(DAYS, st.integers(1, 120))
def test_adding_and_counting_agree(start: dt.date, count: int) -> None:
    calendar = working_calendar()

    end = calendar.add_working_days(start, count)

    assert calendar.is_working_day(end)
    assert calendar.working_days_between(start, end) == count


@pytest.mark.parametrize("count", [0, -1, 10_000])
def test_a_count_out_of_bounds_is_refused(calendar: WorkingCalendar, count: int) -> None:
    with pytest.raises(ValueError, match="working day"):
        calendar.add_working_days(dt.date(2021, 1, 1), count)


@pytest.mark.parametrize("day", [dt.date(1997, 12, 31), dt.date(2101, 1, 1)])
def test_a_year_that_the_calendar_does_not_know_is_refused(calendar: WorkingCalendar, day: dt.date) -> None:
    with pytest.raises(ValueError, match="1998 to 2100"):
        calendar.is_working_day(day)


def test_every_installed_override_names_its_announcement() -> None:
    assert working_calendar().announced_until >= dt.date(2026, 12, 31)
    assert not working_calendar().is_working_day(dt.date(2024, 10, 31))
