"""What an agency's HTTP answer means: one of four things, whatever the agency does.

    a Reply      200 or 202 with JSON of exactly the contract's form, about the call that was asked
    Refused      other 4xx: the agency decided, with a code
    Unsupported  404, 405, 501, redirects, and successes in a form that is not the contract's
    Unavailable  408, 425, 429 and other 5xx; `outcome_unknown` where the request may have taken effect

Errors never carry text of the agency, nor causes that quote it: it might be about a person.
"""

import datetime as dt
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from uuid import UUID

import msgspec

from adapters.contract import Reply
from adapters.errors import Refused, Unavailable, Unsupported

RETRY_AFTER_SECONDS_MAX = 3600.0
POLL_AFTER_SECONDS_MAX = 86_400

NOT_FOUND = 404
SUCCESS = frozenset({200, 202})
NEVER = frozenset({404, 405, 501})  # the operation, or its method, is not known there
NOT_PROCESSED = frozenset({408, 425, 429, 503})  # RFC 9110 §15.5.9, §15.6.4; RFC 8470 §5.2; RFC 6585 §4

_CODE = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Status, header fields (found in any case) and raw body of a response within bounds."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class _Problem(msgspec.Struct, frozen=True):
    """The one member of a problem document (RFC 9457) that we read."""

    type: str = ""


def reply_in(answer: Answer, call_id: UUID) -> Reply:
    """The reply in a success. Raises Unsupported; `data` is left raw for the lawful basis to be applied."""
    try:
        reply = msgspec.json.decode(answer.body, type=Reply)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Unsupported("the agency's answer has not the form of the contract") from None
    if reply.call != call_id:
        raise Unsupported("the agency's answer is about another call")
    if not bytes(reply.data).startswith(b"{"):
        raise Unsupported("the data of the agency's answer is not a JSON object")
    poll_after_seconds = min(max(reply.poll_after_seconds, 0), POLL_AFTER_SECONDS_MAX)
    return msgspec.structs.replace(reply, poll_after_seconds=poll_after_seconds)


def fault_in(answer: Answer, now: dt.datetime) -> Unavailable | Refused | Unsupported:
    """The error that an answer other than a success stands for."""
    status = answer.status
    if status in NEVER or not 400 <= status < 600:
        return Unsupported(f"the agency answered {status}")
    if status in NOT_PROCESSED or status >= 500:
        return Unavailable(
            f"the agency answered {status}",
            outcome_unknown=status not in NOT_PROCESSED,
            retry_after_seconds=_retry_after(answer.headers.get("retry-after", ""), now),
        )
    return Refused(f"the agency answered {status}", code=_code(answer))


def _code(answer: Answer) -> str:
    """The last segment of the problem's type where it is a plain word, else `http-<status>`."""
    try:
        problem = msgspec.json.decode(answer.body, type=_Problem)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        problem = _Problem()
    code = re.split(r"[/:#]", problem.type)[-1]
    return code if _CODE.fullmatch(code) and problem.type != "about:blank" else f"http-{answer.status}"


def _retry_after(value: str, now: dt.datetime) -> float | None:
    """Seconds that `Retry-After` (RFC 9110 §10.2.3) asks for, bounded; None when it says nothing usable."""
    if re.fullmatch(r"[0-9]{1,9}", value):
        return min(float(value), RETRY_AFTER_SECONDS_MAX)
    try:
        seconds = (parsedate_to_datetime(value) - now).total_seconds()
    except (ValueError, TypeError, OverflowError):  # TypeError: a date without a zone
        return None
    return min(max(seconds, 0.0), RETRY_AFTER_SECONDS_MAX)
