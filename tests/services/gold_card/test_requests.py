"""Each agency is sent its part of the application, under the names its lawful basis lists, and no more."""

import datetime as dt
from collections.abc import Callable
from typing import Any
from uuid import UUID

import msgspec
import pytest

from adapters.contract import members_of
from adapters.wda.adapter import Opinion
from services.events import Document
from services.gold_card import requests
from services.gold_card.edition import Edition
from services.gold_card.form import FORM

Change = Callable[..., dict[str, Any]]
DOCUMENTS = [
    Document(document_id=UUID(int=n), slot=slot, media_type="image/png", size=n, sha256=f"{n:064x}")
    for n, slot in enumerate(["passport", "photo", "qualification", "arc_copy", "unknown"])
]


def sent(request: msgspec.Struct) -> tuple[set[str], set[str]]:
    """Dotted names of what a request carries, and the slots of its documents."""
    body = msgspec.json.decode(msgspec.json.encode(request))
    return set(members_of(body)), {document["slot"] for document in body.get("documents", [])}


def test_no_request_carries_more_than_its_basis_lists(changed: Change, edition: Edition) -> None:
    form = FORM.decode(changed())
    given = Opinion(authority="field_authority:moc", qualified=True, clause="award")
    built = {
        "information_check": requests.review(form, DOCUMENTS, edition),
        "final_review": requests.review(form, DOCUMENTS, edition),
        "qualification_review": requests.qualification_review(form, DOCUMENTS, edition, given),
        "opinion": requests.opinion(form, DOCUMENTS, edition),
        "visa_review": requests.visa_review(form, DOCUMENTS, edition),
        "inspection": requests.inspection(form, dt.date(2022, 9, 1), edition),
        "exchange": requests.exchange(form, "GC20220415ABCDEF"),
        "contact": requests.contact(form),
        "residence": requests.residence(changed()),
    }

    assert built.keys() == {rule.id for rule in edition.bases}
    for basis_id, request in built.items():
        assert request is not None
        assert sent(request)[0] <= set(edition.basis(basis_id).fields)


@pytest.mark.parametrize(
    ("build", "slots"),
    [
        (requests.review, {"passport", "photo", "qualification", "arc_copy"}),
        (requests.qualification_review, {"passport", "qualification"}),
        (requests.opinion, {"qualification"}),
        (requests.visa_review, {"passport"}),
    ],
)
def test_a_document_goes_only_to_whom_it_is_for(
    changed: Change, edition: Edition, build: Callable[..., msgspec.Struct], slots: set[str]
) -> None:
    assert sent(build(FORM.decode(changed()), DOCUMENTS, edition))[1] == slots


def test_without_a_certificate_none_is_sent(changed: Change, edition: Edition) -> None:
    form = FORM.decode(changed({"/arc": None}))

    assert requests.review(form, (), edition).arc is None


def test_a_draft_that_names_the_person_in_full_is_enough_to_fetch_the_record(changed: Change) -> None:
    draft = {"person": changed()["person"], "passport": changed()["passport"]}

    request = requests.residence(draft)

    assert request is not None
    assert request.person.surname == "DUPONT"


@pytest.mark.parametrize(
    "change",
    [
        {"/passport": None},
        {"/passport/number": None},
        {"/passport/number": "bad"},
        {"/person/date_of_birth": "1985-13-01"},
        {"/person/surname": ""},
        {"/person": []},
    ],
)
def test_a_draft_that_does_not_is_not(changed: Change, change: dict[str, Any]) -> None:
    assert requests.residence(changed(change)) is None


@pytest.mark.parametrize("draft", [{}, {"person": None}, {"passport": {}}])
def test_an_empty_draft_fetches_nothing(draft: dict[str, Any]) -> None:
    assert requests.residence(draft) is None
