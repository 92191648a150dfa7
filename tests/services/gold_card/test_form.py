"""The form takes what is real and refuses what is not, before any rule speaks."""

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.gold_card.edition import Edition
from services.gold_card.form import FORM
from services.gold_card.rules import check

Change = Callable[..., dict[str, Any]]
DAYS = st.dates(dt.date(2021, 10, 25), dt.date(2035, 1, 1))


def test_the_whole_application_is_well_formed(changed: Change) -> None:
    assert FORM.findings(changed()) == []


@pytest.mark.parametrize(
    ("pointer", "value", "code"),
    [
        ("/person/surname", "Dupont", "wrong_format"),
        ("/person/surname", "DUPONT\n", "wrong_format"),
        ("/person/surname", "DUPОNT", "wrong_format"),  # a Cyrillic O
        ("/person/surname", "X" * 40, "too_long"),
        ("/person/sex", "f", "not_an_option"),
        ("/person/date_of_birth", "1985-02-30", "wrong_format"),
        ("/person/chinese_name", "王\u0000", "wrong_format"),
        ("/person/other_names", ["A"] * 6, "too_many"),
        ("/passport/number", "12-34567", "wrong_format"),
        ("/passport/number", None, "wrong_type"),
        ("/contact/email", "nobody@localhost", "wrong_format"),
        ("/contact/email", "a@b.c\r\nBcc: x@y.z", "wrong_format"),
        ("/contact/phone", "call me", "wrong_format"),
        ("/contact/address_abroad", "x" * 301, "too_long"),
        ("/card/validity_years", 4, "not_an_option"),
        ("/card/validity_years", "3", "not_an_option"),
        ("/card/validity_years", True, "not_an_option"),
        ("/declarations/criminal_record", "no", "wrong_type"),
        ("/declarations/true_and_complete", "no", "not_an_option"),
        ("/qualification/monthly_salary_ntd", -1, "too_small"),
        ("/qualification/monthly_salary_ntd", 1e300, "too_large"),
        ("/qualification/monthly_salary_ntd", 0.5, "wrong_type"),
        ("/arc/number", "A700000014", "wrong_format"),
        ("/arc/role", "admin", "unknown_member"),
        ("/role", "admin", "unknown_member"),
    ],
)
def test_a_value_that_cannot_be_is_refused_at_its_place(
    changed: Change, pointer: str, value: object, code: str
) -> None:
    document = changed()
    *parents, name = pointer.split("/")[1:]
    part = document
    for parent in parents:
        part = part[parent]
    part[name] = value

    assert (pointer, code) in {(finding.pointer, finding.code) for finding in FORM.findings(document)}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(today=DAYS, expires_on=DAYS)
def test_a_passport_that_serves_on_a_day_served_on_every_day_before(
    changed: Change, edition: Edition, today: dt.date, expires_on: dt.date
) -> None:
    form = FORM.decode(changed({"/passport/expires_on": expires_on.isoformat()}))

    refused = [
        any(f.code == "passport_expires_too_soon" for f in check(form, (), day, edition))
        for day in (today, today + dt.timedelta(days=1))
    ]

    assert refused != [True, False]
    assert refused[0] or expires_on >= today + dt.timedelta(days=181)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(today=DAYS)
def test_checking_tells_places_that_exist_and_never_what_was_sent(
    changed: Change, edition: Edition, today: dt.date
) -> None:
    form = FORM.decode(changed({"/person/surname": "ZZYZX", "/person/country_of_birth": "QQQ"}))

    findings = check(form, (), today, edition)

    slots = {f"document:{slot.id}" for slot in edition.slots}
    assert {f.pointer for f in findings} <= FORM.pointers | slots | {""}
    assert "ZZYZX" not in repr(findings)
    assert "QQQ" not in repr(findings)
