"""The duty clock: until when something has to be done, and why that day.

A *duty* is a budget of days or months that starts with an event. A *suspension* stops it (a supplement is
awaited, the passport is inspected, force majeure). The due date is never stored as a truth: it is a
projection of the duty, its suspensions and a calendar, so that anyone can compute it again from the events,
and it explains itself line by line.

Rules, from 行政程序法 §48: the first day is not counted unless a statute says otherwise (II); a period of
months ends on the day before the one that corresponds to its first day, or with the month where there is no
such day (III); a last day that is a Sunday, a holiday or another day of rest moves to the day after (IV).
A suspension covers the day it begins and not the day on which the clock runs again.
"""

import calendar as months
import datetime as dt
from collections.abc import Sequence
from enum import StrEnum

import msgspec

from services.calendar import DAYS_MAX, WorkingCalendar
from services.text import Text

_ONE_DAY = dt.timedelta(days=1)

_STARTED = Text(
    "自 {day} 起算，始日不計算在內（行政程序法第48條第2項）",
    "runs from {day}; that day is not counted (行政程序法 §48 II)",
)
_STARTED_SAME_DAY = Text("自 {day} 起算，始日計入", "runs from {day}, which is counted")
_HOLIDAY = Text("{day} 不計入：{why}", "{day} is not counted: {why}")
_MAKE_UP = Text("{day} 計入：{why}", "{day} is counted: {why}")
_SUSPENDED = Text(
    "{day} 至 {end} 停止計算，共 {count} {unit}：{why}",
    "suspended from {day} to {end}, {count} {unit}: {why}",
)
_RESTING = Text(
    "目前停止計算，到期日以明日恢復推估", "the clock rests; the date supposes that it runs again tomorrow"
)
_MOVED = Text(
    "末日 {day} 為{why}，順延至 {due}（行政程序法第48條第4項）",
    "the last day, {day}, is {why}: it moves to {due} (行政程序法 §48 IV)",
)
_NOT_ANNOUNCED = Text(
    "{day} 之後之行事曆尚未公告，日期可能調整",
    "the calendar after {day} is not announced yet; the date may move",
)
_DUE = Text("第 {budget} {unit}：{due}", "{unit} number {budget}: {due}")


class Unit(StrEnum):
    """What a budget counts."""

    WORKING_DAYS = "working_days"
    CALENDAR_DAYS = "calendar_days"
    MONTHS = "months"


_UNITS = {
    Unit.WORKING_DAYS: Text("個工作日", "working day"),
    Unit.CALENDAR_DAYS: Text("日", "calendar day"),
    Unit.MONTHS: Text("個月", "month"),
}
_COUNTED = {
    Unit.WORKING_DAYS: Text("個工作日", "working day(s)"),
    Unit.CALENDAR_DAYS: Text("日", "calendar day(s)"),
    Unit.MONTHS: Text("日", "calendar day(s)"),
}


class Duty(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A budget of `unit`s from 1 up, started by an event of the legal date `started_on`.

    `calendar` names the edition of the calendar under which it began.
    """

    unit: Unit
    budget: int
    started_on: dt.date
    calendar: str
    first_day_excluded: bool = True


class Suspension(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The clock rests from `on` on and runs again on `until`, None while it still rests."""

    on: dt.date
    until: dt.date | None
    reason: Text


class Line(msgspec.Struct, frozen=True):
    """One step of the explanation; `date` is the day it speaks of."""

    date: dt.date
    text: Text


class Projection(msgspec.Struct, frozen=True, kw_only=True):
    """Where a duty stands.

    Days are working days or calendar days, as the duty counts (a budget of months becomes calendar days).
    `elapsed_days` counts up to and including today, and goes past `budget_days` when the duty is missed.
    """

    due_on: dt.date
    elapsed_days: int
    budget_days: int
    resting: bool
    overdue: bool
    lines: tuple[Line, ...]


def projection(
    duty: Duty, suspensions: Sequence[Suspension], today: dt.date, calendar: WorkingCalendar
) -> Projection:
    """When the duty is due, seen on `today`, and why. ValueError when that is more than 20 years off."""
    count_from = duty.started_on if duty.first_day_excluded else duty.started_on - _ONE_DAY
    budget = _budget_days(duty, count_from)
    ledger = _Ledger(duty, suspensions, today, calendar)
    last = ledger.day_number(budget, count_from)
    due = calendar.next_working_day(last)
    return Projection(
        due_on=due,
        elapsed_days=ledger.count(count_from, today),
        budget_days=budget,
        resting=ledger.rests_on(today),
        overdue=today > due,
        lines=tuple(_explain(duty, ledger, count_from, last, due)),
    )


def add_months(day: dt.date, count: int) -> dt.date:
    """The same day of the month `count` months later, or that month's last day where it has no such day."""
    years, month = divmod(day.month - 1 + count, 12)
    length = months.monthrange(day.year + years, month + 1)[1]
    return dt.date(day.year + years, month + 1, min(day.day, length))


def _budget_days(duty: Duty, count_from: dt.date) -> int:
    """The budget in days; for months the days up to the last one of the period (§48 III)."""
    if duty.budget < 1:
        raise ValueError("a duty has a budget of at least 1")
    if duty.unit is not Unit.MONTHS:
        return duty.budget
    first = count_from + _ONE_DAY
    same = add_months(first, duty.budget)
    last = same if same.day < first.day else same - _ONE_DAY
    return (last - count_from).days


class _Ledger:
    """Which days count for a duty, given what stops it."""

    def __init__(
        self, duty: Duty, suspensions: Sequence[Suspension], today: dt.date, calendar: WorkingCalendar
    ) -> None:
        self.calendar = calendar
        self.working = duty.unit is Unit.WORKING_DAYS
        # A suspension that has no end yet covers today, so that the date is the earliest one possible.
        self.suspensions = [
            (s, s.until if s.until is not None else max(today, s.on) + _ONE_DAY)
            for s in sorted(suspensions, key=lambda s: s.on)
        ]

    def counts(self, day: dt.date) -> bool:
        """Whether the day uses up the budget."""
        return self.in_unit(day) and not any(s.on <= day < end for s, end in self.suspensions)

    def in_unit(self, day: dt.date) -> bool:
        """Whether the day would count if nothing stopped the clock."""
        return self.calendar.is_working_day(day) if self.working else True

    def rests_on(self, day: dt.date) -> bool:
        """Whether a suspension without end covers the day."""
        return any(s.until is None and s.on <= day for s, _ in self.suspensions)

    def day_number(self, number: int, start: dt.date) -> dt.date:
        """The `number`-th day after `start` that counts."""
        day = start
        for _ in range(DAYS_MAX):
            day += _ONE_DAY
            number -= self.counts(day)
            if number == 0:
                return day
        raise ValueError(f"the duty does not end within {DAYS_MAX} days")

    def count(self, start: dt.date, end: dt.date) -> int:
        """How many days after `start`, up to and including `end`, count."""
        return sum(self.counts(day) for day in _days(start, end))


def _days(start: dt.date, end: dt.date) -> list[dt.date]:
    return [start + n * _ONE_DAY for n in range(1, min((end - start).days, DAYS_MAX) + 1)]


def _explain(duty: Duty, ledger: _Ledger, count_from: dt.date, last: dt.date, due: dt.date) -> list[Line]:
    """The steps from the start to the due date, in the order of their days."""
    calendar = ledger.calendar
    started = _STARTED if duty.first_day_excluded else _STARTED_SAME_DAY
    shifts: list[Line] = []
    if ledger.working:
        for day in _days(count_from, last):
            if calendar.is_shift(day):
                text = _MAKE_UP if calendar.is_working_day(day) else _HOLIDAY
                shifts.append(Line(day, text.format(day=day, why=calendar.why(day))))
    for suspension, end in ledger.suspensions:
        if suspension.on <= last and end > count_from:
            shifts.append(_suspended(duty, ledger, suspension, end))
    lines = [Line(duty.started_on, started.format(day=duty.started_on))]
    lines += sorted(shifts, key=lambda line: line.date)
    lines.append(Line(last, _DUE.format(budget=duty.budget, unit=_UNITS[duty.unit], due=last)))
    if due != last:
        lines.append(Line(due, _MOVED.format(day=last, why=calendar.why(last), due=due)))
    if due > calendar.announced_until:
        lines.append(Line(due, _NOT_ANNOUNCED.format(day=calendar.announced_until)))
    return lines


def _suspended(duty: Duty, ledger: _Ledger, suspension: Suspension, end: dt.date) -> Line:
    resting = suspension.until is None
    count = sum(ledger.in_unit(day) for day in _days(suspension.on - _ONE_DAY, end - _ONE_DAY))
    text = _SUSPENDED.format(
        day=suspension.on,
        end=end - _ONE_DAY,
        count=count,
        unit=_COUNTED[duty.unit],
        why=suspension.reason,
    )
    if resting:
        text = Text(f"{text.zh}（{_RESTING.zh}）", f"{text.en} ({_RESTING.en})")
    return Line(suspension.on, text)
