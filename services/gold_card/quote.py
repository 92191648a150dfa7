"""What an application would cost and how long it may take, before anything is filed.

A quote depends on a handful of facts and a legal date, both of which a person may vary freely; it binds
nobody, and says where its rules were not checked against the law in force.
"""

import datetime as dt

import msgspec

from services.calendar import working_calendar
from services.clock import Projection, projection
from services.errors import NotAllowed
from services.gold_card.edition import Edition, edition_on
from services.gold_card.fees import FeeFacts, FeeLine, fee
from services.text import Text

_NOT_REFUNDED = Text(
    "規費除誤繳、溢繳外不予退還（收費標準第7條）。",
    "The fee is not refunded unless paid in error or in excess (fee standard §7).",
)
_NOT_OPEN = Text(
    "此身分目前僅供試算，尚未開放線上送件。", "This status is quoted only; it cannot be filed here yet."
)


class QuotedPeriod(msgspec.Struct, frozen=True, kw_only=True):
    """A period as it would run if the case were accepted on the day of the quote, with nothing to stop it."""

    duty: str
    title: Text
    article: str
    due_on: dt.date
    explanation: tuple[Text, ...]


class Quote(msgspec.Struct, frozen=True, kw_only=True):
    """The fee in NT$ with its lines, the periods, and what to know."""

    edition: str
    legal_date: dt.date
    lines: tuple[FeeLine, ...]
    total_ntd: int
    periods: tuple[QuotedPeriod, ...]
    warnings: tuple[Text, ...]


def quote(facts: FeeFacts, legal_date: dt.date) -> Quote:
    """Quote an application on a day. Raises NotAllowed where no edition, fee standard or calendar covers it."""
    edition = edition_on(legal_date)
    lines = fee(facts, legal_date)
    return Quote(
        edition=edition.id,
        legal_date=legal_date,
        lines=lines,
        total_ntd=sum(line.amount_ntd for line in lines),
        periods=tuple(_periods(edition, legal_date)),
        warnings=tuple(_warnings(edition, facts, legal_date)),
    )


def _periods(edition: Edition, legal_date: dt.date) -> list[QuotedPeriod]:
    calendar = working_calendar()
    periods = []
    for duty_id in ("review", "review_target"):
        rule = edition.duty(duty_id)
        try:
            seen: Projection = projection(rule.duty(legal_date, calendar), (), legal_date, calendar)
        except (ValueError, OverflowError):
            raise NotAllowed(
                "quote", "該日期超出行事曆範圍", "the calendar of working days does not reach that day"
            ) from None
        periods.append(
            QuotedPeriod(
                duty=rule.id,
                title=rule.title,
                article=rule.article,
                due_on=seen.due_on,
                explanation=tuple(line.text for line in seen.lines),
            )
        )
    return periods


def _warnings(edition: Edition, facts: FeeFacts, legal_date: dt.date) -> list[Text]:
    warnings = [_NOT_REFUNDED]
    unverified = edition.warning_on(legal_date)
    if unverified is not None:
        warnings.append(unverified)
    if not any(stay.open for stay in edition.stays if stay.id == facts.stay):
        warnings.append(_NOT_OPEN)
    return warnings
