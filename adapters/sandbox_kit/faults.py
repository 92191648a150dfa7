"""Misbehaviour on demand, so that tests can see what the product does about it.

A fault is told for an agency and one of its operations and strikes the next `count` requests. Faults of the
transport spoil the HTTP answer, faults of the answer spoil its content, faults of the callback its delivery;
the agency's own bookkeeping stays right in all of them, so that effects can still be counted.
"""

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Literal, cast

import msgspec
from litestar import Response
from litestar.response import Stream
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from adapters.sandbox_kit.problems import Problem

FAULTS_MAX = 1000
DELAY_SECONDS_MAX = 120
HUGE_CHUNKS = 64
CHUNK_BYTES = 1024 * 1024
BOMB_BYTES = 50 * CHUNK_BYTES
ABORT = "onestop.abort"

Kind = Literal[
    # of the transport
    "delay",  # waits, then answers as always
    "5xx",  # 503 before anything is done
    "error_after_effect",  # does it, then answers 500
    "timeout_after_effect",  # does it, then waits
    "reset_before_effect",  # closes the connection without an answer
    "reset_after_effect",
    "malformed",  # an answer that is not JSON
    "huge_body",
    "gzip_bomb",
    "redirect",
    # of the answer
    "wrong_schema",
    "surplus",  # members beyond the lawful basis
    # of the callback
    "duplicate_callback",
    "early_callback",  # arrives before the 202 does
    "lost_callback",
    "forged_callback",  # one signed with an unknown key comes before the true one
    # of the payment page
    "second_payment",  # takes money for an order that is paid
]


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One fault to come. `agency` and `operation` may be `*`; `on` says which request it strikes."""

    agency: str
    operation: str
    kind: Kind
    count: int = 1
    delay_seconds: float = 0
    on: Literal["submit", "status"] = "submit"

    def __post_init__(self) -> None:
        """Refuse a delay that no test should wait for."""
        if not 0 <= self.delay_seconds <= DELAY_SECONDS_MAX:
            raise ValueError(f"delay_seconds must be from 0 to {DELAY_SECONDS_MAX}")
        if self.count < 1:
            raise ValueError("count must be 1 or more")

    def strikes(self, agency: str, operation: str, on: str) -> bool:
        """Whether this request is meant."""
        return self.agency in {agency, "*"} and self.operation in {operation, "*"} and self.on == on


class FaultPlan:
    """The faults still to come; the oldest that fits strikes first."""

    def __init__(self, faults: tuple[Fault, ...] = ()) -> None:
        self._faults = list(faults)

    def add(self, fault: Fault) -> None:
        """Tell one more. Raises ValueError beyond FAULTS_MAX."""
        if len(self._faults) >= FAULTS_MAX:
            raise ValueError(f"more than {FAULTS_MAX} faults are told already")
        self._faults.append(fault)

    def clear(self) -> None:
        """Behave from now on."""
        self._faults.clear()

    def take(self, agency: str, operation: str, on: str = "submit") -> Fault | None:
        """The fault that strikes this request, counted down; None where there is none."""
        for index, fault in enumerate(self._faults):
            if fault.strikes(agency, operation, on):
                if fault.count == 1:
                    del self._faults[index]
                else:
                    self._faults[index] = msgspec.structs.replace(fault, count=fault.count - 1)
                return fault
        return None


def load_faults(path: Path) -> tuple[Fault, ...]:
    """A profile: a JSON array of faults. Raises msgspec.ValidationError where it is not one."""
    return msgspec.json.decode(path.read_bytes(), type=tuple[Fault, ...])


class AbortableProtocol(HttpToolsProtocol):
    """uvicorn's protocol that lets the application drop the connection, which ASGI cannot express."""

    def on_message_begin(self) -> None:
        """Put the way to drop this connection beside the request."""
        super().on_message_begin()
        self.scope["extensions"] = {ABORT: {"now": self.transport.abort}}


async def spoil(fault: Fault, response: Response[bytes], abort: Callable[[], None]) -> Response[bytes]:
    """The response as this transport fault leaves it; other kinds leave it as it is. Raises Problem."""
    if fault.kind == "error_after_effect":
        raise Problem(500, "internal-error")
    if fault.kind == "timeout_after_effect":
        await asyncio.sleep(fault.delay_seconds)
    if fault.kind in {"reset_before_effect", "reset_after_effect"}:
        abort()
        await asyncio.sleep(0)  # the server learns of it before it is handed an answer
    if fault.kind == "malformed":
        return Response(b'{"call": "', media_type="application/json")
    if fault.kind == "gzip_bomb":
        bomb = gzip.compress(bytes(BOMB_BYTES))
        return Response(bomb, media_type="application/json", headers={"Content-Encoding": "gzip"})
    if fault.kind == "huge_body":
        return cast("Response[bytes]", Stream(_huge, media_type="application/json"))
    if fault.kind == "redirect":
        return Response(b"", status_code=307, headers={"Location": "/elsewhere"})
    return response


async def _huge() -> AsyncIterator[bytes]:
    for _ in range(HUGE_CHUNKS):
        yield b" " * CHUNK_BYTES
