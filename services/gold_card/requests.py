"""What each agency is sent: the form's facts in the agencies' wire structs, and no more than its part.

An agency receives the documents whose slot names it as a recipient. The structs' members are the fields that
the lawful bases of the edition list.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from adapters import vocabulary as wire
from adapters.boca.adapter import InspectionRequest, VisaRequest
from adapters.field_authority.adapter import OpinionRequest
from adapters.nia.adapter import (
    Arc,
    CardWish,
    CertificateNumber,
    ExchangeRequest,
    ResidenceRequest,
    ReviewRequest,
    Stay,
)
from adapters.notify.adapter import ContactDetails, ContactRequest
from adapters.wda.adapter import Opinion, QualificationRequest
from services.events import Document
from services.gold_card.edition import FIELD_AUTHORITY, Edition
from services.gold_card.form import FORM, ArcPart, GoldCardForm
from services.service import Identity


def residence(document: Mapping[str, Any]) -> ResidenceRequest | None:
    """Whose residence record is asked for; None while the draft does not say it in full."""
    parts: dict[str, type[msgspec.Struct]] = {"person": wire.Person, "passport": wire.Passport}
    needed = {f"/{part}/{name}" for part, shape in parts.items() for name in shape.__struct_fields__}
    wrong = {finding.pointer for finding in FORM.findings(document)}
    if wrong & (needed | {"", "/person", "/passport"}):
        return None
    picked = {
        part: {name: document[part][name] for name in shape.__struct_fields__}
        for part, shape in parts.items()
    }
    try:
        return msgspec.convert(picked, ResidenceRequest)
    except msgspec.ValidationError:  # a date that is none, like 0000-01-01
        return None


def holder(wanted: ResidenceRequest) -> Identity:
    """The person whose record a request asks for."""
    return Identity(
        passport_number=wanted.passport.number,
        nationality=wanted.passport.nationality,
        date_of_birth=wanted.person.date_of_birth,
    )


def review(form: GoldCardForm, documents: Sequence[Document], edition: Edition) -> ReviewRequest:
    """The application as the immigration agency checks it first and decides it last."""
    arc = form.arc
    return ReviewRequest(
        person=_person(form),
        passport=_passport(form),
        card=CardWish(validity_years=form.card.validity_years),
        stay=Stay(status=form.stay.status),
        qualification=_qualification(form),
        arc=Arc(number=arc.number, expires_on=arc.expires_on, address=arc.address)
        if isinstance(arc, ArcPart)
        else None,
        documents=_documents(documents, edition, "nia"),
    )


def qualification_review(
    form: GoldCardForm, documents: Sequence[Document], edition: Edition, opinion: Opinion | None = None
) -> QualificationRequest:
    """The application as the labour agency reviews it; with the opinion it asked for, once there is one."""
    return QualificationRequest(
        person=_person(form),
        passport=_passport(form),
        qualification=_qualification(form),
        documents=_documents(documents, edition, "wda"),
        opinion=opinion,
    )


def opinion(form: GoldCardForm, documents: Sequence[Document], edition: Edition) -> OpinionRequest:
    """The part that a field's competent authority judges."""
    return OpinionRequest(
        person=_person(form),
        qualification=_qualification(form),
        documents=_documents(documents, edition, FIELD_AUTHORITY),
    )


def visa_review(form: GoldCardForm, documents: Sequence[Document], edition: Edition) -> VisaRequest:
    """The part that foreign affairs reviews."""
    return VisaRequest(
        person=_person(form), passport=_passport(form), documents=_documents(documents, edition, "boca")
    )


def inspection(form: GoldCardForm, due_on: dt.date, edition: Edition) -> InspectionRequest:
    """Whose passport is to be inspected, where and until when."""
    return InspectionRequest(
        person=_person(form), passport=_passport(form), places=edition.inspection.places, due_on=due_on
    )


def exchange(form: GoldCardForm, certificate: str) -> ExchangeRequest:
    """Whose certificate will be exchanged for which card."""
    return ExchangeRequest(
        person=_person(form),
        certificate=CertificateNumber(number=certificate),
        card=CardWish(validity_years=form.card.validity_years),
    )


def contact(form: GoldCardForm) -> ContactRequest:
    """Where the notices of this case go."""
    return ContactRequest(contact=ContactDetails(email=form.contact.email, phone=form.contact.phone))


def _person(form: GoldCardForm) -> wire.Person:
    person = form.person
    return wire.Person(
        surname=person.surname,
        given_names=person.given_names,
        date_of_birth=person.date_of_birth,
        sex=person.sex,
    )


def _passport(form: GoldCardForm) -> wire.Passport:
    passport = form.passport
    return wire.Passport(
        number=passport.number, nationality=passport.nationality, expires_on=passport.expires_on
    )


def _qualification(form: GoldCardForm) -> wire.Qualification:
    claimed = form.qualification
    return wire.Qualification(
        field=claimed.field,
        clause=claimed.clause,
        monthly_salary_ntd=claimed.monthly_salary_ntd,
        years_of_experience=claimed.years_of_experience,
        employer=claimed.employer,
        title=claimed.title,
    )


def _documents(
    documents: Sequence[Document], edition: Edition, recipient: str
) -> tuple[wire.DocumentReference, ...]:
    """The documents that this kind of agency receives; one in a slot the edition does not know goes nowhere."""
    slots = {slot.id for slot in edition.slots if recipient in slot.recipients}
    return tuple(
        wire.DocumentReference(
            document=document.document_id,
            slot=document.slot,
            media_type=document.media_type,
            size=document.size,
            sha256=document.sha256,
        )
        for document in documents
        if document.slot in slots
    )
