"""What a service is to the rest of the system: rules that turn events into next steps, and nothing else.

A service is pure: it is given a case, an event and the time, and answers with moves. Storing, calling
agencies, counting uses and logging are done by `services.flow` alike for all services.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from consent.bases import Notice
from consent.model import LawfulBasis
from services import events as ev
from services.case import At, Case
from services.errors import Problem
from services.sealing import Essentials, Mark
from services.text import Language


class PlannedCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call that the service wants made: `data` is the operation's request struct."""

    agency: str
    operation: str
    data: msgspec.Struct


class Timer(msgspec.Struct, frozen=True, kw_only=True):
    """Wake the case at this legal instant with `DeadlinePassed(timer=name)`; None takes the timer back."""

    name: str
    due_at: dt.datetime | None


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Who acts, as the identity provider vouches for it; empty where it says nothing.

    `nationality` is ISO 3166-1 alpha-3.
    """

    passport_number: str = ""
    nationality: str = ""
    date_of_birth: dt.date | None = None


class Moves(msgspec.Struct, frozen=True, kw_only=True):
    """What follows from an event: further events, agency calls, timers, bases to begin or end."""

    events: tuple[ev.CaseEvent, ...] = ()
    calls: tuple[PlannedCall, ...] = ()
    timers: tuple[Timer, ...] = ()
    take_effect: bool = False  # the case's recorded bases come into force
    end_bases: bool = False  # the case's bases end: its purpose is reached or gone
    lasting: tuple[str, ...] = ()  # purposes that outlast the end: their bases run until they expire
    issue_outcome: bool = False  # the notice of the result is made and stored


NOTHING = Moves()


class Proposal(msgspec.Struct, frozen=True, kw_only=True):
    """A consent as it is offered: the record, not yet stored, and the notice that explains it."""

    basis: LawfulBasis
    notice: Notice


class DueDate(msgspec.Struct, frozen=True, kw_only=True):
    """A period as projected today: when it is due, how much has run, and why, line by line."""

    duty: str
    title_zh: str
    title_en: str
    due_on: dt.date
    elapsed_days: int
    explanation_zh: tuple[str, ...]
    explanation_en: tuple[str, ...]
    running: bool


class UploadRule(msgspec.Struct, frozen=True, kw_only=True):
    """What may be uploaded into a slot."""

    media_types: tuple[str, ...]
    bytes_max: int


class Service(Protocol):
    """One service. Every method is pure; `at` and dates are the only time it knows."""

    @property
    def service_id(self) -> str:
        """The id in the catalogue, and the folder's name."""
        ...

    def edition_on(self, legal_date: dt.date) -> str:
        """The edition in force. Raises NotAllowed outside all editions."""
        ...

    def quote(self, facts: Mapping[str, object], today: dt.date) -> msgspec.Struct:
        """What an application would cost and how long it would take. Raises InvalidInput, NotAllowed."""
        ...

    def form_problems(self, form: Mapping[str, object], *, complete: bool) -> list[Problem]:
        """What is wrong with the form's shape; with `complete`, missing members too."""
        ...

    def filing_problems(self, case: Case, at: At) -> list[Problem]:
        """Everything that keeps the case from being filed today: form, documents, rules of the law."""
        ...

    def upload_rule(self, case: Case, slot: str) -> UploadRule | None:
        """The rule of a slot; None where the edition knows no such slot."""
        ...

    def proposals(self, case: Case, language: Language, at: At) -> Sequence[Proposal]:
        """The consents that would save the person a document."""
        ...

    def duty_bases(self, case: Case, at: At) -> Sequence[LawfulBasis]:
        """The bases other than consent on which the agencies will act, recorded at filing."""
        ...

    def duty_notice(self, case: Case, language: Language, at: At) -> Notice:
        """Who will receive what on which statutory ground, shown before filing."""
        ...

    def consent_granted(self, case: Case, resource: str, person: Identity, at: At) -> Moves:
        """What a consent granted by this person sets off.

        Raises NotAllowed where what would be fetched is not about that person: a consent covers oneself alone.
        """
        ...

    def react(self, case: Case, event: ev.CaseEvent, at: At) -> Moves:
        """What follows from an event that has just been applied to the case."""
        ...

    def supplement_targets(self, case: Case) -> frozenset[str]:
        """JSON pointers and `document:` slots that the open supplement lets the person change."""
        ...

    def due_dates(self, case: Case, at: At) -> Sequence[DueDate]:
        """The case's periods, projected."""
        ...

    def outcome_essentials(self, case: Case) -> Essentials:
        """What whoever verifies the notice of the result is told."""
        ...

    def render_outcome(self, case: Case, mark: Mark) -> bytes:
        """The notice of the result, as PDF, with the mark by which it can be verified."""
        ...

    def label(self, case: Case, service_state: str, language: Language) -> str:
        """The word people see for a state that the case is or was in."""
        ...
