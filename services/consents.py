"""A person's consents around a case: shown with their notice, granted, refused, withdrawn.

A consent is shown first: the notice is kept under its hash, the record stands in state `shown`, and granting
names that hash, so that nobody agrees to a text that was not the one on the screen. A grant sets off what the
service does with it, in the same transaction.
"""

import contextlib
from collections.abc import Sequence
from uuid import UUID

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from consent import bases
from consent.errors import NotPermitted, TransitionRefused
from consent.lifecycle import LIVE_STATES, BasisEvent
from consent.model import Assurance, BasisState, LawfulBasis
from services import catalog, store
from services.case import At, Case
from services.errors import CaseNotFound, NotAllowed
from services.flow import Flow
from services.service import Identity, Proposal
from services.text import Language
from services.verbs import EDITABLE

OPEN_STATES = LIVE_STATES | {BasisState.SHOWN, BasisState.PAUSED}


async def propose(
    conn: AsyncConnection, flow: Flow, case: Case, language: Language, at: At
) -> Sequence[Proposal]:
    """Show what the person may consent to; what is shown or granted already is not shown a second time.

    Nothing is asked for once the case is filed or closed.
    """
    service = flow.service_of(case)
    held = [stored.basis for stored in await bases.of_case(conn, flow.vault, case.case_id)]
    proposals = service.proposals(case, language, at) if case.state in EDITABLE else ()
    shown: list[Proposal] = []
    for proposal in proposals:
        known = _open_one(held, proposal.basis)
        if known is None:
            await bases.keep_notice(conn, proposal.notice)
            await bases.record(conn, flow.vault, [proposal.basis])
            shown.append(proposal)
        else:
            shown.append(Proposal(basis=known, notice=proposal.notice))
    return shown


async def grant(
    conn: AsyncConnection,
    flow: Flow,
    basis_id: UUID,
    person: str,
    *,
    notice_sha256: str,
    assurance: Assurance,
    identity: Identity,
    at: At,
) -> LawfulBasis:
    """Grant a consent that was shown, by the notice's hash. `assurance` goes into the record.

    Raises NotAllowed for another text, for a case that is not being filled in, and where what would be fetched
    is not about the person of this `identity`.
    """
    stored = await own(conn, flow, basis_id, person)
    if stored.notice_sha256 != notice_sha256:
        raise NotAllowed(
            "grant", "告知內容已更新，請重新閱讀", "the notice named is not the one that was shown"
        )
    case = await _case_of(conn, flow, stored)
    if case.state not in EDITABLE:
        raise NotAllowed(
            "grant",
            "案件目前的狀態不需要同意",
            f"the case is {case.state}; a consent is asked for while it is being filled in",
        )
    catalog.service_info(stored.service).purpose(stored.purpose_code).check(stored)
    granted = await bases.move(
        conn, flow.vault, basis_id, BasisEvent.GRANT, changes=msgspec.structs.asdict(assurance)
    )
    for item in granted.grants:
        moves = flow.service_of(case).consent_granted(case, item.resource, identity, at)
        case = await flow.carry_out(conn, case, moves, actor=person, at=at)
    return granted


async def refuse(conn: AsyncConnection, flow: Flow, basis_id: UUID, person: str) -> LawfulBasis:
    """Refuse a consent that was shown."""
    await _hold(conn, await own(conn, flow, basis_id, person))
    return await bases.move(conn, flow.vault, basis_id, BasisEvent.REFUSE)


async def withdraw(conn: AsyncConnection, flow: Flow, basis_id: UUID, person: str) -> LawfulBasis:
    """Withdraw a consent; from this commit on nothing leaves or comes in under it. Idempotent.

    Raises NotAllowed for a basis that is not the person's to withdraw: its way is the application itself.
    """
    basis = await own(conn, flow, basis_id, person)
    if not basis.kind.is_consent:
        raise NotAllowed(
            "withdraw",
            "此項依法律規定辦理，不以同意為依據；可撤回申請案",
            "this access rests on the law, not on consent; the application itself can be withdrawn",
        )
    await _hold(conn, basis)
    return await bases.move(conn, flow.vault, basis_id, BasisEvent.WITHDRAW)


async def expire(conn: AsyncConnection, flow: Flow, basis_id: UUID) -> None:
    """Let a consent end whose time has run out; one that has ended otherwise meanwhile is left as it is."""
    await _hold(conn, (await bases.load(conn, flow.vault, basis_id)).basis)
    with contextlib.suppress(TransitionRefused):
        await bases.move(conn, flow.vault, basis_id, BasisEvent.EXPIRE)


async def own(conn: AsyncConnection, flow: Flow, basis_id: UUID, person: str) -> LawfulBasis:
    """A person's own basis. Raises CaseNotFound for another's and for none."""
    try:
        stored = await bases.load(conn, flow.vault, basis_id)
    except NotPermitted:
        raise CaseNotFound("no such record") from None
    if stored.basis.subject != person:
        raise CaseNotFound("no such record")
    return stored.basis


async def _hold(conn: AsyncConnection, basis: LawfulBasis) -> None:
    """Lock the case of a basis that is about to be moved: everybody locks cases before their bases."""
    if basis.case_id is not None:
        await store.lock_cases(conn, [basis.case_id])


async def _case_of(conn: AsyncConnection, flow: Flow, basis: LawfulBasis) -> Case:
    if basis.case_id is None:
        raise CaseNotFound("no such case")
    return await store.load_case(conn, flow.vault, basis.case_id, lock=True)


def _open_one(held: Sequence[LawfulBasis], wanted: LawfulBasis) -> LawfulBasis | None:
    """The open record that already covers what would be shown, in the same language when only shown."""
    for basis in held:
        same = basis.purpose_code == wanted.purpose_code and basis.grants == wanted.grants
        settled = basis.state is not BasisState.SHOWN or basis.notice_sha256 == wanted.notice_sha256
        if same and settled and basis.state in OPEN_STATES:
            return basis
    return None
