"""The editions of the service: its rules between two legal dates, as data.

An edition is a folder `editions/<id>` of TOML files: what may be applied for, documents, periods, lawful
bases, remedies, states (`edition.toml`), the form's pages and option lists (`form.toml`, `options.toml`) and
the notices (`notices.toml`); `edition_files` reads them. A case keeps the edition that it was filed under.
Editions are read once and never changed.
"""

import datetime as dt
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Literal, TypeVar

import msgspec

from consent.model import BasisKind, Grant
from services.calendar import WorkingCalendar
from services.clock import Duty, Unit
from services.errors import NotAllowed
from services.events import State
from services.forms import Condition, Layout
from services.gold_card import edition_files
from services.gold_card.form import Category, StayStatus
from services.text import Text

FIELD_AUTHORITY = "field_authority"


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of an edition's parts."""


class Law(Part, frozen=True, kw_only=True):
    """A law the edition rests on, with its code in the national database and the date of the text."""

    name: str
    code: str
    version: dt.date
    articles: str


class Option(Part, frozen=True, kw_only=True):
    """One entry of an option list."""

    id: str
    title: Text
    source: str = ""


class Stay(Part, frozen=True, kw_only=True):
    """A status in which people apply; one that is not `open` is quoted, and not yet filed here."""

    id: StayStatus
    title: Text
    open: bool


class Clause(Part, frozen=True, kw_only=True):
    """One way to qualify in a field, with the figures it asks for."""

    id: str
    title: Text
    source: str
    monthly_salary_ntd_min: int = 0
    years_of_experience_min: int = 0


class ExpertField(Part, frozen=True, kw_only=True):
    """A field of expertise and the agency that is its competent authority."""

    id: str
    title: Text
    authority: str
    since: dt.date
    source: str
    clauses: tuple[Clause, ...]


class Slot(Part, frozen=True, kw_only=True):
    """A document: how it is got, when it is needed, what is taken (`bytes_max` in bytes), who receives it."""

    id: str
    title: Text
    how: tuple[Literal["fetched", "upload", "bring"], ...]
    article: str
    recipients: tuple[str, ...]
    optional: bool = False
    required_when: Condition | None = None
    fetched_from: str = ""
    media_types: tuple[str, ...] = ()
    bytes_max: int = 0
    needs_translation: bool = False
    translation_article: str = ""

    def is_required(self, document: object) -> bool:
        """Whether the form, which may be incomplete, makes the document necessary."""
        return not self.optional and (self.required_when is None or self.required_when.holds(document))


class PassportRule(Part, frozen=True, kw_only=True):
    """How long the passport must still be valid at filing."""

    valid_months_min: int
    article: str


class Exclusion(Part, frozen=True, kw_only=True):
    """Who may not apply: whoever meets all conditions, which speak of the form."""

    id: str
    pointer: str
    when: tuple[Condition, ...]
    text: Text
    source: str


class DutyRule(Part, frozen=True, kw_only=True):
    """A period: its budget and its article; `target_of` marks a promise beside the rule that binds."""

    id: str
    title: Text
    unit: Unit
    budget: int
    article: str
    source: str
    starts_with: Text
    suspended_by: tuple[str, ...] = ()
    target_of: str = ""

    def duty(self, started_on: dt.date, calendar: WorkingCalendar) -> Duty:
        """The period as it runs from a day on."""
        return Duty(unit=self.unit, budget=self.budget, started_on=started_on, calendar=calendar.edition)


class InspectionRule(Part, frozen=True, kw_only=True):
    """When the passport is inspected and where; of whom says the basis of that name, until when the duty.

    After the acceptance it runs beside the labour review, after that review it is the next step.
    """

    when: Literal["after_acceptance", "after_labour_review"]
    places: tuple[Literal["bureau", "mission"], ...]


class PermitRule(Part, frozen=True, kw_only=True):
    """On which act the effects of an approval rest, and whom it exempts from the resident visa.

    Residents of Hong Kong and Macau reside by another act, under another permit.
    """

    act: str
    visa_exempt_stays: tuple[StayStatus, ...]
    hong_kong_macau_act: str
    hong_kong_macau_residence: str


class FollowUp(Part, frozen=True, kw_only=True):
    """What the holder has to know after the approval, for some stays only where it names any."""

    id: str
    text: Text
    article: str
    stays: tuple[StayStatus, ...] = ()


class RemedyRule(Part, frozen=True, kw_only=True):
    """What a person may do against an outcome (行政程序法 §96)."""

    outcomes: tuple[str, ...]
    kind: str
    title: Text
    days: int
    authority: str
    article: str
    text: Text


class OutcomeNotices(Part, frozen=True, kw_only=True):
    """Which agencies are told of the outcome, and on which ground."""

    article: str
    agencies: tuple[str, ...]
    if_consulted: tuple[str, ...]


class BasisRule(Part, frozen=True, kw_only=True):
    """Why one data operation is lawful: kind, law, fields, how often and for how many days."""

    id: str
    kind: BasisKind
    agency: str
    operation: str
    resource: str
    purpose: str
    purpose_text: Text
    law: str
    law_version: str
    task: str
    max_uses: int
    valid_days: int
    receiver_keeps_until: Text
    fields: tuple[str, ...]
    stays: tuple[StayStatus, ...] = ()
    categories: tuple[Category, ...] = ()

    def applies(self, stay: StayStatus, category: Category) -> bool:
        """Whether an application of such a person needs it; a rule that names nobody is for everyone."""
        return (not self.stays or stay in self.stays) and (not self.categories or category in self.categories)

    def grant(self, agency: str | None = None) -> Grant:
        """The item of a lawful basis; `agency` names the instance where the rule names a kind."""
        return Grant(
            agency=agency or self.agency,
            resource=self.resource,
            fields=self.fields,
            max_uses=self.max_uses,
        )


class StateLabel(Part, frozen=True, kw_only=True):
    """A state of the service: the word people see, and the general state it stands for."""

    id: str
    general: State
    title: Text


class NoticeText(Part, frozen=True, kw_only=True):
    """What 個人資料保護法 §8 I has a person told before data is collected, numbered as there."""

    id: str
    title: Text
    agency: Text  # (1)
    purpose: Text  # (2)
    categories: Text  # (3)
    period: Text  # (4)
    area: Text  # (4)
    recipients: Text  # (4)
    method: Text  # (4)
    rights: Text  # (5)
    without_it: Text  # (6)
    withdrawal: Text
    contact: Text


class Choice(Part, frozen=True, kw_only=True):
    """One value of an option list, and the word for it."""

    value: str | int
    title: Text


class OptionLists(Part, frozen=True, kw_only=True):
    """Option lists by name; `countries` holds ISO 3166-1 alpha-3 codes between blanks."""

    countries: str
    lists: dict[str, tuple[Choice, ...]]

    @property
    def country_codes(self) -> tuple[str, ...]:
        """The country codes one by one."""
        return tuple(self.countries.split())


class Edition(Part, frozen=True, kw_only=True):
    """One edition of the service."""

    id: str
    effective_from: dt.date
    verified_until: dt.date
    verified_warning: Text
    laws: tuple[Law, ...]
    stays: tuple[Stay, ...]
    fields: tuple[ExpertField, ...]
    authorities: tuple[Option, ...]
    passport: PassportRule
    exclusions: tuple[Exclusion, ...]
    slots: tuple[Slot, ...]
    duties: tuple[DutyRule, ...]
    inspection: InspectionRule
    permits: PermitRule
    follow_ups: tuple[FollowUp, ...]
    remedies: tuple[RemedyRule, ...]
    outcome_notices: OutcomeNotices
    bases: tuple[BasisRule, ...]
    states: tuple[StateLabel, ...]
    stations: tuple[Option, ...]
    effective_to: dt.date | None = None

    def in_force(self, legal_date: dt.date) -> bool:
        """Whether a case filed on this day falls under the edition."""
        return self.effective_from <= legal_date and (
            self.effective_to is None or legal_date <= self.effective_to
        )

    def field(self, field_id: str) -> ExpertField | None:
        """A field of expertise, None where the edition knows none of this id."""
        return next((field for field in self.fields if field.id == field_id), None)

    def slot(self, slot_id: str) -> Slot | None:
        """A document slot, None where the edition knows none of this id."""
        return next((slot for slot in self.slots if slot.id == slot_id), None)

    def duty(self, duty_id: str) -> DutyRule:
        """The rule of a period. Raises KeyError."""
        return _by_id(self.duties, duty_id)

    def basis(self, basis_id: str) -> BasisRule:
        """The rule of a lawful basis. Raises KeyError."""
        return _by_id(self.bases, basis_id)

    def bases_on_duty(
        self, stay: StayStatus, category: Category = "foreign_national"
    ) -> tuple[BasisRule, ...]:
        """The bases other than consent that an application of such a person needs."""
        return tuple(rule for rule in self.bases if not rule.kind.is_consent and rule.applies(stay, category))

    def authority_title(self, agency: str) -> Text:
        """An agency's name as people read it; its id where the edition has none."""
        return next((entry.title for entry in self.authorities if entry.id == agency), Text(agency, agency))

    def remedy(self, outcome: str) -> RemedyRule | None:
        """The remedy against an outcome; None where there is nothing to contest."""
        return next((rule for rule in self.remedies if outcome in rule.outcomes), None)

    def agencies_told(self, consulted: Iterable[str] = ()) -> tuple[str, ...]:
        """The agency instances that are told of the outcome, given those that were consulted."""
        kinds = self.outcome_notices.if_consulted
        asked = [agency for agency in consulted if agency.partition(":")[0] in kinds]
        return tuple(dict.fromkeys([*self.outcome_notices.agencies, *asked]))

    def warning_on(self, legal_date: dt.date) -> Text | None:
        """The warning that goes with a day to which the edition was not checked."""
        return self.verified_warning if legal_date > self.verified_until else None


Rule = TypeVar("Rule", DutyRule, BasisRule)
Read = TypeVar("Read")


def _by_id(rules: tuple[Rule, ...], rule_id: str) -> Rule:
    for rule in rules:
        if rule.id == rule_id:
            return rule
    raise KeyError(rule_id)


@cache
def editions() -> Mapping[str, Edition]:
    """All editions by id, oldest first."""
    found = (_read(edition_id, "edition", Edition) for edition_id in edition_files.ids())
    return {edition.id: edition for edition in sorted(found, key=lambda edition: edition.effective_from)}


def edition_on(legal_date: dt.date) -> Edition:
    """The edition under which a case of this day is filed. Raises NotAllowed outside all editions."""
    for edition in editions().values():
        if edition.in_force(legal_date):
            return edition
    raise NotAllowed(
        "apply",
        "本系統未載入該日期適用之規定",
        f"no edition of the rules in force on {legal_date} is installed",
    )


@cache
def layout(edition_id: str) -> Layout:
    """The pages of an edition's form."""
    return _read(edition_id, "form", Layout)


@cache
def notice_texts(edition_id: str) -> Mapping[str, NoticeText]:
    """The notices of an edition by id: one for each purpose."""
    return {text.id: text for text in _read(edition_id, "notices", _NoticeTexts).notices}


@cache
def options(edition_id: str) -> OptionLists:
    """The option lists of an edition that its form's types fix, and the countries."""
    return _read(edition_id, "options", OptionLists)


class _NoticeTexts(Part, frozen=True, kw_only=True):
    notices: tuple[NoticeText, ...]


def _read(edition_id: str, name: str, shape: type[Read]) -> Read:
    return msgspec.convert(edition_files.content(edition_id, name), shape)
