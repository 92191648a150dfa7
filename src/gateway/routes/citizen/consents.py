"""Notices and consents: what a person is told, agrees to, refuses and takes back."""

import base64
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, Response, Router, get, post
from litestar.di import Provide
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, FromQuery, JSONBody, PathParameter
from sqlalchemy.ext.asyncio import AsyncConnection

from consent import bases
from consent.model import LawfulBasis
from gateway.identity.persons import profile_of
from gateway.identity.sessions import guard_csrf, provide_session
from gateway.injected import TheDatabase, TheFlow, TheSession
from gateway.once import Made, once
from gateway.routes.citizen.cases import Nothing, assurance_of, own_case
from gateway.views import BasisView, View, basis_view
from services import consents, store
from services.errors import CaseNotFound
from services.service import Identity

PAGE_SIZE = 50


class Agreement(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which notice the person agrees to, by the hash of its text."""

    notice_sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class ShownNotice(View, frozen=True):
    """A notice, its text as it was hashed (base64), and the consent it asks for, if any."""

    notice_id: str
    notice_sha256: str
    language: str
    content: dict[str, Any]
    content_base64: str
    basis: BasisView | None


class Notices(View, frozen=True):
    """What the person may consent to, and what the agencies will do on statutory duty."""

    consents: list[ShownNotice]
    duty: ShownNotice


class BasisList(View, frozen=True):
    """One page of the person's lawful bases; `next` is the cursor of the following page."""

    bases: list[BasisView]
    next: str


BASIS = ResponseSpec(BasisView, generate_examples=False, description="The record as it is after this.")


@post(
    "/cases/{case_id:uuid}/notices",
    status_code=200,
    responses={200: ResponseSpec(Notices, generate_examples=False, description="What was shown.")},
)
async def show_notices(
    request: Request[Any, Any, Any],
    case_id: FromPath[UUID],
    data: JSONBody[Nothing],
    session: TheSession,
    database: TheDatabase,
    flow: TheFlow,
) -> Response[bytes]:
    """Show the case's notices: that they were shown, and which text, is recorded."""

    async def work(conn: AsyncConnection) -> Made:
        case = await own_case(conn, flow, session, case_id, lock=True)
        at = await store.now(conn)
        proposals = await consents.propose(conn, flow, case, case.language, at)
        duty = flow.service_of(case).duty_notice(case, case.language, at)
        await bases.keep_notice(conn, duty)
        body = Notices(
            consents=[_shown(proposal.notice, proposal.basis) for proposal in proposals],
            duty=_shown(duty, None),
        )
        return Made(case_id=case_id, body=body)

    return await once(request, database, flow, session.subject, work)


@get("/notices/{notice_sha256:str}")
async def show_notice_again(
    notice_sha256: Annotated[str, PathParameter(pattern="^[0-9a-f]{64}$")],
    session: TheSession,
    database: TheDatabase,
) -> ShownNotice:
    """A notice as it was shown once, by the hash of its text. Notices hold nothing of a person."""
    async with database.read() as conn:
        kept = await bases.kept_notice(conn, notice_sha256)
    if kept is None:
        raise CaseNotFound("no such notice")
    return _shown(kept, None)


@get("/consents")
async def list_bases(
    session: TheSession,
    database: TheDatabase,
    flow: TheFlow,
    cursor: FromQuery[UUID | None] = None,
) -> BasisList:
    """All lawful bases about the person: consents, and what rests on the law."""
    async with database.read() as conn:
        found = await bases.of_subject(conn, flow.vault, session.subject, after=cursor, limit=PAGE_SIZE + 1)
    page = [stored.basis for stored in found[:PAGE_SIZE]]
    more = str(page[-1].basis_id) if len(found) > PAGE_SIZE else ""
    return BasisList(bases=[basis_view(basis) for basis in page], next=more)


@post("/consents/{basis_id:uuid}/grant", status_code=200, responses={200: BASIS})
async def grant(
    request: Request[Any, Any, Any],
    basis_id: FromPath[UUID],
    data: JSONBody[Agreement],
    session: TheSession,
    database: TheDatabase,
    flow: TheFlow,
) -> Response[bytes]:
    """Agree to the text that was shown."""

    async def work(conn: AsyncConnection) -> Made:
        profile = await profile_of(conn, flow.vault, session.person_id)
        basis = await consents.grant(
            conn,
            flow,
            basis_id,
            session.subject,
            notice_sha256=data.notice_sha256,
            assurance=assurance_of(session),
            identity=Identity(
                passport_number=profile.passport_number,
                nationality=profile.nationality,
                date_of_birth=profile.date_of_birth,
            ),
            at=await store.now(conn),
        )
        return _made(basis)

    return await once(request, database, flow, session.subject, work)


@post("/consents/{basis_id:uuid}/refuse", status_code=200, responses={200: BASIS})
async def refuse(
    request: Request[Any, Any, Any],
    basis_id: FromPath[UUID],
    data: JSONBody[Nothing],
    session: TheSession,
    database: TheDatabase,
    flow: TheFlow,
) -> Response[bytes]:
    """Refuse what was shown. The manual way stays open."""

    async def work(conn: AsyncConnection) -> Made:
        return _made(await consents.refuse(conn, flow, basis_id, session.subject))

    return await once(request, database, flow, session.subject, work)


@post("/consents/{basis_id:uuid}/withdraw", status_code=200, responses={200: BASIS})
async def withdraw(
    request: Request[Any, Any, Any],
    basis_id: FromPath[UUID],
    data: JSONBody[Nothing],
    session: TheSession,
    database: TheDatabase,
    flow: TheFlow,
) -> Response[bytes]:
    """Withdraw a consent; withdrawing twice answers the same."""

    async def work(conn: AsyncConnection) -> Made:
        return _made(await consents.withdraw(conn, flow, basis_id, session.subject))

    return await once(request, database, flow, session.subject, work)


def _made(basis: LawfulBasis) -> Made:
    if basis.case_id is None:
        raise CaseNotFound("no such record")
    return Made(case_id=basis.case_id, body=basis_view(basis))


def _shown(notice: bases.Notice, basis: LawfulBasis | None) -> ShownNotice:
    return ShownNotice(
        notice_id=notice.notice_id,
        notice_sha256=notice.sha256,
        language=notice.language,
        content=msgspec.json.decode(notice.content),
        content_base64=base64.b64encode(notice.content).decode(),
        basis=basis_view(basis) if basis else None,
    )


router = Router(
    path="/api/v1",
    route_handlers=[show_notices, show_notice_again, list_bases, grant, refuse, withdraw],
    dependencies={"session": Provide(provide_session)},
    guards=[guard_csrf],
    tags=["consents"],
)
