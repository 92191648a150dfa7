"""Errors of this package, chosen by what the caller should do.

ServiceError (never raised itself)
 +-- ServiceNotFound      no such service: show the catalogue
 +-- CaseNotFound         no such case, document or call for this caller: nothing more is said
 +-- NotAllowed           the case's state does not allow the verb: show the state
 +-- StaleVersion         somebody saved meanwhile: fetch, merge, send again
 +-- PreconditionMissing  If-Match or Idempotency-Key is missing: send it
 +-- InvalidInput         the input has problems: show them all
 +-- IdempotencyConflict  the key was used with another body: use a new key
 +-- TooLarge             the content is over its bound
 +-- UnsupportedMedia     the content is of a type that is not taken here
 +-- DocumentRefused      a document is not one that we issued, or not as we issued it: say why
 +-- NotReady             an agency has yet to answer: ask again after `retry_after_seconds`
"""

from collections.abc import Sequence

import msgspec


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One thing wrong with an input: where (JSON pointer), a stable code, and what to do, in both languages.

    The details never repeat what was sent.
    """

    pointer: str
    code: str
    detail_zh: str
    detail_en: str


class ServiceError(Exception):
    """Base of this package's errors. Messages never hold personal data."""


class ServiceNotFound(ServiceError):
    """No service of this id."""


class CaseNotFound(ServiceError):
    """Nothing of this id for this caller: that it may exist for another is not told."""


class DocumentRefused(ServiceError):
    """A document is not genuine. The message completes the sentence "the document is not genuine: ..."."""


class NotAllowed(ServiceError):
    """The case's state does not allow the verb."""

    def __init__(self, verb: str, why_zh: str, why_en: str) -> None:
        super().__init__(f"{verb}: {why_en}")
        self.verb = verb
        self.why_zh = why_zh
        self.why_en = why_en


class StaleVersion(ServiceError):
    """The version sent is not the current one."""

    def __init__(self, found: int, expected: int) -> None:
        super().__init__(f"version {found} was sent, the current version is {expected}")
        self.expected = expected


class PreconditionMissing(ServiceError):
    """A header that this request must carry is missing."""

    def __init__(self, header: str) -> None:
        super().__init__(f"this request needs the header {header}")
        self.header = header


class InvalidInput(ServiceError):
    """The input has these problems, all of them."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(f"the input has {len(problems)} problems")
        self.problems = tuple(problems)


class IdempotencyConflict(ServiceError):
    """The idempotency key was used before with another request."""


class TooLarge(ServiceError):
    """The content is over its bound, in bytes."""

    def __init__(self, bytes_max: int) -> None:
        super().__init__(f"the content is larger than the {bytes_max} bytes allowed")
        self.bytes_max = bytes_max


class UnsupportedMedia(ServiceError):
    """The content is of another type than those taken."""

    def __init__(self, found: str, accepted: Sequence[str]) -> None:
        super().__init__(f"the content is {found}; accepted are {', '.join(accepted)}")
        self.accepted = tuple(accepted)


class NotReady(ServiceError):
    """What was asked for waits for an agency's answer."""

    def __init__(self, what: str, retry_after_seconds: int) -> None:
        super().__init__(f"{what} is not ready yet")
        self.retry_after_seconds = retry_after_seconds
