"""Rules as dated data: `sandbox.toml` beside each sandbox, a row for each value and each time it was in force.

`source` says where a value was read; what is from general knowledge says so, and what a sandbox made up to
have something to decide by is marked as its own rule.
"""

import datetime as dt
from importlib import resources

import msgspec


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One value from one day to another, both included; without an end it is still in force."""

    name: str
    value: int | str
    effective_from: dt.date
    source: str
    effective_to: dt.date | None = None

    def is_in_force(self, on: dt.date) -> bool:
        """Whether the value counts on that day."""
        return self.effective_from <= on and (self.effective_to is None or on <= self.effective_to)


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rules: tuple[Row, ...]


class LawBook:
    """The rules of one agency kind."""

    def __init__(self, kind: str) -> None:
        content = (resources.files("adapters") / kind / "sandbox.toml").read_bytes()
        self._rows = msgspec.toml.decode(content, type=_File).rules

    def number(self, name: str, on: dt.date) -> int | None:
        """The number in force on that day; None where there is no such rule then."""
        value = self._value(name, on)
        return value if isinstance(value, int) else None

    def text(self, name: str, on: dt.date) -> str:
        """The text in force on that day; empty where there is no such rule then."""
        value = self._value(name, on)
        return value if isinstance(value, str) else ""

    def _value(self, name: str, on: dt.date) -> int | str | None:
        return next((row.value for row in self._rows if row.name == name and row.is_in_force(on)), None)


def months_after(day: dt.date, months: int) -> dt.date:
    """The same day so many months later, or that month's last day (民法 §121 II counts alike)."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    first_of_next = dt.date(year + (month + 1) // 12, (month + 1) % 12 + 1, 1)
    return min(
        dt.date(year, month + 1, 1) + dt.timedelta(days=day.day - 1), first_of_next - dt.timedelta(days=1)
    )
