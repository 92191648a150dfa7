"""The HTTP server: uvicorn with httptools and uvloop, bounded before the application sees anything.

An application learns of a request when its headers are complete, which is too late to refuse 30 MB of them.
The protocol here counts while bytes arrive: size and number of headers, time until they are complete, time
until the body is. It also refuses what two readers of one stream might understand differently, the root of
request smuggling (RFC 9112, section 11.2): anything but exactly one Host that is served here, a request
target that is not a path, chunked bodies in HTTP/1.0, any transfer coding but `chunked`, a length beside one,
trailers, folded headers, upgrades. A refusal is a problem document, and the connection is closed.

On SIGTERM a process says at /health/ready that it takes no more, keeps serving for a moment while load
balancers notice, stops listening, finishes the requests in flight and only then closes what they use. Several
processes share one listening socket; a supervisor replaces one that dies, within a bound.
"""

import asyncio
import multiprocessing
import os
import signal
import socket
import sys
import time
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any

import msgspec
import structlog
import uvicorn
import uvloop
from litestar import Litestar
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from gateway.problems import BY_STATUS, MEDIA_TYPE, RETRY_AFTER_SECONDS, TYPE_PREFIX, Problem
from gateway.settings import Settings, StartRefused

CONNECTIONS_MAX = 1_000
BACKLOG = 2_048
KEEP_ALIVE_SECONDS = 5
DRAIN_SECONDS = 1.0
GRACE_SECONDS = 10
# The parser gets slices of this size, so that what it holds unseen is never much over the bound.
SLICE_BYTES = 4_096
RESTARTS_MAX = 10
RESTART_PAUSE_SECONDS = 1.0
STOP_SECONDS_MAX = DRAIN_SECONDS + GRACE_SECONDS + 5

log = structlog.get_logger(__name__)


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """What one request may take before the application sees it; `hosts` are the Host values served."""

    hosts: frozenset[str]
    head_bytes_max: int = 16_384
    header_count_max: int = 100
    head_seconds_max: float = 10.0
    body_seconds_max: float = 60.0


class ServerConfig(uvicorn.Config):
    """uvicorn's settings, fixed for us, and our bounds beside them."""

    def __init__(self, app: Litestar, bounds: Bounds) -> None:
        super().__init__(
            app,
            http=BoundedProtocol,
            loop="uvloop",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=GRACE_SECONDS,
            backlog=BACKLOG,
        )
        self.bounds = bounds


class _Refused(Exception):
    """Stops the parser; the answer is in the protocol's `_refusal`."""


class BoundedProtocol(HttpToolsProtocol):
    """One connection. Counts and checks before handing on to uvicorn's own protocol."""

    config: ServerConfig

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._bounds = self.config.bounds
        self._refusal: tuple[int, str] = (400, "malformed")
        self._in_head = True
        self._head_bytes = 0
        self._deadline: asyncio.TimerHandle | None = None

    # Connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's
        """The time for the first request's head starts now."""
        super().connection_made(transport)
        self._start_deadline(self._bounds.head_seconds_max)

    def connection_lost(self, exc: Exception | None) -> None:
        """No deadline outlives its connection."""
        self._stop_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser slice by slice, until a bound is passed."""
        if self._deadline is None:
            self._start_deadline(self._bounds.head_seconds_max)
        for start in range(0, len(data), SLICE_BYTES):
            if self.transport.is_closing():
                return
            piece = data[start : start + SLICE_BYTES]
            self._head_bytes += len(piece)
            super().data_received(piece)
            if self._in_head and self._head_bytes > self._bounds.head_bytes_max + SLICE_BYTES:
                self._refusal = (431, "head-bytes")
                self.send_400_response("")
                return

    # Parser callbacks; a raised _Refused ends in `send_400_response`

    def on_message_begin(self) -> None:
        """A new request: count anew, from the slice that it began in."""
        self._in_head = True
        self._head_bytes = SLICE_BYTES
        self._refusal = (400, "malformed")
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Part of the request target."""
        super().on_url(url)
        if len(self.url) > self._bounds.head_bytes_max:
            self._refuse(431, "target-bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        """One complete header; after the head it would be a trailer."""
        if not self._in_head:
            self._refuse(400, "trailer")
        if len(self.headers) >= self._bounds.header_count_max:
            self._refuse(431, "header-count")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is complete: check it, then let uvicorn start the application."""
        self._check_head()
        if len(self.connections) > CONNECTIONS_MAX:
            self._refuse(503, "connections")
        self._in_head = False
        self._start_deadline(self._bounds.body_seconds_max)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The body is complete: the deadline has been met, and what comes next is another head."""
        self._stop_deadline()
        self._in_head = True
        self._head_bytes = 0
        super().on_message_complete()

    # Checks

    def _check_head(self) -> None:
        values: dict[bytes, list[bytes]] = {}
        for name, value in self.headers:
            values.setdefault(name, []).append(value)
        if not self.url.startswith(b"/"):
            self._refuse(400, "target")
        hosts = values.get(b"host", [])
        if len(hosts) != 1:
            self._refuse(400, "host-count")
        if hosts[0].decode("latin-1").lower() not in self._bounds.hosts:
            self._refuse(421, "host")
        codings = values.get(b"transfer-encoding", [])
        if codings and (codings != [b"chunked"] or self.parser.get_http_version() != "1.1"):
            self._refuse(400, "transfer-coding")
        if len(values.get(b"content-length", [])) + len(codings) > 1:
            self._refuse(400, "length")
        if self.parser.should_upgrade():
            self._refuse(400, "upgrade")

    def _refuse(self, status: int, reason: str) -> None:
        self._refusal = (status, reason)
        raise _Refused

    # Answers

    def send_400_response(self, msg: str) -> None:
        """Answer with the refusal and close; uvicorn calls this for whatever the parser does not take."""
        status, reason = self._refusal
        log.warning("refused before the application", status=status, reason=reason)
        self._stop_deadline()
        if self.cycle is not None and not self.cycle.response_complete:
            # An earlier request's answer is under way on this connection: nothing may be written into it.
            self.transport.abort()
            return
        kind = BY_STATUS[status]
        body = msgspec.json.encode(
            Problem(type=TYPE_PREFIX + kind.slug, title=kind.title_en, status=kind.status)
        )
        lines = [
            STATUS_LINE[status],
            b"content-type: %b\r\n" % MEDIA_TYPE.encode(),
            b"content-length: %d\r\n" % len(body),
            b"retry-after: %d\r\n" % RETRY_AFTER_SECONDS if status == 503 else b"",
            b"connection: close\r\n\r\n",
            body,
        ]
        self.transport.write(b"".join(lines))
        self.transport.close()

    # Deadlines

    def _start_deadline(self, seconds: float) -> None:
        self._stop_deadline()
        self._deadline = self.loop.call_later(seconds, self._on_deadline)

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _on_deadline(self) -> None:
        self._deadline = None
        if not self.transport.is_closing():
            self._refusal = (408, "deadline")
            self.send_400_response("")


class Server(uvicorn.Server):
    """One gateway process: tells readiness first, then finishes, when it is asked to stop."""

    def __init__(self, app: Litestar, bounds: Bounds, *, supervisor: int | None = None) -> None:
        """`supervisor` is the process without which this one is to stop."""
        super().__init__(ServerConfig(app, bounds))
        self._app = app
        self._supervisor = supervisor

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Asked to stop: not ready from now on. A second signal stops the waiting."""
        self._app.state.draining = True
        self.force_exit = self.should_exit
        self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: whether to stop."""
        if self._supervisor not in (None, os.getppid()):
            self.handle_exit(signal.SIGTERM, None)
        return await super().on_tick(counter)

    async def main_loop(self) -> None:
        """Serve until asked to stop, and a moment longer, in which readiness is seen to be gone."""
        await super().main_loop()
        await asyncio.sleep(DRAIN_SECONDS)

    async def serve_within_lifespan(self, listener: socket.socket) -> None:
        """Open what the application needs, serve, close it. Raises StartRefused."""
        try:
            async with self._app.lifespan():
                await self.serve(sockets=[listener])
        except ExceptionGroup as group:
            # The framework opens its lifespan within a task group, which wraps the refusal.
            refused = group.subgroup(StartRefused)
            if refused is None:
                raise
            raise _first(refused) from group


def _first(group: BaseException) -> BaseException:
    return _first(group.exceptions[0]) if isinstance(group, BaseExceptionGroup) else group


def listen(settings: Settings) -> socket.socket:
    """The listening socket; OSError when the address is taken or not this machine's."""
    family = socket.AF_INET6 if ":" in settings.bind_host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.bind_host, settings.bind_port))
        listener.listen(BACKLOG)
        listener.set_inheritable(True)
    except OSError:
        listener.close()
        raise
    return listener


def serve(settings: Settings) -> None:
    """Serve until told to stop. Raises StartRefused."""
    try:
        listener = listen(settings)
    except OSError as error:
        address = f"{settings.bind_host}:{settings.bind_port}"
        raise StartRefused(f"{address} cannot be listened on: {error.strerror}.") from error
    with listener:
        if settings.workers == 1:
            serve_one(settings, listener)
        else:
            _Supervisor(settings, listener).run()


def serve_one(settings: Settings, listener: socket.socket, *, supervisor: int | None = None) -> None:
    """Serve in this process until told to stop. Raises StartRefused."""
    # Imported here: a supervisor has no use for the application.
    from gateway import telemetry
    from gateway.app import create_app

    telemetry.configure(settings.log_level)
    server = Server(create_app(settings), Bounds(hosts=settings.allowed_hosts), supervisor=supervisor)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(server.serve_within_lifespan(listener))


class _Supervisor:
    """Keeps N processes serving one socket."""

    def __init__(self, settings: Settings, listener: socket.socket) -> None:
        self._settings = settings
        self._listener = listener
        self._context = multiprocessing.get_context("spawn")
        self._processes: list[BaseProcess] = []
        self._stopping = False

    def run(self) -> None:
        """Start them, replace those that die, stop them when told to. Raises StartRefused."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        self._processes = [self._start() for _ in range(self._settings.workers)]
        restarts = 0
        while not self._stopping:
            time.sleep(RESTART_PAUSE_SECONDS)
            for place, process in enumerate(self._processes):
                if process.is_alive() or self._stopping:
                    continue
                restarts += 1
                log.error("a gateway process ended", exit_status=process.exitcode, restarts=restarts)
                if restarts > RESTARTS_MAX:
                    self._stop()
                    raise StartRefused(f"gateway processes ended {restarts} times; their log says why.")
                self._processes[place] = self._start()
        self._stop()

    def _start(self) -> BaseProcess:
        arguments = (self._settings, self._listener, os.getpid())
        process = self._context.Process(target=_serve_supervised, args=arguments)
        process.start()
        log.info("gateway process started", process=process.pid)
        return process

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._stopping = True

    def _stop(self) -> None:
        """Ask all to finish; end what has not finished within the bound."""
        for process in self._processes:
            process.terminate()
        finished_by = time.monotonic() + STOP_SECONDS_MAX
        for process in self._processes:
            process.join(max(0.0, finished_by - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()


def _serve_supervised(settings: Settings, listener: socket.socket, supervisor: int) -> None:
    try:
        serve_one(settings, listener, supervisor=supervisor)
    except StartRefused as error:
        sys.exit(str(error))
