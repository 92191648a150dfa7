"""The request as our routes see it: JSON bodies are read strictly.

The decoder takes the last of two equal member names silently and gives up on deep nesting with an error that
looks like a fault of ours. Here both are the sender's mistake, told as such: another reader of the same bytes
(an agency, an auditor) might have taken the first member.

The decoder also stops at the first thing that is wrong. Where a route takes a struct, its JSON Schema is asked
first, so that a sender learns everything at once.
"""

import json
from collections.abc import AsyncGenerator
from functools import cache
from typing import Any

import msgspec
from litestar import Request
from litestar.datastructures import State
from litestar.exceptions import InternalServerException
from msgspec.inspect import is_struct_type

from services.errors import InvalidInput
from services.forms import Form

DEPTH_MAX = 32  # levels of objects and lists within each other: far more than any body of ours has


class MalformedBody(Exception):
    """The body is not JSON that every reader would understand alike. The message quotes nothing of it."""


class GatewayRequest(Request[Any, Any, State]):
    """A request whose JSON body is strict."""

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """The body in parts. Raises MalformedBody where it is cut off, which the framework calls our fault."""
        try:
            async for part in super().stream():
                yield part
        except InternalServerException:
            raise MalformedBody("the body was cut off") from None

    async def json(self) -> Any:
        """The decoded body; None when it is empty. Raises MalformedBody, or InvalidInput with all problems."""
        body = await self.body()
        if not body:
            return None
        value = strict_json(body)
        field = self.route_handler.parsed_data_field
        if field is not None and is_struct_type(field.annotation):
            problems = _form(field.annotation).findings(value)
            if problems:
                raise InvalidInput(problems)
        return value


@cache
def _form(struct: type[msgspec.Struct]) -> Form[Any]:
    """The schema of a route's body; there are as many as routes."""
    return Form(struct)


def strict_json(body: bytes) -> Any:
    """Decode UTF-8 JSON (RFC 8259) with unique member names. Raises MalformedBody."""
    try:
        value = msgspec.json.decode(body)
        # The second reader knows the names' multiplicity; what it makes of the values is not used.
        json.loads(body, object_pairs_hook=_unique, parse_float=str, parse_int=str)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise MalformedBody("the body is not JSON in UTF-8") from None
    except RecursionError:
        raise MalformedBody("the body is nested too deeply") from None
    _check_depth(value, DEPTH_MAX)
    return value


def _check_depth(value: Any, levels: int) -> None:
    """Whoever validates or compares the value later does so by recursion."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if levels == 0 and inner:
        raise MalformedBody("the body is nested too deeply")
    for member in inner:
        _check_depth(member, levels - 1)


def _unique(members: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in members}) != len(members):
        raise MalformedBody("an object has two members of the same name")
