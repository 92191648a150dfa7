"""What an applicant may do with a case, and when: one table, used to act and to say why not.

Each verb takes the case loaded under lock, checks its own row of the table, and advances the case. Input is
checked whole: all problems at once, and nothing is stored when there is one.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from consent import bases
from consent.model import Assurance
from services import documents
from services import events as ev
from services.case import At, Case, Supplement
from services.errors import CaseNotFound, InvalidInput, NotAllowed, Problem, StaleVersion
from services.events import State
from services.flow import Flow

OPEN = frozenset(
    {State.DRAFT, State.SUBMITTED, State.IN_REVIEW, State.WAITING_FOR_APPLICANT, State.WAITING_FOR_PAYMENT}
)
EDITABLE = frozenset({State.DRAFT, State.WAITING_FOR_APPLICANT})

# verb -> general states in which it is allowed
ALLOWED: Mapping[str, frozenset[State]] = {
    "edit": EDITABLE,
    "upload": EDITABLE,
    "submit": frozenset({State.DRAFT}),
    "pay": frozenset({State.WAITING_FOR_PAYMENT}),
    "supplement": frozenset({State.WAITING_FOR_APPLICANT}),
    "withdraw": OPEN,
}

_WHY_ZH = "案件目前的狀態不能進行這個動作"


def why_not(verb: str, case: Case) -> NotAllowed | None:
    """Why the verb is not allowed now; None when it is."""
    if case.state in ALLOWED[verb]:
        return None
    states = " or ".join(sorted(ALLOWED[verb]))
    return NotAllowed(verb, _WHY_ZH, f"the case is {case.state}; this needs it to be {states}")


def _check(verb: str, case: Case) -> None:
    refusal = why_not(verb, case)
    if refusal is not None:
        raise refusal


def _check_version(case: Case, version: int) -> None:
    if version != case.version:
        raise StaleVersion(version, case.version)


async def save_form(
    conn: AsyncConnection, flow: Flow, case: Case, form: dict[str, Any], *, version: int, at: At
) -> Case:
    """Save the form, complete or not. Raises StaleVersion, InvalidInput (wrong shape), NotAllowed.

    While a supplement is open, only what it names may change.
    """
    _check("edit", case)
    _check_version(case, version)
    service = flow.service_of(case)
    problems = service.form_problems(form, complete=False)
    problems += _beyond_supplement(flow, case, _changed(case.form, form))
    if problems:
        raise InvalidInput(problems)
    return await flow.advance(conn, case, [ev.FormSaved(form=form)], actor=case.applicant, at=at)


async def upload(
    conn: AsyncConnection, flow: Flow, case: Case, slot: str, content: bytes, *, version: int, at: At
) -> tuple[Case, ev.Document]:
    """Put a document into a slot, in place of the one there. Its type is read from its bytes."""
    _check("upload", case)
    _check_version(case, version)
    rule = flow.service_of(case).upload_rule(case, slot)
    if rule is None:
        raise CaseNotFound("no such document slot")
    problems = _beyond_supplement(flow, case, [f"document:{slot}"])
    if problems:
        raise InvalidInput(problems)
    media_type = documents.sniff(content, rule.media_types)
    kept = await documents.keep(
        conn, flow.vault, case.case_id, slot=slot, media_type=media_type, content=content
    )
    case = await flow.advance(conn, case, [ev.DocumentAdded(document=kept)], actor=case.applicant, at=at)
    return case, kept


async def submit(
    conn: AsyncConnection, flow: Flow, case: Case, *, version: int, assurance: Assurance, at: At
) -> Case:
    """File the application: everything is checked, the edition pinned, the duty bases recorded.

    `assurance` goes into their records: how sure we are of who filed.
    """
    _check("submit", case)
    _check_version(case, version)
    service = flow.service_of(case)
    problems = service.filing_problems(case, at)
    if problems:
        raise InvalidInput(problems)
    filed = msgspec.structs.replace(case, edition=service.edition_on(at.legal_date))
    await bases.keep_notice(conn, service.duty_notice(filed, case.language, at))
    duties = [
        msgspec.structs.replace(basis, **msgspec.structs.asdict(assurance))
        for basis in service.duty_bases(filed, at)
    ]
    await bases.record(conn, flow.vault, duties)
    event = ev.Submitted(edition=filed.edition, form_sha256=form_sha256(case.form))
    return await flow.advance(conn, case, [event], actor=case.applicant, at=at)


async def answer_supplement(conn: AsyncConnection, flow: Flow, case: Case, *, version: int, at: At) -> Case:
    """Hand in what an open supplement asked for; everything asked for must have changed."""
    _check("supplement", case)
    _check_version(case, version)
    supplement = case.supplement
    if supplement is None or not supplement.reference:
        raise NotAllowed("supplement", "目前沒有待補正的通知", "no supplement has been notified")
    problems = flow.service_of(case).filing_problems(case, at) + _unanswered(case, supplement)
    if problems:
        raise InvalidInput(problems)
    event = ev.SupplementAnswered(
        requested_by=supplement.requested_by,
        operation=supplement.operation,
        form_sha256=form_sha256(case.form),
    )
    return await flow.advance(conn, case, [event], actor=case.applicant, at=at)


async def withdraw(conn: AsyncConnection, flow: Flow, case: Case, *, at: At) -> Case:
    """Withdraw the application: its bases end, so that no call leaves and no answer comes in any more."""
    _check("withdraw", case)
    event = ev.Decided(outcome="withdrawn", decided_on=at.legal_date)
    return await flow.advance(conn, case, [event], actor=case.applicant, at=at)


def form_sha256(form: Mapping[str, Any]) -> str:
    """Lower-case hex of the SHA-256 of the form's canonical JSON."""
    return hashlib.sha256(msgspec.json.encode(form, order="sorted")).hexdigest()


def _changed(before: Any, after: Any, pointer: str = "") -> list[str]:
    """JSON pointers of the members that differ; arrays differ as wholes."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        changed = []
        for key in {**before, **after}:
            inner = f"{pointer}/{str(key).replace('~', '~0').replace('/', '~1')}"
            changed += _changed(before.get(key), after.get(key), inner)
        return changed
    return [] if before == after else [pointer]


def _beyond_supplement(flow: Flow, case: Case, changed: list[str]) -> list[Problem]:
    """Changes that an open supplement does not ask for."""
    if case.state is not State.WAITING_FOR_APPLICANT:
        return []
    targets = flow.service_of(case).supplement_targets(case)
    return [
        Problem(
            pointer=pointer,
            code="not_asked_for",
            detail_zh="補正期間只能修改通知所列的項目",
            detail_en="while a supplement is open, only the items it names can change",
        )
        for pointer in changed
        if not any(pointer == target or pointer.startswith(f"{target}/") for target in targets)
    ]


def _unanswered(case: Case, supplement: Supplement) -> list[Problem]:
    """Documents that the supplement asks for and that are not there."""
    slots = [
        item.target.removeprefix("document:")
        for item in supplement.items
        if item.target.startswith("document:")
    ]
    return [
        Problem(
            pointer=f"document:{slot}",
            code="required",
            detail_zh="尚未補上通知所列的文件",
            detail_en="the document that the notice asks for is still missing",
        )
        for slot in slots
        if case.document_in(slot) is None
    ]
