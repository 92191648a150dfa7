"""What reaches the application, tried with raw bytes on real sockets."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest
from litestar import Litestar, Request, get, post
from litestar.datastructures import State

from gateway.server import Bounds, Server

HOST = "onestop.example"
BOUNDS = Bounds(hosts=frozenset({HOST}), head_seconds_max=0.5, body_seconds_max=0.5)
ANSWER_BYTES_MAX = 65_536
SOCKET_SECONDS_MAX = 10

Bytes = list[bytes]


class Gateway:
    """A server in a thread, and the bodies that its application was given."""

    def __init__(self, bounds: Bounds) -> None:
        self.seen: Bytes = []
        self._release = threading.Event()

        @post("/echo")
        async def echo(request: Request[None, None, State]) -> str:
            body = await request.body()
            self.seen.append(body)
            return body.decode()

        @get("/slow")
        async def slow() -> str:
            self.seen.append(b"slow")
            await asyncio.to_thread(self._release.wait, SOCKET_SECONDS_MAX)
            return "done"

        self.app = Litestar([echo, slow], logging_config=None)
        self.server = Server(self.app, bounds)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = self._listener.getsockname()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self.server.serve_within_lifespan(self._listener))
        )

    def __enter__(self) -> "Gateway":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._release.set()
        self.server.handle_exit(15, None)
        self._thread.join(SOCKET_SECONDS_MAX)
        assert not self._thread.is_alive()

    def release(self) -> None:
        """Let slow requests finish."""
        self._release.set()

    def connect(self) -> socket.socket:
        """A new connection."""
        return socket.create_connection(self.address, timeout=SOCKET_SECONDS_MAX)

    def exchange(self, *pieces: bytes) -> bytes:
        """Send bytes and read until the server closes; what was sent after a refusal is lost."""
        with self.connect() as connection:
            with contextlib.suppress(OSError):
                for piece in pieces:
                    connection.sendall(piece)
            return read_all(connection)


def read_all(connection: socket.socket) -> bytes:
    """All that comes until the end; a reset ends it too."""
    answer = b""
    with contextlib.suppress(ConnectionError):
        while len(answer) < ANSWER_BYTES_MAX and (piece := connection.recv(4_096)):
            answer += piece
    return answer


def request(*headers: str, version: str = "1.1", target: str = "/echo", body: bytes = b"") -> bytes:
    """A POST with these header lines."""
    lines = [f"POST {target} HTTP/{version}", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def status(answer: bytes) -> int | None:
    """The status of an answer; None when the connection was cut without one."""
    return int(answer.split()[1]) if answer else None


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with Gateway(BOUNDS) as running:
        yield running


@pytest.fixture(autouse=True)
def nothing_seen(gateway: Gateway) -> None:
    gateway.seen.clear()


def test_ordinary_request_is_answered(gateway: Gateway) -> None:
    answer = gateway.exchange(request(f"Host: {HOST}", "Content-Length: 2", "Connection: close", body=b"hi"))

    assert status(answer) == 201
    assert gateway.seen == [b"hi"]


def test_chunked_body_is_answered(gateway: Gateway) -> None:
    answer = gateway.exchange(
        request(f"Host: {HOST}", "Transfer-Encoding: chunked", "Connection: close"), b"2\r\nhi\r\n0\r\n\r\n"
    )

    assert status(answer) == 201
    assert gateway.seen == [b"hi"]


def test_large_body_passes_in_whole(gateway: Gateway) -> None:
    body = b"x" * 300_000

    answer = gateway.exchange(
        request(f"Host: {HOST}", f"Content-Length: {len(body)}", "Connection: close", body=body)
    )

    assert status(answer) == 201
    assert gateway.seen == [body]


def test_pipelined_requests_are_answered_in_order(gateway: Gateway) -> None:
    one = request(f"Host: {HOST}", "Content-Length: 5000", body=b"1" * 5_000)
    two = request(f"Host: {HOST}", "Content-Length: 1", "Connection: close", body=b"2")

    answer = gateway.exchange(one * 3 + two)

    assert answer.count(b"HTTP/1.1 201") == 4
    assert gateway.seen == [b"1" * 5_000] * 3 + [b"2"]


REFUSED = {
    "no host": (request("Content-Length: 0"), 400),
    "two hosts": (request(f"Host: {HOST}", f"Host: {HOST}"), 400),
    "two hosts, one wrong": (request(f"Host: {HOST}", "Host: evil.example"), 400),
    "wrong host": (request("Host: evil.example"), 421),
    "wrong port": (request(f"Host: {HOST}:81"), 421),
    "host with user": (request(f"Host: x@{HOST}"), 421),
    "host list": (request(f"Host: {HOST}, evil.example"), 421),
    "empty host": (request("Host:"), 421),
    "absolute target": (request(f"Host: {HOST}", target="http://evil.example/echo"), 400),
    "asterisk target": (f"OPTIONS * HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode(), 400),
    "connect": (f"CONNECT {HOST}:443 HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode(), 400),
    "length and chunked": (
        request(f"Host: {HOST}", "Content-Length: 6", "Transfer-Encoding: chunked", body=b"0\r\n\r\nG"),
        400,
    ),
    "chunked and length": (
        request(f"Host: {HOST}", "Transfer-Encoding: chunked", "Content-Length: 6", body=b"0\r\n\r\nG"),
        400,
    ),
    "two lengths": (request(f"Host: {HOST}", "Content-Length: 1", "Content-Length: 1", body=b"x"), 400),
    "length list": (request(f"Host: {HOST}", "Content-Length: 1, 1", body=b"x"), 400),
    "signed length": (request(f"Host: {HOST}", "Content-Length: +1", body=b"x"), 400),
    "chunked in 1.0": (
        request(f"Host: {HOST}", "Transfer-Encoding: chunked", version="1.0", body=b"0\r\n\r\n"),
        400,
    ),
    "two codings": (
        request(f"Host: {HOST}", "Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"),
        400,
    ),
    "coding twice": (
        request(
            f"Host: {HOST}", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked", body=b"0\r\n\r\n"
        ),
        400,
    ),
    "unknown coding": (request(f"Host: {HOST}", "Transfer-Encoding: xchunked", body=b"0\r\n\r\n"), 400),
    "space before colon": (request(f"Host: {HOST}", "Content-Length : 1", body=b"x"), 400),
    "folded header": (request(f"Host: {HOST}", "X-A: 1\r\n Content-Length: 5", body=b"hello"), 400),
    "folded first header": (request(" X: 1", f"Host: {HOST}"), 400),
    "bare line feeds": (f"POST /echo HTTP/1.1\nHost: {HOST}\n\n".encode(), 400),
    "carriage return in value": (request(f"Host: {HOST}", "X-A: 1\rX-B: 2"), 400),
    "zero byte in value": (request(f"Host: {HOST}", "X-A: 1\x00"), 400),
    "upgrade": (request(f"Host: {HOST}", "Connection: upgrade", "Upgrade: websocket"), 400),
    "version 2": (f"PRI * HTTP/2.0\r\nHost: {HOST}\r\n\r\n".encode(), 400),
    "not HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "10,000 headers": (request(f"Host: {HOST}", *[f"X-{n}: 1" for n in range(10_000)]), 431),
    "101 headers": (request(f"Host: {HOST}", *[f"X-{n}: 1" for n in range(100)]), 431),
    "long target": (request(f"Host: {HOST}", target="/" + "x" * 30_000), 431),
}


@pytest.mark.parametrize(("sent", "expected"), REFUSED.values(), ids=REFUSED)
def test_request_is_refused_before_the_application(gateway: Gateway, sent: bytes, expected: int) -> None:
    answer = gateway.exchange(sent)

    assert status(answer) == expected
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"application/problem+json" in answer
    assert gateway.seen == []


@pytest.mark.parametrize("piece", [1_000, 1_000_000])
def test_30_mb_header_is_refused_early(gateway: Gateway, piece: int) -> None:
    pieces = [b"x" * piece] * (30_000_000 // piece)

    answer = gateway.exchange(request(f"Host: {HOST}").removesuffix(b"\r\n") + b"X-A: ", *pieces)

    # Closing while more arrives may reset the connection before the answer is read.
    assert status(answer) in {431, None}
    assert gateway.seen == []


def test_head_just_within_the_bound_passes(gateway: Gateway) -> None:
    answer = gateway.exchange(request(f"Host: {HOST}", "X-A: " + "x" * 12_000, "Connection: close"))

    assert status(answer) == 201


def test_trailers_are_refused_and_cannot_add_headers(gateway: Gateway) -> None:
    answer = gateway.exchange(
        request(f"Host: {HOST}", "Transfer-Encoding: chunked"), b"0\r\nAuthorization: x\r\n\r\n"
    )

    assert status(answer) in {400, None}
    assert answer.count(b" 201 ") == 0


@pytest.mark.parametrize(
    "start",
    [b"", b"\r\n", b"POST /echo HT", request(f"Host: {HOST}").removesuffix(b"\r\n") + b"X-A: 1\r\n"],
    ids=["nothing", "empty line", "request line", "headers"],
)
def test_slow_head_is_cut_off(gateway: Gateway, start: bytes) -> None:
    with gateway.connect() as connection:
        connection.sendall(start)
        answer = read_all(connection)

    assert status(answer) == 408


def test_dripping_head_is_cut_off(gateway: Gateway) -> None:
    with gateway.connect() as connection:
        connection.sendall(b"POST /echo HTTP/1.1\r\n")
        connection.settimeout(0.05)
        answer = b""
        for number in range(1_000):
            with contextlib.suppress(TimeoutError, ConnectionError):
                connection.sendall(b"X-%d: 1\r\n" % (number % 90))
                if answer := connection.recv(4_096):
                    break

    assert status(answer) == 408


def test_slow_body_is_cut_off(gateway: Gateway) -> None:
    with gateway.connect() as connection:
        connection.sendall(request(f"Host: {HOST}", "Content-Length: 10", body=b"x"))
        answer = read_all(connection)

    assert b" 201 " not in answer
    assert gateway.seen == []


def test_refusal_is_not_written_into_an_answer_under_way(gateway: Gateway) -> None:
    slow = request(f"Host: {HOST}", target="/slow").replace(b"POST", b"GET")

    answer = gateway.exchange(slow + b"\x00\x00\x00")

    assert answer == b""


def test_stopping_finishes_what_is_in_flight() -> None:
    with Gateway(BOUNDS) as gateway, gateway.connect() as connection:
        connection.sendall(request(f"Host: {HOST}", target="/slow").replace(b"POST", b"GET"))
        while not gateway.seen:
            threading.Event().wait(0.01)

        gateway.server.handle_exit(15, None)
        draining = gateway.app.state.draining
        threading.Event().wait(1.5)  # longer than the server goes on listening
        with pytest.raises(OSError, match="refused"):
            gateway.connect()
        gateway.release()
        answer = read_all(connection)

    assert draining
    assert status(answer) == 200
    assert answer.endswith(b"done")
