"""A person's cases: open, fill in, file, pay, answer a supplement, withdraw, follow."""

from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from litestar import Request, Response, Router, get, post, put
from litestar.di import Provide
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from sqlalchemy.ext.asyncio import AsyncConnection

from consent.model import Assurance
from gateway.identity.session_store import Session
from gateway.identity.sessions import guard_csrf, provide_session
from gateway.injected import TheDatabase, TheFlow, TheSession
from gateway.once import Made, etag, if_match, once
from gateway.views import CaseList, CaseView, Timeline, View, case_view, timeline
from services import store, verbs
from services.case import Case
from services.errors import CaseNotFound, NotReady
from services.flow import Flow

PAGE_SIZE = 20
TIMELINE_PAGE_SIZE = 200
SEQ_MAX = 2**31 - 1  # what the column holds
CASE = ResponseSpec(CaseView, generate_examples=False, description="The case as it is after this.")


class NewCase(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which service to apply for, and the language of what the person is shown."""

    service: Annotated[str, msgspec.Meta(min_length=1, max_length=40)]
    language: Literal["zh-TW", "en"] = "zh-TW"


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An empty object: the verb says everything."""


class Payable(View, frozen=True):
    """Where the fee is paid."""

    pay_url: str
    amount_ntd: int


def assurance_of(session: Session) -> Assurance:
    """How sure we are of the person of a session."""
    return Assurance(means=session.means, acr=session.acr, amr=session.amr, auth_time=session.auth_time)


async def own_case(
    conn: AsyncConnection, flow: Flow, session: Session, case_id: UUID, *, lock: bool = False
) -> Case:
    """A person's own case. Raises CaseNotFound for another's and for none."""
    case = await store.load_case(conn, flow.vault, case_id, lock=lock)
    if case.applicant != session.subject:
        raise CaseNotFound("no such case")
    return case


@post("/", status_code=201, responses={201: CASE})
async def open_case(
    request: Request[Any, Any, Any],
    data: JSONBody[NewCase],
    session: TheSession,
    database: TheDatabase,
    flow: TheFlow,
) -> Response[bytes]:
    """Open a draft."""

    async def work(conn: AsyncConnection) -> Made:
        case = await flow.open_case(conn, data.service, session.subject, data.language)
        return await _made(conn, flow, case, status=201)

    return await once(request, database, flow, session.subject, work)


@get("/")
async def list_cases(
    session: TheSession,
    database: TheDatabase,
    flow: TheFlow,
    cursor: FromQuery[UUID | None] = None,
) -> CaseList:
    """The person's cases, newest first."""
    async with database.read() as conn:
        at = await store.now(conn)
        found = await store.cases_of(conn, flow.vault, session.subject, before=cursor, limit=PAGE_SIZE + 1)
    page = found[:PAGE_SIZE]
    more = str(page[-1].case_id) if len(found) > PAGE_SIZE else ""
    return CaseList(cases=[case_view(flow, case, at) for case in page], next=more)


@get("/{case_id:uuid}")
async def show_case(
    case_id: FromPath[UUID], session: TheSession, database: TheDatabase, flow: TheFlow
) -> Response[CaseView]:
    """One case."""
    async with database.read() as conn:
        case = await own_case(conn, flow, session, case_id)
        view = case_view(flow, case, await store.now(conn))
    return Response(view, headers={"ETag": etag(case.version)})


@put("/{case_id:uuid}/form")
async def save_form(
    request: Request[Any, Any, Any],
    case_id: FromPath[UUID],
    data: JSONBody[dict[str, Any]],
    session: TheSession,
    database: TheDatabase,
    flow: TheFlow,
) -> Response[CaseView]:
    """Save the form as it stands; an incomplete one is saved and its gaps are listed in `problems`."""
    version = if_match(request)
    async with database.write() as conn:
        case = await own_case(conn, flow, session, case_id, lock=True)
        at = await store.now(conn)
        case = await verbs.save_form(conn, flow, case, data, version=version, at=at)
    return Response(case_view(flow, case, at), headers={"ETag": etag(case.version)})


@post("/{case_id:uuid}/submit", status_code=200, responses={200: CASE})
async def submit(
    request: Request[Any, Any, Any],
    case_id: FromPath[UUID],
    data: JSONBody[Nothing],
    session: TheSession,
    database: TheDatabase,
    flow: TheFlow,
) -> Response[bytes]:
    """File the application. The legal filing time is this request's commit."""
    version = if_match(request)

    async def work(conn: AsyncConnection) -> Made:
        case = await own_case(conn, flow, session, case_id, lock=True)
        case = await verbs.submit(
            conn, flow, case, version=version, assurance=assurance_of(session), at=await store.now(conn)
        )
        return await _made(conn, flow, case)

    return await once(request, database, flow, session.subject, work)


@post("/{case_id:uuid}/pay", status_code=200)
async def pay(
    case_id: FromPath[UUID],
    data: JSONBody[Nothing],
    session: TheSession,
    database: TheDatabase,
    flow: TheFlow,
) -> Payable:
    """Where the fee is paid. It moves nothing, so that it needs no idempotency key."""
    async with database.read() as conn:
        case = await own_case(conn, flow, session, case_id)
    refusal = verbs.why_not("pay", case)
    if refusal is not None:
        raise refusal
    if case.fee is None or not case.fee.pay_url:
        raise NotReady("the payment order", retry_after_seconds=1)
    return Payable(pay_url=case.fee.pay_url, amount_ntd=case.fee.amount_ntd)


@post("/{case_id:uuid}/supplement", status_code=200, responses={200: CASE})
async def answer_supplement(
    request: Request[Any, Any, Any],
    case_id: FromPath[UUID],
    data: JSONBody[Nothing],
    session: TheSession,
    database: TheDatabase,
    flow: TheFlow,
) -> Response[bytes]:
    """Hand in what the open supplement asks for."""
    version = if_match(request)

    async def work(conn: AsyncConnection) -> Made:
        case = await own_case(conn, flow, session, case_id, lock=True)
        case = await verbs.answer_supplement(conn, flow, case, version=version, at=await store.now(conn))
        return await _made(conn, flow, case)

    return await once(request, database, flow, session.subject, work)


@post("/{case_id:uuid}/withdraw", status_code=200, responses={200: CASE})
async def withdraw(
    request: Request[Any, Any, Any],
    case_id: FromPath[UUID],
    data: JSONBody[Nothing],
    session: TheSession,
    database: TheDatabase,
    flow: TheFlow,
) -> Response[bytes]:
    """Withdraw the application."""

    async def work(conn: AsyncConnection) -> Made:
        case = await own_case(conn, flow, session, case_id, lock=True)
        case = await verbs.withdraw(conn, flow, case, at=await store.now(conn))
        return await _made(conn, flow, case)

    return await once(request, database, flow, session.subject, work)


@get("/{case_id:uuid}/timeline")
async def show_timeline(
    case_id: FromPath[UUID],
    session: TheSession,
    database: TheDatabase,
    flow: TheFlow,
    after: Annotated[int, QueryParameter(ge=0, le=SEQ_MAX)] = 0,
) -> Timeline:
    """What happened, in order."""
    async with database.read() as conn:
        case = await own_case(conn, flow, session, case_id)
        events = await store.history(conn, flow.vault, case_id, after=after, limit=TIMELINE_PAGE_SIZE)
    return timeline(flow, case, events, TIMELINE_PAGE_SIZE)


async def _made(conn: AsyncConnection, flow: Flow, case: Case, status: int = 200) -> Made:
    view = case_view(flow, case, await store.now(conn))
    return Made(case_id=case.case_id, body=view, status=status, etag=etag(case.version))


router = Router(
    path="/api/v1/cases",
    route_handlers=[
        open_case,
        list_cases,
        show_case,
        save_form,
        submit,
        pay,
        answer_supplement,
        withdraw,
        show_timeline,
    ],
    dependencies={"session": Provide(provide_session)},
    guards=[guard_csrf],
    tags=["cases"],
)
