"""Logs and traces: one JSON line a request, one trace id across processes, nothing personal.

Whatever is logged, by us or by a library, passes the same processors. Personal and secret members are dropped
by their names, at any depth; an object that is not plain data is replaced by the name of its type, so that no
`repr` leaks; control and direction characters are escaped, so that a value cannot forge a line; an error is
its type and the places in the code that it went through. Messages of errors are kept for our own ones, which
never hold personal data, and left out for those of libraries, which may quote what they were given.

A request carries its W3C trace context on: `trace_id` and `traceparent` are bound for the request's task, and
the client to the agencies passes `traceparent` on. The line names the route's template; neither path nor
query are written.
"""

import datetime as dt
import logging
import re
import secrets
import sys
import time
import traceback
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any, TextIO
from uuid import UUID

import msgspec
import structlog
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from structlog.typing import EventDict, Processor, WrappedLogger

from consent.ids import uuid7

# A member is dropped when one of the words of its name stands here ("passport_number", "homePhone").
PRIVATE_WORDS = frozenset({
    "address", "arc", "authorization", "birth", "birthday", "body", "cookie", "csrf", "dob", "dpop", "email",
    "firstname", "fullname", "givenname", "lastname", "mail", "mobile", "nationality", "passport", "password",
    "phone", "photo", "query", "salary", "secret", "surname", "telephone", "token", "verifier",
})  # fmt: skip
# ... or when the whole name does: these words are harmless within another name ("key_id", "agency_name").
PRIVATE_NAMES = frozenset({
    "claims", "code", "family_name", "form", "given_name", "given_names", "id_number", "name", "names",
    "national_id", "person_name", "profile", "sex", "sub", "ui_number", "ui_no",
})  # fmt: skip

TEXT_LENGTH_MAX = 2_000
MEMBERS_MAX = 100
DEPTH_MAX = 6
FRAMES_MAX = 40
CAUSES_MAX = 5
OUR_PACKAGES = frozenset({"gateway", "services", "adapters", "consent"})
QUIET_LIBRARIES = ("aiohttp.access", "aiosqlite", "asyncio", "httpcore", "httpx", "uvicorn.access")

# C0 and C1 controls, line and paragraph separators, direction overrides and isolates.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_WORDS = re.compile("[A-Z]?[a-z0-9]+|[A-Z]+")
_TRACEPARENT = re.compile("00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})")
_REQUEST_ID = re.compile("[A-Za-z0-9._-]{1,64}")

log = structlog.get_logger(__name__)


class _Lines(logging.StreamHandler[TextIO]):
    """Our handler of libraries' records; a class of its own, so that a second `configure` replaces it."""


def configure(level: str, *, stream: TextIO | None = None, console: bool | None = None) -> None:
    """Send every log line to the stream (standard error): JSON, or readable text on a terminal."""
    stream = stream or sys.stderr
    if console is None:
        console = stream.isatty()
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        render_error,
        drop_private,
    ]
    renderer: Processor = (
        structlog.dev.ConsoleRenderer(colors=stream.isatty())
        if console
        else structlog.processors.JSONRenderer(serializer=_json)
    )
    threshold = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    handler = _Lines(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    # Libraries speak from "warning" on: below that they narrate, and quote addresses in full.
    root = logging.getLogger()
    root.setLevel(max(threshold, logging.WARNING))
    root.handlers[:] = [other for other in root.handlers if not isinstance(other, _Lines)] + [handler]
    for library in QUIET_LIBRARIES:
        logging.getLogger(library).setLevel(logging.ERROR)


def _json(value: Any, **_: Any) -> str:
    return msgspec.json.encode(value).decode()


def render_error(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Replace `exc_info` by the error's type, our own messages, and the places it went through."""
    found = event.pop("exc_info", None)
    if not found:
        return event
    error = found if isinstance(found, BaseException) else found[1] if isinstance(found, tuple) else None
    error = error or sys.exc_info()[1]
    causes: list[dict[str, Any]] = []
    while error is not None and len(causes) < CAUSES_MAX:
        causes.append(_describe(error))
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    event["error"] = causes
    return event


def _describe(error: BaseException) -> dict[str, Any]:
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES_MAX:]
    described: dict[str, Any] = {
        "type": f"{type(error).__module__}.{type(error).__qualname__}",
        "frames": [f"{'/'.join(Path(f.filename).parts[-2:])}:{f.lineno} {f.name}" for f in frames],
    }
    if type(error).__module__.partition(".")[0] in OUR_PACKAGES:
        described["message"] = str(error)
    return described


def drop_private(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Keep plain data alone, without private members and without characters that could forge a line."""
    return {_text(str(key)): _plain(value, 0) for key, value in event.items() if not is_private(str(key))}


def is_private(name: str) -> bool:
    """Whether a member of this name is personal or secret."""
    words = [word.lower() for word in _WORDS.findall(name)]
    return "_".join(words) in PRIVATE_NAMES or not PRIVATE_WORDS.isdisjoint([*words, "".join(words)])


def _plain(value: Any, depth: int) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Enum):
        return _plain(value.value, depth)
    if isinstance(value, str | UUID | Path | dt.date | dt.time):
        return _text(str(value))
    if depth < DEPTH_MAX and isinstance(value, Mapping):
        members = list(value.items())[:MEMBERS_MAX]
        return {_text(str(k)): _plain(v, depth + 1) for k, v in members if not is_private(str(k))}
    if depth < DEPTH_MAX and isinstance(value, list | tuple | set | frozenset):
        return [_plain(item, depth + 1) for item in list(value)[:MEMBERS_MAX]]
    return f"<{type(value).__name__}>"


def _text(value: str) -> str:
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", value[:TEXT_LENGTH_MAX])


class Requests:
    """ASGI wrapper around the whole application: binds the trace, writes one line when a request ends."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection; anything but HTTP passes through."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        request_id, trace_id, traceparent = _trace_of(dict(scope["headers"]))
        status = 0
        started = time.perf_counter()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        with structlog.contextvars.bound_contextvars(
            request_id=request_id, trace_id=trace_id, traceparent=traceparent
        ):
            try:
                await self._app(scope, receive, send_with_id)
            finally:
                route = scope.get("path_template") or "(none)"
                level = logging.WARNING if status >= 500 else logging.INFO
                await log.alog(
                    logging.DEBUG if route.startswith("/health/") and status < 500 else level,
                    "request",
                    method=scope["method"],
                    route=route,
                    status=status,
                    ms=round((time.perf_counter() - started) * 1000, 1),
                )


def _trace_of(headers: Mapping[bytes, bytes]) -> tuple[str, str, str]:
    """Request id, trace id and the traceparent of our own part; a malformed header starts a new trace."""
    found = _TRACEPARENT.fullmatch(headers.get(b"traceparent", b"").decode("latin-1"))
    trace_id, flags = (found[1], found[2]) if found else (secrets.token_hex(16), "01")
    given = headers.get(b"x-request-id", b"").decode("latin-1")
    request_id = given if _REQUEST_ID.fullmatch(given) else str(uuid7())
    return request_id, trace_id, f"00-{trace_id}-{secrets.token_hex(8)}-{flags}"
