"""The request as our routes see it: JSON bodies are read strictly.

The decoder takes the last of two equal member names silently and gives up on deep nesting with an error that
looks like a fault of ours. Here both are the sender's mistake, told as such: another reader of the same bytes
(an agency, an auditor) might have taken the first member.
"""

import json
from typing import Any

import msgspec
from litestar import Request
from litestar.datastructures import State


class MalformedBody(Exception):
    """The body is not JSON that every reader would understand alike. The message quotes nothing of it."""


class GatewayRequest(Request[Any, Any, State]):
    """A request whose JSON body is strict."""

    async def json(self) -> Any:
        """The decoded body; None when it is empty. Raises MalformedBody."""
        body = await self.body()
        return strict_json(body) if body else None


def strict_json(body: bytes) -> Any:
    """Decode UTF-8 JSON (RFC 8259) with unique member names. Raises MalformedBody."""
    try:
        value = msgspec.json.decode(body)
        # The second reader knows the names' multiplicity; what it makes of the values is not used.
        json.loads(body, object_pairs_hook=_unique, parse_float=str, parse_int=str)
    except msgspec.DecodeError:
        raise MalformedBody("the body is not JSON in UTF-8") from None
    except RecursionError:
        raise MalformedBody("the body is nested too deeply") from None
    return value


def _unique(members: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in members}) != len(members):
        raise MalformedBody("an object has two members of the same name")
