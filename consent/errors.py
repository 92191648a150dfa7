"""Errors of this package, chosen by what the caller should do.

ConsentError (never raised itself)
 +-- NotPermitted        no live lawful basis covers the call: do not make it, tell the person
 +-- TransitionRefused   the record's state does not allow the act: show the state, change nothing
 +-- CeilingExceeded     more was asked than the purpose allows: correct the request at `pointer`
 +-- TokenRefused        a token or proof is not acceptable: one opaque 401 for the caller
 +-- LogFault            the log does not verify: stop, and say where
 +-- KeyMissing          a key was destroyed or never made: what it sealed cannot be read
"""


class ConsentError(Exception):
    """Base of this package's errors."""


class NotPermitted(ConsentError):
    """No live lawful basis covers the call. `reason` is a short code for the log."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class TransitionRefused(ConsentError):
    """The record is in a state from which this event leads nowhere."""

    def __init__(self, state: str, event: str) -> None:
        super().__init__(f"a record in state '{state}' does not take the event '{event}'")
        self.state = state
        self.event = event


class CeilingExceeded(ConsentError):
    """More was asked than the purpose allows; `pointer` is the JSON pointer of the member at fault."""

    def __init__(self, pointer: str, message: str) -> None:
        super().__init__(message)
        self.pointer = pointer


class TokenRefused(ConsentError):
    """A token, proof or signature was refused. The reason is for our log, never for the sender."""


class LogFault(ConsentError):
    """The log does not verify. `where` names the place: an index, a tile or a checkpoint size."""

    def __init__(self, where: str, message: str) -> None:
        super().__init__(f"{where}: {message}")
        self.where = where


class KeyMissing(ConsentError):
    """The key that sealed this value was destroyed, or was never made."""
