"""The edition's data agree with the form, with the agencies' wire formats and with the states of a case."""

import datetime as dt
import importlib
from collections.abc import Iterator
from typing import get_args, get_origin, get_type_hints

import msgspec
import pytest

from adapters.contract import OperationKind
from services.errors import NotAllowed
from services.events import State
from services.gold_card.edition import Edition, edition_on, editions, layout, notice_texts, options
from services.gold_card.form import FORM, Category
from services.gold_card.labels import general_state, label


def leaves(shape: type[msgspec.Struct], prefix: str = "") -> Iterator[str]:
    """Dotted names of all members of a wire struct, lists counted as leaves."""
    for name, hint in get_type_hints(shape).items():
        kinds = [kind for kind in (hint, *get_args(hint)) if isinstance(kind, type)]
        nested = [kind for kind in kinds if issubclass(kind, msgspec.Struct)]
        if nested and get_origin(hint) is not tuple:
            yield from leaves(nested[0], f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def test_each_basis_lists_exactly_the_members_of_its_operation(each: Edition) -> None:
    for rule in each.bases:
        operation = importlib.import_module(f"adapters.{rule.agency}.adapter").OPERATIONS[rule.operation]

        assert operation.kind is OperationKind.DATA
        assert operation.resource == rule.resource
        assert set(rule.fields) == {*leaves(operation.request), *leaves(operation.answer)}
        assert len(set(rule.fields)) == len(rule.fields)


def test_only_the_fetch_that_saves_a_document_is_a_consent(each: Edition) -> None:
    assert [rule.id for rule in each.bases if rule.kind.is_consent] == ["residence"]


def test_an_applicant_in_taiwan_needs_no_visa_review(edition: Edition) -> None:
    in_taiwan = {rule.operation for rule in edition.bases_on_duty("arc")}

    assert in_taiwan == {"information_check", "qualification_review", "opinion", "final_review", "contact"}
    assert {rule.operation for rule in edition.bases_on_duty("abroad")} == in_taiwan | {
        "inspection", "visa_review", "exchange",
    }  # fmt: skip


def test_under_the_first_edition_everybody_is_inspected_and_reviewed_by_foreign_affairs(
    first: Edition,
) -> None:
    for stay in first.stays:
        needed = {rule.operation for rule in first.bases_on_duty(stay.id)}

        assert {"inspection", "visa_review"} <= needed
        assert ("exchange" in needed) == (stay.id == "abroad")


@pytest.mark.parametrize("edition_id", list(editions()))
@pytest.mark.parametrize("category", ["hong_kong_resident", "macau_resident"])
def test_residents_of_hong_kong_and_macau_are_not_inspected(edition_id: str, category: Category) -> None:
    needed = {rule.operation for rule in editions()[edition_id].bases_on_duty("abroad", category)}

    assert not needed & {"inspection", "visa_review"}
    assert "exchange" in needed


def test_the_inspection_is_dated_and_placed_by_the_edition(edition: Edition, first: Edition) -> None:
    assert (first.inspection.when, first.inspection.places) == ("after_acceptance", ("bureau", "mission"))
    assert (edition.inspection.when, edition.inspection.places) == ("after_labour_review", ("mission",))
    assert [(one.duty("inspection").budget, one.duty("inspection").unit) for one in (first, edition)] == [
        (30, "calendar_days"),
        (6, "months"),
    ]


def test_what_an_edition_leaves_out_is_as_in_the_one_it_is_like(edition: Edition, first: Edition) -> None:
    assert first.passport == edition.passport
    assert first.duty("review") == edition.duty("review")
    assert layout(first.id) == layout(edition.id)
    assert options(first.id) == options(edition.id)
    assert notice_texts(first.id)["residence"] == notice_texts(edition.id)["residence"]
    assert notice_texts(first.id)["duty"].purpose != notice_texts(edition.id)["duty"].purpose


def test_the_pages_show_every_member_of_the_form_once(edition: Edition) -> None:
    shown = [field.pointer for field in layout(edition.id).fields]

    assert len(shown) == len(set(shown))
    assert set(shown) == FORM.pointers


def test_conditions_speak_of_members_that_exist(each: Edition) -> None:
    conditions = [
        *(field.shown_when for field in layout(each.id).fields),
        *(slot.required_when for slot in each.slots),
        *(condition for exclusion in each.exclusions for condition in exclusion.when),
    ]

    for condition in conditions:
        if condition is not None:
            known = {pointer for pointer in FORM.pointers if pointer.startswith(condition.pointer)}
            assert known


def test_what_can_be_uploaded_is_bounded(edition: Edition) -> None:
    for slot in edition.slots:
        if "upload" in slot.how:
            assert slot.media_types
            assert 0 < slot.bytes_max <= 10 * 1024 * 1024


def test_every_field_has_an_authority_with_a_name(each: Edition) -> None:
    for field in each.fields:
        assert field.clauses
        assert each.authority_title(field.authority).en != field.authority


def test_the_statutory_period_and_the_target_are_told_apart(edition: Edition) -> None:
    review, target = edition.duty("review"), edition.duty("review_target")

    assert (review.budget, review.article, review.target_of) == (30, "許可辦法 §3 II", "")
    assert (target.budget, target.target_of) == (23, "review")


def test_ends_against_the_person_carry_their_remedy(edition: Edition) -> None:
    for outcome in ("refused", "dismissed"):
        remedy = edition.remedy(outcome)
        assert remedy is not None
        assert (remedy.kind, remedy.days) == ("administrative_appeal", 30)
    assert edition.remedy("approved") is None


def test_who_took_part_is_told_of_the_end(edition: Edition) -> None:
    assert edition.agencies_told() == ("wda", "boca")
    assert edition.agencies_told(["field_authority:moc", "field_authority:moc"]) == (
        "wda",
        "boca",
        "field_authority:moc",
    )


def test_the_edition_is_chosen_by_the_legal_date() -> None:
    assert edition_on(dt.date(2021, 10, 25)).id == "2021-10-25"
    assert edition_on(dt.date(2021, 10, 24)).id == "2018-02-08"
    with pytest.raises(NotAllowed):
        edition_on(dt.date(2018, 2, 7))


def test_every_edition_is_named_for_the_day_it_begins() -> None:
    for edition_id, edition in editions().items():
        assert edition_id == edition.id == edition.effective_from.isoformat()


@pytest.mark.parametrize(
    ("state", "general", "word"),
    [
        ("draft", State.DRAFT, "Draft"),
        ("waiting_for_payment", State.WAITING_FOR_PAYMENT, "Waiting for payment"),
        ("qualification_review", State.IN_REVIEW, "Review by the Workforce Development Agency"),
        ("consulting", State.IN_REVIEW, "Consulting with Ministry of Culture"),
        ("supplement_requested", State.WAITING_FOR_APPLICANT, "Supplement requested"),
        ("dismissed", State.DISMISSED, "Dismissed"),
    ],
)
def test_people_see_the_platform_s_words_for_each_state(
    edition: Edition, state: str, general: State, word: str
) -> None:
    assert general_state(edition, state) is general
    assert label(edition, state, "field_authority:moc").en == word


def test_a_consultation_without_a_named_ministry_still_has_a_word(edition: Edition) -> None:
    assert label(edition, "consulting").zh == "會商目的事業主管機關"


def test_an_unknown_state_has_no_word(edition: Edition) -> None:
    with pytest.raises(KeyError):
        label(edition, "lost")
