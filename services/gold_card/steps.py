"""The single steps of an application: what a case says for each, and the call that makes it. Pure.

The order of the steps, and what follows from each answer, stands in `flow`.
"""

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from adapters.field_authority.adapter import OpinionAnswer
from adapters.nia.adapter import Card
from adapters.wda.adapter import Opinion
from services.calendar import working_calendar
from services.case import TAIPEI, At, Case
from services.clock import projection
from services.gold_card import requests
from services.gold_card.edition import Edition, editions
from services.gold_card.form import FORM, GoldCardForm
from services.service import PlannedCall

NIA, WDA, BOCA = "nia", "wda", "boca"
RESIDENCE = "nia.residence"


def edition_of(case: Case) -> Edition:
    """The edition the case was filed under; the newest one for what a draft has alike in all."""
    known = editions()
    return known[case.edition] if case.edition else list(known.values())[-1]


def complete_form(case: Case, form: Mapping[str, Any]) -> dict[str, Any]:
    """The form with what an agency supplied by consent put in the place of what would be typed."""
    fetched = case.fetched.get(RESIDENCE, {})
    wants = isinstance(stay := form.get("stay"), Mapping) and stay.get("residence_record") == "fetched"
    typed = {name: value for name, value in form.items() if name != "arc" or not wants}
    return {**typed, "arc": fetched["arc"]} if wants and "arc" in fetched else typed


def form_of(case: Case) -> GoldCardForm:
    """The form as it was filed or last supplemented; a draft's as it stands."""
    return FORM.decode(complete_form(case, case.form if case.filed_form is None else case.filed_form))


def card_of(case: Case) -> Card | None:
    """The card as NIA issued it, once the case is approved."""
    if case.decision is None or not case.decision.card:
        return None
    return msgspec.convert(case.decision.card, Card)


def needs(case: Case, basis_id: str) -> bool:
    """Whether the edition has this step for such a person: the lawful basis says of whom."""
    form = form_of(case)
    return edition_of(case).basis(basis_id).applies(form.stay.status, form.person.category)


def outcome_of(case: Case, agency: str, operation: str) -> str:
    """How a review came out that is not being made anew; empty where there is no such answer."""
    if any((call.agency, call.operation) == (agency, operation) for call in case.open_calls):
        return ""
    decision = case.answers.get(f"{agency}.{operation}", {}).get("decision", {})
    return str(decision.get("outcome", ""))


def is_asked(case: Case, agency: str, operation: str) -> bool:
    """Whether the agency was asked, and has answered or will."""
    return f"{agency}.{operation}" in case.answers or any(
        (call.agency, call.operation) == (agency, operation) for call in case.open_calls
    )


def due_on(case: Case, duty_id: str, at: At) -> dt.date:
    """The last day of a period that starts today."""
    calendar = working_calendar()
    duty = edition_of(case).duty(duty_id).duty(at.legal_date, calendar)
    return projection(duty, (), at.legal_date, calendar).due_on


def end_of(day: dt.date) -> dt.datetime:
    """The first instant after a day in Taiwan."""
    return dt.datetime.combine(day + dt.timedelta(days=1), dt.time.min, TAIPEI).astimezone(dt.UTC)


def consulted(case: Case) -> list[str]:
    """Agencies that gave an opinion."""
    return [name.rpartition(".")[0] for name in case.answers if name.endswith(".opinion")]


def information_check(case: Case) -> PlannedCall:
    """The immigration agency's first check."""
    data = requests.review(form_of(case), case.documents, edition_of(case))
    return PlannedCall(agency=NIA, operation="information_check", data=data)


def final_review(case: Case) -> PlannedCall:
    """The immigration agency's decision."""
    data = requests.review(form_of(case), case.documents, edition_of(case))
    return PlannedCall(agency=NIA, operation="final_review", data=data)


def qualification_review(case: Case) -> PlannedCall:
    """The labour review; after a consultation it carries the opinion that was given last."""
    opinion = None
    for agency in consulted(case)[-1:]:
        given = msgspec.convert(case.answers[f"{agency}.opinion"], OpinionAnswer)
        opinion = Opinion(authority=agency, qualified=given.qualified, clause=given.clause)
    data = requests.qualification_review(form_of(case), case.documents, edition_of(case), opinion)
    return PlannedCall(agency=WDA, operation="qualification_review", data=data)


def visa_review(case: Case) -> PlannedCall:
    """The part of foreign affairs."""
    data = requests.visa_review(form_of(case), case.documents, edition_of(case))
    return PlannedCall(agency=BOCA, operation="visa_review", data=data)


def inspection(case: Case, due_on: dt.date) -> PlannedCall:
    """The inspection of the passport, answered once the person has been there."""
    data = requests.inspection(form_of(case), due_on, edition_of(case))
    return PlannedCall(agency=BOCA, operation="inspection", data=data)


def exchange(case: Case, certificate: str) -> PlannedCall:
    """The card in exchange for the certificate, answered once it has been collected."""
    return PlannedCall(agency=NIA, operation="exchange", data=requests.exchange(form_of(case), certificate))


# The reviews that may ask for a supplement and are then made again, by operation, which is also the state's id.
REVIEWS: Mapping[str, Callable[[Case], PlannedCall]] = {
    "information_check": information_check,
    "qualification_review": qualification_review,
    "visa_review": visa_review,
    "final_review": final_review,
}
