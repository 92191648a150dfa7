"""Words that several agencies' wire formats share, so that one shape means one thing.

Dotted names of these members (`passport.number`, `decision.outcome`) are the field names that lawful bases,
tokens and the log use. Dates are ISO 8601 calendar dates in Asia/Taipei.
"""

import datetime as dt
from typing import Literal
from uuid import UUID

import msgspec


class Wire(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """Base of all wire structs: frozen, and unknown members are refused."""


class Passport(Wire, frozen=True):
    """The passport that the person applies with; `nationality` and `issuing_state` are ISO 3166-1 alpha-3."""

    number: str
    nationality: str
    expires_on: dt.date


class Person(Wire, frozen=True):
    """Names as in the passport's machine-readable zone."""

    surname: str
    given_names: str
    date_of_birth: dt.date
    sex: Literal["F", "M", "X"]


class DocumentReference(Wire, frozen=True):
    """A document the person uploaded; the agency fetches the content from the gateway by call and id."""

    document: UUID
    slot: str
    media_type: str
    size: int
    sha256: str


class SupplementItem(Wire, frozen=True):
    """One thing to mend: `target` is a JSON pointer into the form, or `document:<slot>`.

    A *correction* mends what is there and wrong, a *supplement* adds what is missing.
    """

    kind: Literal["correction", "supplement"]
    target: str
    reason_zh: str
    reason_en: str


class Decision(Wire, frozen=True):
    """What a reviewing agency decided about a case.

    `items` with `supplement`; `authority` (an agency name) with `consult`; `ground` and `article` with
    `refused`.
    """

    outcome: Literal["passed", "supplement", "consult", "refused"]
    items: tuple[SupplementItem, ...] = ()
    authority: str = ""
    ground: str = ""
    article: str = ""


class Qualification(Wire, frozen=True):
    """The field of expertise and the clause applied under, with the facts the clause needs."""

    field: str
    clause: str
    monthly_salary_ntd: int = 0
    years_of_experience: int = 0
    employer: str = ""
    title: str = ""


class DecisionNotice(Wire, frozen=True):
    """Tells an agency how a case ended (就業金卡許可辦法 §8); nothing of the person."""

    outcome: Literal["approved", "refused", "dismissed", "withdrawn", "revoked"]
    decided_on: dt.date


class Acknowledged(Wire, frozen=True):
    """The agency took note; `reference` is its own number for it."""

    reference: str
