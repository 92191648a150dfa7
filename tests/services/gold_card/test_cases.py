"""Every example of `cases.yaml` comes out as it says."""

import datetime as dt
from collections.abc import Callable, Sequence
from importlib.resources import files
from typing import Any
from uuid import UUID

import msgspec
import pytest
import yaml

from adapters.nia.adapter import Card
from services.errors import NotAllowed
from services.events import Document
from services.gold_card.edition import edition_on, editions
from services.gold_card.fees import FeeFacts, fee
from services.gold_card.form import FORM
from services.gold_card.rules import check, permits

CASES: dict[str, Any] = yaml.safe_load(files("services.gold_card").joinpath("cases.yaml").read_text("utf-8"))
Change = Callable[..., dict[str, Any]]


def examples(section: str) -> pytest.MarkDecorator:
    """One parameter for each example of a section, named as it is there."""
    return pytest.mark.parametrize(
        "example", [pytest.param(example, id=example["name"]) for example in CASES[section]]
    )


def uploaded(slots: Sequence[str]) -> list[Document]:
    """A document in each slot."""
    return [
        Document(document_id=UUID(int=n), slot=slot, media_type="application/pdf", size=1, sha256="0" * 64)
        for n, slot in enumerate(slots)
    ]


@examples("eligibility")
def test_an_application_is_checked_as_the_law_says(example: dict[str, Any], changed: Change) -> None:
    form = FORM.decode(changed(example.get("given")))
    documents = uploaded(example.get("documents", CASES["documents"]))

    findings = check(form, documents, example["date"], edition_on(example["date"]))

    told = {
        severity: sorted(f"{f.pointer} {f.code}" for f in findings if f.severity == severity)
        for severity in ("error", "incomplete", "warning")
    }
    assert told == {
        "error": [],
        "incomplete": sorted(example.get("found", [])),
        "warning": sorted(example.get("warned", [])),
    }


@examples("fees")
def test_a_fee_is_what_the_standard_of_its_day_says(example: dict[str, Any]) -> None:
    lines = fee(msgspec.convert(example["facts"], FeeFacts), example["date"])

    assert [line.amount_ntd for line in lines] == example["lines"]
    assert all(line.statute and f"{line.amount_ntd:,}" in line.arithmetic.en for line in lines)


@examples("no_fee")
def test_where_no_standard_holds_there_is_no_fee(example: dict[str, Any]) -> None:
    with pytest.raises(NotAllowed):
        fee(msgspec.convert(example["facts"], FeeFacts), example["date"])


@examples("permits")
def test_an_approval_has_the_effects_of_the_act(example: dict[str, Any], changed: Change) -> None:
    edition = editions()[example.get("edition", "2021-10-25")]
    issued_on = dt.date(2022, 4, 15)
    card = Card(
        number="0" * 10,
        issued_on=issued_on,
        valid_from=dt.date(2022, 4, 16),
        valid_to=dt.date(2025, 4, 15),
    )

    effects = permits(FORM.decode(changed(example["given"])), edition, card)

    assert {name: effect.status for name, effect in effects.items()} == example["status"]
    assert all(effect.basis for effect in effects.values())
    assert all(
        (effect.valid_from, effect.valid_to)
        == ((card.valid_from, card.valid_to) if effect.status == "granted" else (None, None))
        for effect in effects.values()
    )
