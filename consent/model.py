"""The values that the other modules share: lawful bases, notices, events, permits.

A *lawful basis* is the record that says why a data call is lawful. Its kind is one of six that the Personal
Data Protection Act (個人資料保護法) knows; *consent* is a lawful basis whose kind is the person's will. A
public agency mostly acts on duty, and a duty is never dressed up as consent.

A *permit* is what `consent.policy` makes of a live basis for one call: a data operation of an adapter takes
a permit, so that a data call without a lawful basis cannot be written.
"""

import datetime as dt
from enum import StrEnum
from uuid import UUID

import msgspec


class BasisKind(StrEnum):
    """Why an access is lawful, with the articles of 個人資料保護法."""

    CONSENT = "consent"  # §15(2), §19 I(5)
    SEPARATE_CONSENT = "separate_consent"  # §16(7), §20 I(6)
    WRITTEN_CONSENT = "written_consent"  # §6 I(6)
    STATUTORY_DUTY = "statutory_duty"  # §15(1), §16 main clause, §6 I(2)
    LAW = "law"  # §16(1), §6 I(1)
    CONTRACT = "contract"  # §19 I(2)

    @property
    def is_consent(self) -> bool:
        """Whether the person gives, and may withdraw, this kind of basis."""
        return self in {BasisKind.CONSENT, BasisKind.SEPARATE_CONSENT, BasisKind.WRITTEN_CONSENT}


class BasisState(StrEnum):
    """States of a consent and, apart from them, of the other kinds of basis."""

    SHOWN = "shown"
    GRANTED = "granted"
    REFUSED = "refused"
    LAPSED = "lapsed"
    CONSUMED = "consumed"
    PAUSED = "paused"
    WITHDRAWN = "withdrawn"
    REVOKED = "revoked"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"
    RECORDED = "recorded"
    IN_FORCE = "in_force"
    ENDED = "ended"


class Grant(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One item of a basis: which fields of which resource may pass to or from which agency.

    `fields` are dotted names (`passport.number`); `max_uses` bounds the calls, None leaves them to the
    expiry of the basis.
    """

    agency: str
    resource: str
    fields: tuple[str, ...]
    optional: bool = False
    max_uses: int | None = None


class LawfulBasis(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One revision of the record; sealed under its subject's key where it is stored.

    `subject` is internal, never a national id. `law` and `task` are for bases other than consent; the notice
    is the exact text that was shown, by its content hash.
    """

    basis_id: UUID
    kind: BasisKind
    state: BasisState
    subject: str
    case_id: UUID | None
    service: str
    purpose_code: str
    purpose_text: str
    grants: tuple[Grant, ...]
    not_before: dt.datetime
    expires_at: dt.datetime
    revision: int = 1
    previous_revision_sha256: str = ""
    schema_version: int = 1
    notice_id: str = ""
    notice_sha256: str = ""
    language: str = ""
    law: str = ""
    law_version: str = ""
    task: str = ""
    deciding_agency: str = ""
    means: str = ""
    acr: str = ""
    amr: tuple[str, ...] = ()
    auth_time: dt.datetime | None = None
    given_by: str = "self"
    receiver_keeps_until: str = ""
    state_reason: str = ""


class Assurance(msgspec.Struct, frozen=True, kw_only=True):
    """How sure we are of who acts: the identity means, its level and methods, and when it was shown.

    `acr` and `amr` are the identity provider's words (OpenID Connect Core, section 2).
    """

    means: str
    acr: str
    amr: tuple[str, ...]
    auth_time: dt.datetime


class Permit(msgspec.Struct, frozen=True, kw_only=True):
    """What one call may carry and fetch. Made by `consent.policy.permit` alone."""

    call_id: UUID
    basis_id: UUID
    basis_kind: BasisKind
    basis_revision: int
    basis_sha256: str
    subject: str
    case_id: UUID | None
    agency: str
    resource: str
    purpose: str
    fields: frozenset[str]
    one_time: bool
    expires_at: dt.datetime
    acr: str
    amr: tuple[str, ...]
    auth_time: dt.datetime | None
    status_list: int
    status_index: int


class Authority(msgspec.Struct, frozen=True, kw_only=True):
    """What a control call shows instead of a permit: the ground it rests on, and no personal data."""

    call_id: UUID
    case_reference: str
    agency: str
    resource: str
    ground: str


class EventType(StrEnum):
    """The types that a log leaf may have."""

    NOTICE_SHOWN = "notice.shown"
    CONSENT_GRANTED = "consent.granted"
    CONSENT_REFUSED = "consent.refused"
    CONSENT_PAUSED = "consent.paused"
    CONSENT_RESUMED = "consent.resumed"
    CONSENT_WITHDRAWN = "consent.withdrawn"
    CONSENT_REVOKED = "consent.revoked"
    CONSENT_EXPIRED = "consent.expired"
    CONSENT_SUPERSEDED = "consent.superseded"
    BASIS_RECORDED = "basis.recorded"
    BASIS_ENDED = "basis.ended"
    CALL_AUTHORIZED = "call.authorized"
    DATA_RELEASED = "data.released"
    DATA_WITHHELD = "data.withheld"
    DATA_SURPLUS = "data.surplus"
    NOTICE_SENT = "notice.sent"
    NOTICE_ACKNOWLEDGED = "notice.acknowledged"
    AUDITOR_READ = "auditor.read"
    AUDITOR_UNMASKED = "auditor.unmasked"
    OPERATOR_OVERRIDE = "operator.override"
    PERSON_EXPORTED = "person.exported"
    PERSON_RESTRICTED = "person.restricted"
    PERSON_ERASED = "person.erased"
    KEY_ROTATED = "key.rotated"


class LogEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One event about one subject, as the business transaction states it; absent is `""` or empty.

    Sequence number, previous commit, time and salt are added when the event is appended.
    """

    type: EventType
    subject: str
    agency: str = ""
    basis: str = ""
    basis_id: str = ""
    call: str = ""
    case: str = ""
    purpose: str = ""
    fields: tuple[str, ...] = ()
    details: dict[str, str] = msgspec.field(default_factory=dict)
