"""The fee of an application, by the fee standard of its legal date.

The tables are data (`fees.toml`), each with the days between which it holds; the first row that fits the
facts applies. A fee is a list of lines, and each line says on which statute it rests and how it was reached.
"""

import datetime as dt
from functools import cache
from importlib.resources import files
from typing import Literal

import msgspec

from services.errors import NotAllowed
from services.gold_card.form import Alpha3, Category, GoldCardForm, StayStatus
from services.text import Text

_BASE = Text("規費（{row}）", "Fee ({row})")
_BASE_SUM = Text("{years} 年效期：新臺幣 {amount:,} 元", "validity of {years} year(s): NT${amount:,}")
_SPECIAL = Text("簽證特別處理費", "Special processing fee of the visa")
_SPECIAL_SUM = Text(
    "{passport} 護照，依對等原則：新臺幣 {amount:,} 元", "{passport} passport, by reciprocity: NT${amount:,}"
)


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of what is read from `fees.toml`."""


class Row(_Strict, frozen=True, kw_only=True):
    """An amount for each validity; an empty condition fits everyone."""

    title: Text
    amounts_ntd: tuple[int, int, int]
    categories: tuple[Category, ...] = ()
    passports: tuple[str, ...] = ()
    stays: tuple[StayStatus, ...] = ()
    special: bool = False


class Table(_Strict, frozen=True, kw_only=True):
    """One version of the fee standard."""

    id: str
    effective_from: dt.date
    statute: str
    rows: tuple[Row, ...]
    effective_to: dt.date | None = None


class SpecialProcessingFee(_Strict, frozen=True, kw_only=True):
    """What is added for a passport whose state charges ours the like."""

    passport: str
    effective_from: dt.date
    amount_ntd: int
    statute: str
    source: str
    effective_to: dt.date | None = None


class FeeStandard(_Strict, frozen=True, kw_only=True):
    """What `fees.toml` holds."""

    tables: tuple[Table, ...]
    special_processing_fees: tuple[SpecialProcessingFee, ...]


class FeeFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All that the fee depends on; `nationality` is ISO 3166-1 alpha-3, as in the passport."""

    category: Category
    nationality: Alpha3
    stay: StayStatus
    validity_years: Literal[1, 2, 3]


class FeeLine(msgspec.Struct, frozen=True, kw_only=True):
    """One part of a fee in NT$: on which statute it rests, and how it was reached."""

    title: Text
    statute: str
    arithmetic: Text
    amount_ntd: int


def facts_of(form: GoldCardForm) -> FeeFacts:
    """What the fee of an application depends on."""
    return FeeFacts(
        category=form.person.category,
        nationality=form.passport.nationality,
        stay=form.stay.status,
        validity_years=form.card.validity_years,
    )


def fee(facts: FeeFacts, legal_date: dt.date) -> tuple[FeeLine, ...]:
    """The lines of the fee on a day; their sum is due. Raises NotAllowed where no fee standard covers it."""
    standard = fee_standard()
    special = _special(standard, facts.nationality, legal_date)
    for table in standard.tables:
        if _in_force(table, legal_date):
            for row in table.rows:
                if _fits(row, facts, has_special=special is not None):
                    return _lines(table, row, special, facts)
    raise NotAllowed(
        "quote", "該日期及身分無適用之規費標準", "no fee standard covers this day and these facts"
    )


@cache
def fee_standard() -> FeeStandard:
    """The tables as installed."""
    raw = files("services.gold_card").joinpath("fees.toml").read_bytes()
    return msgspec.toml.decode(raw, type=FeeStandard)


def _in_force(rule: Table | SpecialProcessingFee, legal_date: dt.date) -> bool:
    return rule.effective_from <= legal_date and (
        rule.effective_to is None or legal_date <= rule.effective_to
    )


def _special(standard: FeeStandard, passport: str, legal_date: dt.date) -> SpecialProcessingFee | None:
    for special in standard.special_processing_fees:
        if special.passport == passport and _in_force(special, legal_date):
            return special
    return None


def _fits(row: Row, facts: FeeFacts, *, has_special: bool) -> bool:
    return (
        (not row.categories or facts.category in row.categories)
        and (not row.passports or facts.nationality in row.passports)
        and (not row.stays or facts.stay in row.stays)
        and (not row.special or has_special)
    )


def _lines(
    table: Table, row: Row, special: SpecialProcessingFee | None, facts: FeeFacts
) -> tuple[FeeLine, ...]:
    amount = row.amounts_ntd[facts.validity_years - 1]
    base = FeeLine(
        title=_BASE.format(row=row.title),
        statute=table.statute,
        arithmetic=_BASE_SUM.format(years=facts.validity_years, amount=amount),
        amount_ntd=amount,
    )
    if not row.special or special is None:
        return (base,)
    added = FeeLine(
        title=_SPECIAL,
        statute=special.statute,
        arithmetic=_SPECIAL_SUM.format(passport=special.passport, amount=special.amount_ntd),
        amount_ntd=special.amount_ntd,
    )
    return (base, added)
