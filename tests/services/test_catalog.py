"""Every service that is found is in order, and its page is complete."""

import datetime as dt
from uuid import UUID

import jsonschema_rs
import msgspec
import pytest

from consent.errors import CeilingExceeded
from consent.model import BasisKind, BasisState, Grant, LawfulBasis
from services.catalog import catalog, schema_document, service_info
from services.errors import NotAllowed, ServiceNotFound
from services.gold_card.edition import editions

ON = dt.date(2022, 3, 1)
NOW = dt.datetime(2022, 3, 1, tzinfo=dt.UTC)


def basis(**changes: object) -> LawfulBasis:
    """A consent within every bound, with changes."""
    grant = Grant(agency="nia", resource="nia.residence", fields=("arc.number",), max_uses=1)
    whole = LawfulBasis(
        basis_id=UUID(int=1),
        kind=BasisKind.CONSENT,
        state=BasisState.SHOWN,
        subject="s",
        case_id=None,
        service="gold_card",
        purpose_code="gold_card.residence_record",
        purpose_text="",
        grants=(grant,),
        not_before=NOW,
        expires_at=NOW + dt.timedelta(days=30),
    )
    return msgspec.structs.replace(whole, **changes)


def test_the_gold_card_is_found() -> None:
    assert "gold_card" in catalog()


@pytest.mark.parametrize("service_id", ["", "nothing", "../gold_card", "gold_card.flow", "case"])
def test_an_unknown_service_is_not_found(service_id: str) -> None:
    with pytest.raises(ServiceNotFound):
        service_info(service_id)


def test_the_form_is_a_valid_schema_and_its_page_has_all_that_it_names() -> None:
    page = schema_document("gold_card", ON)

    jsonschema_rs.meta.validate(page.form)
    named = {field.options for field in page.layout.fields if field.options}
    assert named == page.options.keys()
    assert all(page.options[name] for name in named)
    assert page.notices.keys() == {"residence", "duty"}
    assert all(texts.keys() == {"zh-TW", "en"} for texts in page.notices.values())
    assert msgspec.json.decode(msgspec.json.encode(page))["edition"] == "2021-10-25"


def test_every_option_of_a_fixed_list_is_a_value_of_the_form_s_types() -> None:
    page = schema_document("gold_card", ON)

    for field in page.layout.fields:
        schema = page.form
        for name in field.pointer.split("/")[1:]:
            schema = schema["items"] if name == "*" else schema["properties"][name]
        if "enum" in schema:
            assert {choice.value for choice in page.options[field.options]} == set(schema["enum"])


def test_a_field_that_opens_later_is_not_offered() -> None:
    before, after = (schema_document("gold_card", day) for day in (dt.date(2023, 5, 4), dt.date(2023, 5, 5)))

    assert "digital" not in {choice.value for choice in before.options["fields"]}
    assert "digital" in {choice.value for choice in after.options["fields"]}


def test_a_page_after_the_checked_date_warns() -> None:
    assert schema_document("gold_card", dt.date(2024, 10, 11)).warnings == ()
    assert len(schema_document("gold_card", dt.date(2024, 10, 12)).warnings) == 1


def test_outside_all_editions_there_is_no_page() -> None:
    with pytest.raises(NotAllowed):
        schema_document("gold_card", dt.date(2018, 2, 7))
    with pytest.raises(NotAllowed):
        schema_document("gold_card", ON, "1999-01-01")


def test_every_basis_of_every_edition_is_within_the_ceiling_of_its_purpose() -> None:
    info = service_info("gold_card")

    for edition in editions().values():
        for rule in edition.bases:
            validity = NOW + dt.timedelta(days=rule.valid_days)
            asked = basis(kind=rule.kind, grants=(rule.grant(),), expires_at=validity)
            info.purpose(rule.purpose).check(asked)


@pytest.mark.parametrize(
    ("asked", "pointer"),
    [
        (basis(kind=BasisKind.STATUTORY_DUTY), "/kind"),
        (basis(expires_at=NOW + dt.timedelta(days=30, seconds=1)), "/expires_at"),
        (
            basis(grants=(Grant(agency="nia", resource="r", fields=tuple("abcdefghijk"), max_uses=1),)),
            "/grants/0/fields",
        ),
        (basis(grants=(Grant(agency="nia", resource="r", fields=("a",), max_uses=2),)), "/grants/0/max_uses"),
        (basis(grants=(Grant(agency="nia", resource="r", fields=("a",)),)), "/grants/0/max_uses"),
    ],
)
def test_asking_for_more_than_the_purpose_allows_is_refused_with_its_place(
    asked: LawfulBasis, pointer: str
) -> None:
    with pytest.raises(CeilingExceeded) as refused:
        service_info("gold_card").purpose("gold_card.residence_record").check(asked)

    assert refused.value.pointer == pointer
