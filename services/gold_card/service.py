"""The Employment Gold Card as the rest of the system sees it: `services.service.Service` for this service.

Form, rules, data and steps stand in the modules beside this one; here they are put together for a case. Pure.
"""

import datetime as dt
from collections.abc import Mapping, Sequence

from msgspec import UNSET, UnsetType

from consent.bases import Notice
from consent.ids import uuid7
from consent.model import BasisState, LawfulBasis
from services import events as ev
from services.calendar import working_calendar
from services.case import TAIPEI, At, Case, Duty
from services.clock import Projection, projection
from services.clock import Suspension as Rest
from services.errors import NotAllowed, Problem
from services.forms import Form, blocking, member, problems
from services.gold_card import labels, notices, outcome, rules
from services.gold_card.edition import BasisRule, DutyRule, Edition, edition_on
from services.gold_card.fees import FeeFacts
from services.gold_card.flow import INSPECTION, SUPPLEMENT, Flow
from services.gold_card.form import CATEGORIES, FORM
from services.gold_card.quote import Quote, quote
from services.gold_card.steps import BOCA, RESIDENCE, card_of, complete_form, edition_of, form_of, outcome_of
from services.sealing import Essentials, Mark
from services.service import DueDate, Identity, Moves, Proposal, UploadRule
from services.text import Language, Text

SERVICE_ID = "gold_card"
CARD_END = 4  # so many characters of a card's number tell it from a person's other ones, and no more

_RESTS = {
    SUPPLEMENT: Text("補正期間", "a supplement is awaited"),
    INSPECTION: Text("待繳驗護照", "the passport is to be inspected"),
}
_NOT_FETCHED = Problem(
    pointer="/stay/residence_record",
    code="not_fetched",
    detail_zh="尚未取得居留資料：請同意由移民署提供，或改為上傳影本",
    detail_en="the residence record has not come yet: consent to the fetch, or upload a copy instead",
)
_NO_RECORD = Problem(
    pointer="/stay/residence_record",
    code="no_record",
    detail_zh="移民署查無有效居留證：請更正居留身分，或上傳影本",
    detail_en="the immigration agency has no such certificate: correct the status, or upload a copy",
)


class QuoteFacts(FeeFacts, frozen=True, kw_only=True):
    """The facts of a quote, and the day it is asked for: today unless given."""

    legal_date: dt.date | UnsetType = UNSET


QUOTE_FORM = Form(QuoteFacts)


class GoldCard:
    """Implements `Service`; `public_url` is where people find their case."""

    service_id = SERVICE_ID

    def __init__(self, public_url: str) -> None:
        self._flow = Flow(public_url)

    def react(self, case: Case, event: ev.CaseEvent, at: At) -> Moves:
        """See `Service`."""
        return self._flow.react(case, event, at)

    def consent_granted(self, case: Case, resource: str, person: Identity, at: At) -> Moves:
        """See `Service`."""
        return self._flow.consent_granted(case, resource, person, at)

    def edition_on(self, legal_date: dt.date) -> str:
        """See `Service`."""
        return edition_on(legal_date).id

    def quote(self, facts: Mapping[str, object], today: dt.date) -> Quote:
        """See `Service`; `legal_date` among the facts asks about another day than today."""
        asked = QUOTE_FORM.decode(dict(facts))
        return quote(asked, asked.legal_date if isinstance(asked.legal_date, dt.date) else today)

    def form_problems(self, form: Mapping[str, object], *, complete: bool) -> list[Problem]:
        """See `Service`."""
        return list(blocking(problems(FORM, form), draft=not complete))

    def filing_problems(self, case: Case, at: At) -> list[Problem]:
        """See `Service`."""
        form = complete_form(case, case.form)
        edition = _edition_at(case, at)
        found = [*_residence(case), *self.form_problems(form, complete=True)]
        if found:
            return [*found, *rules.missing_documents(form, case.documents, edition)]
        checked = rules.check(FORM.decode(form), case.documents, at.legal_date, edition)
        return list(blocking(checked, draft=False))

    def upload_rule(self, case: Case, slot: str) -> UploadRule | None:
        """See `Service`."""
        known = edition_of(case).slot(slot)
        if known is None or "upload" not in known.how:
            return None
        return UploadRule(media_types=known.media_types, bytes_max=known.bytes_max)

    def proposals(self, case: Case, language: Language, at: At) -> Sequence[Proposal]:
        """See `Service`."""
        edition = _edition_at(case, at)
        rule = edition.basis("residence")
        wanted = member(case.form, "/stay/residence_record") == "fetched"
        if not wanted or member(case.form, "/stay/status") not in rule.stays:
            return ()
        notice = notices.consent_notice(edition, language)
        basis = _basis(case, rule, rule.agency, BasisState.SHOWN, notice, at)
        return (Proposal(basis=basis, notice=notice),)

    def duty_bases(self, case: Case, at: At) -> Sequence[LawfulBasis]:
        """See `Service`."""
        edition, form = edition_of(case), form_of(case)
        notice = self.duty_notice(case, case.language, at)
        field = edition.field(form.qualification.field)
        return [
            _basis(
                case,
                rule,
                field.authority if rule.operation == "opinion" and field is not None else rule.agency,
                BasisState.RECORDED,
                notice,
                at,
            )
            for rule in edition.bases_on_duty(form.stay.status, form.person.category)
        ]

    def duty_notice(self, case: Case, language: Language, at: At) -> Notice:
        """See `Service`."""
        stay = member(case.form, "/stay/status")
        field = member(case.form, "/qualification/field")
        category = member(case.form, "/person/category")
        edition = _edition_at(case, at)
        known = [known.id for known in edition.stays if known.id == stay] or [edition.stays[0].id]
        said = [known for known in CATEGORIES if known == category] or [CATEGORIES[0]]
        return notices.duty_notice(edition, language, known[0], str(field or ""), said[0])

    def supplement_targets(self, case: Case) -> frozenset[str]:
        """See `Service`."""
        return frozenset(item.target for item in case.supplement.items) if case.supplement else frozenset()

    def due_dates(self, case: Case, at: At) -> Sequence[DueDate]:
        """See `Service`."""
        today = min(at.legal_date, case.decision.decided_on) if case.decision else at.legal_date
        duties = {duty.duty: duty for duty in case.duties}  # of one that began anew, the newest
        if outcome_of(case, BOCA, "inspection") == "passed":
            duties.pop("inspection", None)
        due = [_due(case, duty, edition_of(case).duty(duty.duty), today) for duty in duties.values()]
        if case.supplement is not None and case.supplement.reference and case.duties:
            notified_on = [rest.on for rest in case.duties[0].suspensions if rest.reason == SUPPLEMENT][-1]
            own = Duty(duty="supplement", started_on=notified_on)
            due.append(_due(case, own, edition_of(case).duty("supplement"), today))
        return due

    def outcome_essentials(self, case: Case) -> Essentials:
        """See `Service`."""
        if case.decision is None:
            raise NotAllowed("outcome", "案件尚未核准", "the case is not approved")
        return Essentials(
            case_number=case.number,
            kind=f"{SERVICE_ID}.outcome",
            outcome=case.decision.outcome,
            decided_on=case.decision.decided_on,
            card=card.number[-CARD_END:] if (card := card_of(case)) else "",
        )

    def render_outcome(self, case: Case, mark: Mark) -> bytes:
        """See `Service`."""
        card, form = card_of(case), form_of(case)
        if case.decision is None or case.decision.outcome != "approved" or case.submitted_at is None:
            raise NotAllowed("outcome", "案件尚未核准", "the case is not approved")
        facts = outcome.OutcomeFacts(
            case_number=case.number,
            filed_on=case.submitted_at.astimezone(TAIPEI).date(),
            decided_on=case.decision.decided_on,
            holder=f"{form.person.surname}, {form.person.given_names}",
            chinese_name=form.person.chinese_name,
            nationality=form.passport.nationality,
            field=form.qualification.field,
            collection_station=form.card.collection_station,
            permits=case.decision.permits,
            stay=form.stay.status,
            card=card,
            certificate=case.decision.certificate.get("number", ""),
        )
        return outcome.render(facts, edition_of(case), mark)

    def label(self, case: Case, service_state: str, language: Language) -> str:
        """See `Service`."""
        field = edition_of(case).field(str(member(case.form, "/qualification/field") or ""))
        authority = field.authority if field is not None else ""
        return labels.label(edition_of(case), service_state, authority).in_language(language)


def _edition_at(case: Case, at: At) -> Edition:
    """The edition the case was filed under; a draft's is the one in force."""
    return edition_of(case) if case.edition else edition_on(at.legal_date)


def _residence(case: Case) -> list[Problem]:
    """What is wrong with a residence record that is to be fetched."""
    if member(case.form, "/stay/residence_record") != "fetched":
        return []
    if RESIDENCE not in case.fetched:
        return [_NOT_FETCHED]
    return [] if "arc" in case.fetched[RESIDENCE] else [_NO_RECORD]


def _basis(
    case: Case, rule: BasisRule, agency: str, state: BasisState, notice: Notice, at: At
) -> LawfulBasis:
    return LawfulBasis(
        basis_id=uuid7(),
        kind=rule.kind,
        state=state,
        subject=case.applicant,
        case_id=case.case_id,
        service=SERVICE_ID,
        purpose_code=rule.purpose,
        purpose_text=rule.purpose_text.in_language(case.language),
        grants=(rule.grant(agency),),
        not_before=at.machine,
        expires_at=at.machine + dt.timedelta(days=rule.valid_days),
        notice_id=notice.notice_id,
        notice_sha256=notice.sha256,
        language=notice.language,
        law=rule.law,
        law_version=rule.law_version,
        task=rule.task,
        deciding_agency=agency,
        receiver_keeps_until=rule.receiver_keeps_until.in_language(case.language),
    )


def _due(case: Case, duty: Duty, rule: DutyRule, today: dt.date) -> DueDate:
    calendar = working_calendar()
    rests = [
        Rest(on=rest.on, until=rest.until, reason=_RESTS.get(rest.reason, Text(rest.reason, rest.reason)))
        for rest in duty.suspensions
    ]
    seen: Projection = projection(rule.duty(duty.started_on, calendar), rests, today, calendar)
    return DueDate(
        duty=rule.id,
        title_zh=rule.title.zh,
        title_en=rule.title.en,
        due_on=seen.due_on,
        elapsed_days=seen.elapsed_days,
        explanation_zh=tuple(line.text.zh for line in seen.lines),
        explanation_en=tuple(line.text.en for line in seen.lines),
        running=not seen.resting and case.decision is None,
    )
