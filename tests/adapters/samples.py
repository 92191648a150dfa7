"""One valid request for every operation of every agency kind; all persons are made up."""

import datetime as dt
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, get_args, get_origin
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec

from adapters.boca.adapter import InspectionRequest, VisaRequest
from adapters.contract import Operation
from adapters.epay.adapter import Order
from adapters.field_authority.adapter import OpinionRequest
from adapters.nia.adapter import (
    CardWish,
    CertificateNumber,
    ExchangeRequest,
    ResidenceRequest,
    ReviewRequest,
    Stay,
    SupplementNotice,
)
from adapters.notify.adapter import ContactDetails, ContactRequest, Message
from adapters.vocabulary import (
    DecisionNotice,
    DocumentReference,
    Passport,
    Person,
    Qualification,
    SupplementItem,
    Wire,
)
from adapters.wda.adapter import QualificationRequest

PHOTO = b"made-up photograph"
PROOF = b"made-up proof of qualification"
EMPLOYMENT = b"made-up certificate of employment"

PERSON = Person(surname="EXAMPLE", given_names="ADA", date_of_birth=dt.date(1988, 2, 29), sex="F")
PASSPORT = Passport(number="X12345678", nationality="GBR", expires_on=dt.date(2031, 5, 1))
QUALIFICATION = Qualification(
    field="culture", clause="award", years_of_experience=9, employer="Example Arts Ltd", title="Director"
)


def document(number: int, slot: str, content: bytes) -> DocumentReference:
    """A reference to this content."""
    return DocumentReference(
        document=UUID(int=number),
        slot=slot,
        media_type="application/pdf",
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )


DOCUMENTS = (
    document(1, "photo", PHOTO),
    document(2, "qualification", PROOF),
    document(3, "employment_certificate", EMPLOYMENT),
)
CONTENTS: Mapping[UUID, bytes] = {UUID(int=1): PHOTO, UUID(int=2): PROOF, UUID(int=3): EMPLOYMENT}

REVIEW = ReviewRequest(
    person=PERSON,
    passport=PASSPORT,
    card=CardWish(validity_years=3),
    stay=Stay(status="visa_exempt"),
    qualification=QUALIFICATION,
    documents=DOCUMENTS,
)
QUALIFICATION_REVIEW = QualificationRequest(
    person=PERSON, passport=PASSPORT, qualification=QUALIFICATION, documents=DOCUMENTS
)
OPINION = OpinionRequest(person=PERSON, qualification=QUALIFICATION, documents=DOCUMENTS[1:])
NOTICE = DecisionNotice(outcome="approved", decided_on=dt.date(2026, 11, 23))


def appearances() -> Mapping[tuple[str, str], Mapping[str, str]]:
    """What somebody shows at the desk, for the operations that wait for a person."""
    return {
        ("boca", "inspection"): {"passport_number": PASSPORT.number, "place": "mission"},
        ("nia", "exchange"): {"certificate": "GC20261123ABCDEF", "entered_on": _today_in_taiwan()},
    }


def _today_in_taiwan() -> str:
    return dt.datetime.now(ZoneInfo("Asia/Taipei")).date().isoformat()


def samples(gateway: str) -> Mapping[tuple[str, str], Wire]:
    """Requests by agency kind and operation, for a gateway at this origin."""
    return {
        ("nia", "residence"): ResidenceRequest(passport=PASSPORT, person=PERSON),
        ("nia", "information_check"): REVIEW,
        ("nia", "final_review"): REVIEW,
        ("nia", "exchange"): ExchangeRequest(
            person=PERSON,
            certificate=CertificateNumber(number="GC20261123ABCDEF"),
            card=CardWish(validity_years=3),
        ),
        ("nia", "supplement_notice"): SupplementNotice(
            requested_by="wda",
            items=(
                SupplementItem(
                    kind="supplement",
                    target="document:employment_certificate",
                    reason_zh="缺在職證明。",
                    reason_en="The certificate of employment is missing.",
                ),
            ),
            due_on=dt.date(2026, 12, 23),
        ),
        ("wda", "qualification_review"): QUALIFICATION_REVIEW,
        ("wda", "decision_notice"): NOTICE,
        ("field_authority", "opinion"): OPINION,
        ("field_authority", "decision_notice"): NOTICE,
        ("boca", "inspection"): InspectionRequest(
            person=PERSON, passport=PASSPORT, places=("bureau", "mission"), due_on=dt.date(2099, 1, 1)
        ),
        ("boca", "visa_review"): VisaRequest(person=PERSON, passport=PASSPORT, documents=DOCUMENTS[:1]),
        ("boca", "decision_notice"): NOTICE,
        ("epay", "order"): Order(
            amount_ntd=3500,
            item="就業金卡規費（3 年）",
            return_url=f"{gateway}/cases/1",
            expires_at=dt.datetime(2099, 1, 1, tzinfo=dt.UTC),
        ),
        ("notify", "contact"): ContactRequest(contact=ContactDetails(email="ada@example.org")),
        ("notify", "send"): Message(template="gold_card.approved", language="en", link=f"{gateway}/cases/1"),
    }


def fields_of(operation: Operation) -> frozenset[str]:
    """Dotted names of everything that the operation may carry or fetch."""
    return frozenset((*_leaves(operation.request), *_leaves(operation.answer)))


def _leaves(struct: type[msgspec.Struct], prefix: str = "") -> Iterator[str]:
    for member in msgspec.structs.fields(struct):
        inner = _struct_in(member.type)
        if inner is None:
            yield f"{prefix}{member.name}"
        else:
            yield from _leaves(inner, f"{prefix}{member.name}.")


def _struct_in(annotation: Any) -> type[msgspec.Struct] | None:
    """The struct that a member is or may be; arrays are leaves."""
    if get_origin(annotation) is tuple:
        return None
    for candidate in get_args(annotation) or (annotation,):
        if isinstance(candidate, type) and issubclass(candidate, msgspec.Struct):
            return candidate
    return None
