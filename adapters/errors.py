"""Errors of this package, chosen by what the caller should do.

AdapterError (never raised itself)
 +-- Unavailable       no useful answer: try again later, after asking where the effect is unknown
 +-- Refused           it will not do this for us (credentials, lawful basis, content): stop, and tell
 +-- Unsupported       it can not do this at all: never again
 +-- SignatureRefused  a signed message is not acceptable: one opaque 401 for its sender
 +-- Misconfigured     a manifest or deployment file is wrong: do not start, show the sentence

The first three are the ways in which an agency can fail us.
"""


class AdapterError(Exception):
    """Base of this package's errors. Messages never hold personal data."""


class Unavailable(AdapterError):
    """Try again. `outcome_unknown`: the request may have taken effect, so ask before sending it again.

    `tried` is False where we did not even try (no place was free, or the agency is known to be gone).
    """

    def __init__(
        self,
        message: str,
        *,
        outcome_unknown: bool = False,
        retry_after_seconds: float | None = None,
        tried: bool = True,
    ) -> None:
        super().__init__(message)
        self.tried = tried
        self.outcome_unknown = outcome_unknown
        self.retry_after_seconds = retry_after_seconds


class Refused(AdapterError):
    """The agency refused: `code` is the last segment of the problem type it answered with."""

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code


class Unsupported(AdapterError):
    """The agency does not know the operation, or answers in a form that is not the contract's."""


class SignatureRefused(AdapterError):
    """A message's signature was refused. The reason is for our log, never for the sender."""


class Misconfigured(AdapterError):
    """A manifest or deployment file cannot be used; the message is one sentence that names file and fault."""
