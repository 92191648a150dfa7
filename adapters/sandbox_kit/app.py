"""All agencies as one web application: every instance under its own path, and `/sandbox` for whoever tests.

    /{kind}[/{instance}]/operations/…   the agency contract
    /{kind}[/{instance}]/jwks.json      the agency's public key
    /{kind}[/{instance}]/desk/{call}    POST what a person shows there, for a call that waits for one
    /health                             200 as soon as all of them are reachable
    /sandbox/faults                     POST one fault or a list; DELETE: behave
    /sandbox/clock                      GET, or POST {"days": n}: move on, the product's legal clock with it;
                                        days below zero move back, to try the rules of an earlier day
    /sandbox/effects                    how often each call took effect, and what happened to it
    /sandbox/state/{agency}             what that agency holds

`/sandbox` is open to whoever reaches the port: it exists only where the sandboxes do.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any, cast
from uuid import UUID

import msgspec
import uvicorn
from litestar import Litestar, Request, Response, Router, delete, get, post
from litestar.di import NamedDependency, Provide
from litestar.exceptions import HTTPException
from litestar.params import FromPath, JSONBody

from adapters.contract import Reply, ReplyStatus
from adapters.sandbox_kit.config import Clock, SandboxConfig, agency_names, public_set, write_deployment
from adapters.sandbox_kit.faults import ABORT, AbortableProtocol, Fault, FaultPlan, spoil
from adapters.sandbox_kit.gate import Message
from adapters.sandbox_kit.gateway import GatewayLink
from adapters.sandbox_kit.instance import Instance
from adapters.sandbox_kit.problems import Problem, answer_framework_refusal, answer_problem

BODY_BYTES_MAX = 256 * 1024
GRACE_SECONDS = 2

Incoming = Request[Any, Any, Any]
TheInstance = NamedDependency[Instance]
Instances = NamedDependency[Mapping[str, Instance]]
TheClock = NamedDependency[Clock]
ThePlan = NamedDependency[FaultPlan]


class Days(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """By how much the legal clock is to move on, or back where negative."""

    days: int


class Today(msgspec.Struct, frozen=True):
    """The agencies' legal date, and how many days it is ahead of the machine's."""

    today: str
    days: int


class CallReport(msgspec.Struct, frozen=True, kw_only=True):
    """One call as an agency saw it."""

    agency: str
    operation: str
    call: UUID
    case: str
    effects: int
    history: tuple[str, ...]


class Effects(msgspec.Struct, frozen=True, kw_only=True):
    """How often each call took effect, by agency, operation and call."""

    effects: dict[str, dict[str, dict[str, int]]]
    calls: list[CallReport]


@post("/operations/{operation:str}", status_code=200)
async def submit(request: Incoming, instance: TheInstance, operation: FromPath[str]) -> Response[bytes]:
    """Take a call."""
    message = await _message(request, instance)
    fault = instance.faults.take(instance.name, operation)

    async def answer() -> Response[bytes]:
        return _replied(await instance.submit(operation, message, fault))

    return await _answer_with(fault, request, answer)


@get("/operations/{operation:str}/{call:uuid}")
async def ask(
    request: Incoming, instance: TheInstance, operation: FromPath[str], call: FromPath[UUID]
) -> Response[bytes]:
    """What became of a call."""
    message = await _message(request, instance)
    fault = instance.faults.take(instance.name, operation, on="status")

    async def answer() -> Response[bytes]:
        return _replied(await instance.ask(operation, call, message))

    return await _answer_with(fault, request, answer)


@post("/operations/{operation:str}/{call:uuid}/cancel", status_code=202)
async def cancel(
    request: Incoming, instance: TheInstance, operation: FromPath[str], call: FromPath[UUID]
) -> None:
    """Forget about a call."""
    await instance.cancel(operation, call, await _message(request, instance))


@post("/desk/{call:uuid}", status_code=204)
async def appear(request: Incoming, instance: TheInstance, call: FromPath[UUID]) -> None:
    """Show something in person."""
    await instance.appear(call, await request.body())


@get("/jwks.json", sync_to_thread=False)
def jwks(instance: TheInstance) -> dict[str, Any]:
    """The agency's public key."""
    return public_set(instance.key.public_key())


@get("/health", sync_to_thread=False)
def health() -> dict[str, str]:
    """All agencies are there."""
    return {"status": "ready"}


@post("/faults", status_code=204)
async def tell_faults(plan: ThePlan, data: JSONBody[Fault | list[Fault]]) -> None:
    """Misbehave soon."""
    try:
        for fault in data if isinstance(data, list) else [data]:
            plan.add(fault)
    except ValueError as error:
        raise Problem(422, "too-many-faults") from error


@delete("/faults", sync_to_thread=False)
def clear_faults(plan: ThePlan) -> None:
    """Behave."""
    plan.clear()


@get("/clock", sync_to_thread=False)
def read_clock(clock: TheClock) -> Today:
    """The legal date."""
    return Today(clock.today().isoformat(), clock.days)


@post("/clock", status_code=200)
async def move_clock(clock: TheClock, data: JSONBody[Days]) -> Today:
    """Move on."""
    await clock.move(data.days)
    return Today(clock.today().isoformat(), clock.days)


@get("/effects", sync_to_thread=False)
def read_effects(instances: Instances) -> Effects:
    """What took effect, and how often."""
    reports = [
        CallReport(
            agency=name,
            operation=call.operation.name,
            call=call_id,
            case=call.request.case,
            effects=call.effects,
            history=tuple(call.history),
        )
        for name, instance in instances.items()
        for call_id, call in instance.calls.items()
    ]
    effects: dict[str, dict[str, dict[str, int]]] = {}
    for report in reports:
        if report.effects:
            counts = effects.setdefault(report.agency, {}).setdefault(report.operation, {})
            counts[str(report.call)] = report.effects
    return Effects(effects=effects, calls=reports)


@get("/state/{agency:str}", sync_to_thread=False)
def read_state(instances: Instances, agency: FromPath[str]) -> Any:
    """What one agency holds beside its calls."""
    if agency not in instances:
        raise Problem(404, "no-such-agency")
    return instances[agency].rules.state()


def create_app(config: SandboxConfig) -> Litestar:
    """The sandboxes of every agency that a manifest names, ready to be served; see `server_config`."""
    write_deployment(config)
    clock, plan = Clock(config.move_legal_clock), FaultPlan(config.faults)
    link = GatewayLink(config, clock)
    instances = {
        name: Instance(
            name, path, config, link, plan, import_module(f"adapters.{path.split('/')[0]}.sandbox").build
        )
        for name, path in agency_names().items()
    }
    agencies = [
        Router(
            path=f"/{instance.path}",
            route_handlers=[submit, ask, cancel, appear, jwks, *instance.rules.routes],
            dependencies={"instance": _provide(instance)},
        )
        for instance in instances.values()
    ]
    desk = Router(
        path="/sandbox",
        route_handlers=[
            tell_faults, clear_faults, read_clock, move_clock, read_effects, read_state,
        ],
        dependencies={
            "plan": _provide(plan), "clock": _provide(clock), "instances": _provide(instances),
        },
    )  # fmt: skip

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        yield
        await asyncio.gather(*(instance.aclose() for instance in instances.values()))
        await link.aclose()

    return Litestar(
        route_handlers=[health, *agencies, desk],
        exception_handlers={Problem: answer_problem, HTTPException: answer_framework_refusal},
        request_max_body_size=BODY_BYTES_MAX,
        lifespan=[lifespan],
        openapi_config=None,
    )


def server_config(app: Litestar, host: str, port: int) -> uvicorn.Config:
    """How to serve it: with the protocol that can drop a connection, which the reset faults need."""
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        http=AbortableProtocol,
        log_level="warning",
        timeout_graceful_shutdown=GRACE_SECONDS,
    )


def _provide(value: object) -> Provide:
    return Provide(lambda: value, sync_to_thread=False)


async def _message(request: Incoming, instance: Instance) -> Message:
    path = request.scope["raw_path"].decode("ascii")
    query = request.scope["query_string"].decode("ascii")
    origin = instance.endpoint.removesuffix(f"/{instance.path}")
    return Message(
        method=request.method,
        url=f"{origin}{path}" + (f"?{query}" if query else ""),
        headers=request.headers,
        body=await request.body(),
    )


def _replied(reply: Reply) -> Response[bytes]:
    status = 202 if reply.status is ReplyStatus.ACCEPTED else 200
    return Response(msgspec.json.encode(reply), status_code=status, media_type="application/json")


async def _answer_with(
    fault: Fault | None, request: Incoming, answer: Callable[[], Awaitable[Response[bytes]]]
) -> Response[bytes]:
    """The answer, spoiled by the fault where there is one; some faults strike before anything is done."""
    if fault is None:
        return await answer()
    if fault.kind == "delay":
        await asyncio.sleep(fault.delay_seconds)
    if fault.kind == "5xx":
        raise Problem(503, "out-of-order", retry_after_seconds=1)
    response = Response(b"") if fault.kind == "reset_before_effect" else await answer()
    return await spoil(fault, response, _abort_of(request))


def _abort_of(request: Incoming) -> Callable[[], None]:
    """How to drop this request's connection; see `AbortableProtocol`."""
    scope: Any = request.scope
    return cast("Callable[[], None]", scope["extensions"][ABORT]["now"])
