"""A quote adds up, names its periods, and says what it does not know."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.errors import NotAllowed
from services.gold_card.edition import editions
from services.gold_card.fees import FeeFacts
from services.gold_card.quote import quote

FACTS = FeeFacts(category="foreign_national", nationality="FRA", stay="arc", validity_years=3)


def test_a_quote_adds_up_and_dates_the_rule_and_the_target() -> None:
    quoted = quote(FACTS, dt.date(2022, 3, 1))

    assert (quoted.edition, quoted.total_ntd) == ("2021-10-25", 3500)
    assert {period.duty: period.due_on for period in quoted.periods} == {
        "review": dt.date(2022, 4, 14),
        "review_target": dt.date(2022, 4, 1),
    }
    assert all(period.explanation for period in quoted.periods)


@given(
    st.sampled_from(["foreign_national", "hong_kong_resident", "macau_resident"]),
    st.sampled_from(["arc", "visitor_visa_extendable", "visitor_visa_short", "visa_exempt", "abroad"]),
    st.sampled_from(["USA", "FRA", "CHN"]),
    st.integers(1, 2),
    st.dates(dt.date(2021, 10, 25), dt.date(2030, 1, 1)),
)
def test_everybody_has_a_quote_and_a_longer_card_is_never_cheaper(
    category: str, stay: str, nationality: str, years: int, on: dt.date
) -> None:
    shorter, longer = (
        quote(FeeFacts(category=category, stay=stay, nationality=nationality, validity_years=n), on)  # type: ignore[arg-type]  # drawn from these values
        for n in (years, years + 1)
    )

    assert sum(line.amount_ntd for line in shorter.lines) == shorter.total_ntd <= longer.total_ntd


def test_after_the_checked_date_a_quote_carries_the_warning() -> None:
    warning = editions()["2021-10-25"].verified_warning

    assert warning not in quote(FACTS, dt.date(2024, 10, 11)).warnings
    assert warning in quote(FACTS, dt.date(2024, 10, 12)).warnings


@pytest.mark.parametrize("on", [dt.date(2021, 10, 23), dt.date(2021, 10, 24)])
def test_the_last_days_of_the_first_edition_pay_by_the_next_fee_standard(on: dt.date) -> None:
    facts = FeeFacts(category="foreign_national", nationality="GBR", stay="visa_exempt", validity_years=3)

    quoted = quote(facts, on)
    day_before = quote(facts, dt.date(2021, 10, 22))

    assert (quoted.edition, quoted.total_ntd) == ("2018-02-08", 5700)
    assert (day_before.edition, day_before.total_ntd) == ("2018-02-08", 6500)


def test_before_the_edition_there_is_no_quote() -> None:
    with pytest.raises(NotAllowed):
        quote(FACTS, dt.date(2018, 2, 7))
