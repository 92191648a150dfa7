"""One agency: what it keeps of each call, how it decides, how it answers.

A call is remembered by its id: the same content again gets the same reply, other content is refused, and the
agency's rule runs once. What it decides at once is answered with 200; a review is answered with 202, the
documents named in it are fetched from the gateway and checked, the rule runs, and the reply is posted to the
call's callback until it is taken. Who asks by the call's id gets the reply as well; asking about a review
that stopped for want of a document starts it again. What waits for a person to appear is accepted with 202
and decided when somebody does (`appear`).

An answer holds no member beyond what the call's token allows.
"""

import asyncio
import datetime as dt
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import UUID

import msgspec
import structlog
from cryptography.hazmat.primitives.asymmetric import ec
from litestar.handlers import HTTPRouteHandler

from adapters.contract import Operation, OperationKind, Reply, ReplyStatus, Request, members_of
from adapters.sandbox_kit.config import TAIPEI, Clock, SandboxConfig, signing_key
from adapters.sandbox_kit.faults import Fault, FaultPlan
from adapters.sandbox_kit.gate import Gate, Message
from adapters.sandbox_kit.gateway import GatewayLink
from adapters.sandbox_kit.problems import Problem
from consent.verifier import Verified, fields_allowed

T = TypeVar("T")
CALLS_MAX = 100_000
TASKS_MAX = 5_000
HISTORY_MAX = 50
EARLY_CALLBACK_SECONDS_MAX = 5.0

log = structlog.get_logger(__name__)


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What a rule may know beside the request's data. `filed_on` is today where nothing is filed yet."""

    call: UUID
    case: str
    callback: str
    filed_on: dt.date
    today: dt.date


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What makes one agency this agency; every agency's `sandbox.build` returns one.

    `decide` has a function (facts, request data) -> answer for every operation; those in `reviewed` answer
    later. Operations in `at_desk` wait until somebody appears, and their function takes as third argument what
    is shown there, in the form that stands here. `routes` are pages of its own under its path, `state` what
    tests may look at.
    """

    operations: Mapping[str, Operation]
    decide: Mapping[str, Callable[..., msgspec.Struct]]
    reviewed: frozenset[str] = frozenset()
    at_desk: Mapping[str, type[msgspec.Struct]] = msgspec.field(default_factory=dict)
    routes: tuple[HTTPRouteHandler, ...] = ()
    state: Callable[[], Any] = dict


@dataclass(kw_only=True)
class Call:
    """What the agency keeps of one call."""

    request: Request
    facts: Facts
    data: msgspec.Struct
    operation: Operation
    digest: str
    fields: frozenset[str]
    fault: Fault | None
    answer: bytes | None = None
    effects: int = 0  # how often the rule ran
    is_cancelled: bool = False
    review: asyncio.Task[None] | None = None
    history: list[str] = field(default_factory=list)

    def note(self, what: str) -> None:
        """Add to the history that tests read."""
        if len(self.history) < HISTORY_MAX:
            self.history.append(what)


class Instance:
    """One running agency."""

    def __init__(
        self,
        name: str,
        path: str,
        config: SandboxConfig,
        link: GatewayLink,
        faults: FaultPlan,
        build: "Callable[[Instance], Rules]",
    ) -> None:
        self.name = name
        self.path = path
        self.endpoint = f"{config.base_url}/{path}"
        self.key = signing_key(config, name)
        self.link = link
        self.clock: Clock = link.clock
        self.faults = faults
        self.calls: OrderedDict[UUID, Call] = OrderedDict()
        self._config = config
        self._gate = Gate(self.endpoint, link)
        self._tasks: set[asyncio.Task[None]] = set()
        self.rules = build(self)

    async def aclose(self) -> None:
        """Stop everything that still runs."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def submit(self, operation_name: str, message: Message, fault: Fault | None = None) -> Reply:
        """Take a call, or answer it again. Raises Problem."""
        operation = self._operation(operation_name)
        verified = await self._gate.admit(message, operation, "submit")
        request = _decode(message.body, Request)
        if str(request.call) != verified.txn:
            raise Problem(403, "call-differs", "The body is of another call than the token.")
        digest = message.headers["content-digest"]
        call = self.calls.get(request.call)
        if call is None:
            call = self._open(operation, request, verified, digest, fault)
            if call.review is not None and fault and fault.kind == "early_callback":
                await asyncio.wait({call.review}, timeout=EARLY_CALLBACK_SECONDS_MAX)
                return self._accepted(call)
        elif call.digest != digest or call.operation is not operation:
            raise Problem(422, "idempotency-conflict", "The call was made before with other content.")
        else:
            call.note("repeated")
        return self._reply(call)

    async def ask(self, operation_name: str, call_id: UUID, message: Message) -> Reply:
        """The reply of a call that was made before. Raises Problem, 404 for one that was not."""
        call = await self._known(operation_name, call_id, message, "status")
        call.note("asked")
        if call.is_cancelled:
            raise Problem(409, "cancelled")
        if call.answer is None and call.review is not None and call.review.done():
            call.review = self.start(self._review(call))
        return self._reply(call)

    async def cancel(self, operation_name: str, call_id: UUID, message: Message) -> None:
        """Forget about a call that is not decided yet. Raises Problem, 409 when it is too late."""
        call = await self._known(operation_name, call_id, message, "cancel")
        if call.answer is not None:
            raise Problem(409, "too-late", "The call is decided.")
        call.is_cancelled = True
        call.note("cancelled")

    async def appear(self, call_id: UUID, content: bytes) -> None:
        """Somebody shows what a call waits for. Raises Problem, and then the call goes on waiting."""
        call = self.calls.get(call_id)
        shape = self.rules.at_desk.get(call.operation.name) if call else None
        if call is None or shape is None:
            raise Problem(404, "nobody-is-awaited")
        if call.answer is not None or call.is_cancelled:
            raise Problem(409, "too-late")
        shown = _decode(content, shape)
        call.facts = msgspec.structs.replace(call.facts, today=self.clock.today())
        self._decide(call, shown)
        self.start(self._call_back(call))

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something beside the requests. Raises Problem (503) when too much runs already."""
        if len(self._tasks) >= TASKS_MAX:
            work.close()
            raise Problem(503, "busy", retry_after_seconds=1)
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _operation(self, name: str) -> Operation:
        operation = self.rules.operations.get(name)
        if operation is None:
            raise Problem(404, "no-such-operation")
        return operation

    async def _known(self, operation_name: str, call_id: UUID, message: Message, action: str) -> Call:
        operation = self._operation(operation_name)
        verified = await self._gate.admit(message, operation, action)
        if str(call_id) != verified.txn:
            raise Problem(403, "call-differs", "The path names another call than the token.")
        call = self.calls.get(call_id)
        if call is None or call.operation is not operation:
            raise Problem(404, "no-such-call")
        return call

    def _open(
        self, operation: Operation, request: Request, verified: Verified, digest: str, fault: Fault | None
    ) -> Call:
        """Take a new call; nothing is kept of one that is refused."""
        data: msgspec.Struct = _decode(bytes(request.data), operation.request)
        if operation.kind is OperationKind.DATA:
            beyond = set(members_of(_decode(bytes(request.data), dict[str, Any]))) - verified.fields
            if beyond:
                raise Problem(403, "fields-exceed-basis", f"Not covered: {', '.join(sorted(beyond))}.")
        self.link.check_callback(request.callback)
        call = Call(
            request=request,
            facts=self._facts(request),
            data=data,
            operation=operation,
            digest=digest,
            fields=verified.fields,
            fault=fault,
        )
        if operation.name in self.rules.reviewed:
            call.review = self.start(self._review(call))
        elif operation.name not in self.rules.at_desk:
            self._decide(call)
        call.note("submitted")
        self.calls[request.call] = call
        if len(self.calls) > CALLS_MAX:
            self.calls.popitem(last=False)
        return call

    def _decide(self, call: Call, *shown: msgspec.Struct) -> None:
        """Run the agency's rule: the effect of the call."""
        answer = self.rules.decide[call.operation.name](call.facts, call.data, *shown)
        call.effects += 1
        call.note("decided")
        call.answer = msgspec.json.encode(_answer_members(call, answer))

    async def _review(self, call: Call) -> None:
        """Fetch what is named, decide, answer."""
        if not (call.fault and call.fault.kind == "early_callback"):
            await asyncio.sleep(self._config.answer_after_seconds)
        try:
            for reference in getattr(call.data, "documents", ()):
                await self.link.document(call.request.call, reference, self.key)
        except Problem as problem:
            call.note(problem.code)
            return
        if not call.is_cancelled:
            self._decide(call)
            await self._call_back(call)

    async def _call_back(self, call: Call) -> None:
        kind = call.fault.kind if call.fault else ""
        body = msgspec.json.encode(self._reply(call))
        if kind == "lost_callback":
            return
        if kind == "forged_callback":
            forger = ec.generate_private_key(ec.SECP256R1())
            call.note(f"forged callback: {await self.link.post(call.request.callback, body, forger)}")
        for _ in range(2 if kind == "duplicate_callback" else 1):
            is_taken = await self.link.deliver(call.request.callback, body, self.key)
            call.note("callback taken" if is_taken else "callback given up")

    def _reply(self, call: Call) -> Reply:
        if call.answer is None:
            return self._accepted(call)
        return Reply(call=call.request.call, status=ReplyStatus.ANSWERED, data=msgspec.Raw(call.answer))

    def _accepted(self, call: Call) -> Reply:
        return Reply(
            call=call.request.call,
            status=ReplyStatus.ACCEPTED,
            poll_after_seconds=self._config.poll_after_seconds,
        )

    def _facts(self, request: Request) -> Facts:
        today = self.clock.today()
        return Facts(
            call=request.call,
            case=request.case,
            callback=request.callback,
            filed_on=_date_in_taipei(request.filed_at) if request.filed_at else today,
            today=today,
        )


def _answer_members(call: Call, answer: msgspec.Struct) -> dict[str, Any]:
    """The answer as it is sent: what the token allows, unless a fault is to be shown."""
    members: dict[str, Any] = msgspec.to_builtins(answer)
    kind = call.fault.kind if call.fault else ""
    if kind == "wrong_schema":
        return {"verdict": 7}
    if kind == "surplus":
        return members | {"household": {"register": "made up, and nobody asked for it"}}
    return fields_allowed(members, call.fields) if call.operation.kind is OperationKind.DATA else members


def _decode(content: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Problem(422, "invalid-request", "The content does not have the contract's form.") from error


def _date_in_taipei(instant: str) -> dt.date:
    try:
        return dt.datetime.fromisoformat(instant).astimezone(TAIPEI).date()
    except ValueError as error:
        raise Problem(422, "invalid-request", "filed_at is not an instant (RFC 3339).") from error
