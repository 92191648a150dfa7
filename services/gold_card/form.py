"""The whole application form, typed.

Members carry the names that the agencies' wire formats use for the same thing (`passport.number`), so that
form, lawful basis, token and log speak of one field by one name. The list of fields follows 許可辦法 §2 and,
where the law leaves it to the platform's form, general knowledge of it. What depends on a date or on several
fields (a passport valid for six months, a clause of a field) is a rule, not a type.

An optional part is absent, never null. Every text and every list has a bound.
"""

import datetime as dt
from typing import Annotated, Literal, get_args

import msgspec
from msgspec import UNSET, Meta, UnsetType

from services.forms import Form

_NO_CONTROL = r"^[^\u0000-\u001f\u007f-\u009f\u2028\u2029]*$"
_MRZ_NAME = r"^[A-Z]+([ '\-][A-Z]+)*$"

# 39 characters is what a passport's machine-readable zone holds (ICAO 9303-4).
MrzName = Annotated[str, Meta(min_length=1, max_length=39, pattern=_MRZ_NAME)]
MrzNameOrNone = Annotated[str, Meta(max_length=39, pattern=r"^([A-Z]+([ '\-][A-Z]+)*)?$")]
Alpha3 = Annotated[str, Meta(min_length=3, max_length=3, pattern=r"^[A-Z]{3}$")]  # ISO 3166-1
Line = Annotated[str, Meta(min_length=1, max_length=120, pattern=_NO_CONTROL)]
LineOrNone = Annotated[str, Meta(max_length=120, pattern=_NO_CONTROL)]
Address = Annotated[str, Meta(min_length=1, max_length=300, pattern=_NO_CONTROL)]
AddressOrNone = Annotated[str, Meta(max_length=300, pattern=_NO_CONTROL)]
Code = Annotated[str, Meta(min_length=1, max_length=60, pattern=r"^[a-z0-9_.\-]+$")]
Phone = Annotated[str, Meta(min_length=5, max_length=20, pattern=r"^\+?[0-9][0-9 \-]{3,18}$")]
Email = Annotated[
    str,
    Meta(
        min_length=3,
        max_length=254,
        pattern=r"^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~\-]+@[A-Za-z0-9\-]+(\.[A-Za-z0-9\-]+)+$",
    ),
]
PassportNumber = Annotated[str, Meta(min_length=5, max_length=9, pattern=r"^[A-Z0-9]{5,9}$")]
ResidentNumber = Annotated[str, Meta(min_length=10, max_length=10, pattern=r"^[A-Z][A-D89][0-9]{8}$")]
Years = Annotated[int, Meta(ge=0, le=80)]
Salary = Annotated[int, Meta(ge=0, le=1_000_000_000)]

Category = Literal["foreign_national", "hong_kong_resident", "macau_resident"]
CATEGORIES: tuple[Category, ...] = get_args(Category)
StayStatus = Literal["arc", "visitor_visa_extendable", "visitor_visa_short", "visa_exempt", "abroad"]


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """Base of the form's parts: frozen, and unknown members are refused."""


class PersonPart(Part, frozen=True, kw_only=True):
    """Who applies; surname and given names as in the passport's machine-readable zone."""

    surname: MrzName
    given_names: MrzNameOrNone
    sex: Literal["F", "M", "X"]
    date_of_birth: dt.date
    category: Category
    country_of_birth: Alpha3
    place_of_birth: LineOrNone = ""
    chinese_name: Annotated[str, Meta(max_length=30, pattern=_NO_CONTROL)] = ""
    other_names: Annotated[tuple[Line, ...], Meta(max_length=5)] = ()
    other_nationalities: Annotated[tuple[Alpha3, ...], Meta(max_length=5)] = ()
    marital_status: Literal["single", "married", "divorced", "widowed", "undisclosed"]


class PassportPart(Part, frozen=True, kw_only=True):
    """The passport that the card will be tied to."""

    number: PassportNumber
    nationality: Alpha3
    type: Literal["ordinary", "official", "diplomatic", "travel_document"]
    issued_on: dt.date
    expires_on: dt.date


class ContactPart(Part, frozen=True, kw_only=True):
    """Where the person can be reached; the address in Taiwan is needed of who is there."""

    email: Email
    phone: Phone
    address_abroad: Address
    address_taiwan: AddressOrNone = ""


class StayPart(Part, frozen=True, kw_only=True):
    """The present stay in Taiwan.

    `residence_record` says how a resident shows the certificate: fetched from the immigration agency by
    consent, or by an uploaded copy with the `arc` part filled by hand.
    """

    status: StayStatus
    entered_on: dt.date | UnsetType = UNSET
    expires_on: dt.date | UnsetType = UNSET
    residence_record: Literal["fetched", "uploaded", "none"] = "none"


class ArcPart(Part, frozen=True, kw_only=True):
    """The alien resident certificate (外僑居留證), under the names of the immigration agency's answer."""

    number: ResidentNumber
    expires_on: dt.date
    address: Address


class Education(Part, frozen=True, kw_only=True):
    """One degree."""

    school: Line
    country: Alpha3
    degree: Literal["bachelor", "master", "doctor", "other"]
    subject: Line
    awarded_on: dt.date


class Employment(Part, frozen=True, kw_only=True):
    """One position, the present one without an end."""

    employer: Line
    country: Alpha3
    title: Line
    from_on: dt.date
    to_on: dt.date | UnsetType = UNSET


class QualificationPart(Part, frozen=True, kw_only=True):
    """The field and the one clause applied under, with the facts that clauses ask for."""

    field: Code
    clause: Code
    employer: LineOrNone = ""
    title: LineOrNone = ""
    years_of_experience: Years = 0
    monthly_salary_ntd: Salary = 0


class MainlandWork(Part, frozen=True, kw_only=True):
    """Work for an organisation in mainland China."""

    organisation: Line
    title: Line
    from_on: dt.date
    to_on: dt.date | UnsetType = UNSET


class DeclarationsPart(Part, frozen=True, kw_only=True):
    """What the person declares to be true; who is excluded follows from it."""

    criminal_record: bool
    mainland_china_citizen: bool
    roc_household_registration: bool
    entered_on_roc_passport: bool
    military_service: Literal["not_subject", "completed", "subject"]
    worked_in_mainland_china: bool
    mainland_work: Annotated[tuple[MainlandWork, ...], Meta(max_length=10)] = ()
    true_and_complete: Literal["yes"]


class CardPart(Part, frozen=True, kw_only=True):
    """The card asked for, and where it is collected."""

    validity_years: Literal[1, 2, 3]
    collection_station: Code


class AgentPart(Part, frozen=True, kw_only=True):
    """Who files for the person, with a power of attorney."""

    name: Line
    number: Annotated[str, Meta(min_length=8, max_length=10, pattern=r"^[A-Z0-9]{8,10}$")]
    phone: Phone
    address: Address


class GoldCardForm(Part, frozen=True, kw_only=True):
    """One application."""

    person: PersonPart
    passport: PassportPart
    contact: ContactPart
    stay: StayPart
    qualification: QualificationPart
    education: Annotated[tuple[Education, ...], Meta(max_length=10)] = ()
    employment: Annotated[tuple[Employment, ...], Meta(max_length=30)] = ()
    declarations: DeclarationsPart
    card: CardPart
    arc: ArcPart | UnsetType = UNSET
    agent: AgentPart | UnsetType = UNSET


FORM = Form(GoldCardForm)
