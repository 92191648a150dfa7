"""Taiwan's working days.

Holidays, observed days (補假) and make-up working Saturdays (補行上班日) come from the `holidays` library,
which follows the yearly government calendar; days on which a county closed its offices for a typhoon come
from `holidays.toml`. Both together are the calendar's *edition*: a date that was computed is recorded with
it, so that a later change of the calendar is seen as what it is. Nothing here reads a clock.
"""

import datetime as dt
import hashlib
from functools import cache
from importlib.resources import files

import msgspec
from holidays import country_holidays
from holidays.version import __version__ as holidays_version

from services.text import Text

YEAR_MIN = 1998  # the library's first year for Taiwan
YEAR_MAX = 2100
DAYS_MAX = 366 * 20  # no duty runs longer; a search for a date ends here

_ONE_DAY = dt.timedelta(days=1)
_SATURDAY = 5
_WEEKEND = (Text("星期六", "Saturday"), Text("星期日", "Sunday"))
_WORKING = Text("上班日", "working day")
_MAKE_UP = Text("補行上班日", "make-up working day")


class ClosedDay(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A day on which the offices of some counties stayed closed, with the announcement it rests on."""

    date: dt.date
    counties: tuple[str, ...]
    reason: Text
    source: str


class Overrides(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `holidays.toml` holds."""

    announced_until: dt.date
    closed: tuple[ClosedDay, ...] = ()


class WorkingCalendar:
    """The working days of one county's offices, under one edition of the calendar.

    Every method raises ValueError for a day outside the years 1998 to 2100.
    """

    def __init__(self, overrides: Overrides, county: str = "taipei") -> None:
        digest = hashlib.sha256(msgspec.json.encode(overrides)).hexdigest()[:8]
        self.edition = f"taiwan/{county}/{holidays_version}/{digest}"
        self.announced_until = overrides.announced_until
        self._closed = {day.date: day.reason for day in overrides.closed if county in day.counties}
        self._zh = country_holidays("TW", language="zh_TW")
        self._en = country_holidays("TW", language="en_US")

    def is_working_day(self, day: dt.date) -> bool:
        """Whether offices are open on this day."""
        return day not in self._closed and self._zh.is_working_day(self._known(day))

    def is_shift(self, day: dt.date) -> bool:
        """Whether the day differs from the plain week: a weekday off, or a Saturday of work."""
        return self.is_working_day(day) != (day.weekday() < _SATURDAY)

    def why(self, day: dt.date) -> Text:
        """Why the day is, or is not, a working day."""
        if day in self._closed:
            return self._closed[day]
        if self.is_working_day(day):
            return _WORKING if day.weekday() < _SATURDAY else _MAKE_UP
        if day in self._zh:
            return Text(self._zh[day], self._en[day])
        return _WEEKEND[day.weekday() - _SATURDAY]

    def add_working_days(self, start: dt.date, count: int) -> dt.date:
        """The `count`-th working day after `start`, which itself is not counted; ValueError out of bounds."""
        if count < 1:
            raise ValueError("the count of working days starts at 1")
        day = start
        for _ in range(DAYS_MAX):
            day += _ONE_DAY
            count -= self.is_working_day(day)
            if count == 0:
                return day
        raise ValueError(f"no such working day within {DAYS_MAX} days")

    def working_days_between(self, start: dt.date, end: dt.date) -> int:
        """How many working days lie after `start`, up to and including `end`."""
        return sum(self.is_working_day(start + n * _ONE_DAY) for n in range(1, (end - start).days + 1))

    def next_working_day(self, day: dt.date) -> dt.date:
        """The day itself when it is a working day, else the first one after it."""
        return self.add_working_days(day - _ONE_DAY, 1)

    def _known(self, day: dt.date) -> dt.date:
        if not YEAR_MIN <= day.year <= YEAR_MAX:
            raise ValueError(f"the calendar knows the years {YEAR_MIN} to {YEAR_MAX}")
        return day


@cache
def working_calendar(county: str = "taipei") -> WorkingCalendar:
    """The calendar of a county's offices, with the overrides that are installed."""
    raw = files("services").joinpath("holidays.toml").read_bytes()
    return WorkingCalendar(msgspec.toml.decode(raw, type=Overrides), county)
