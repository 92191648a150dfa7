"""Errors of identity, chosen by what the caller should do. None of them holds personal data.

IdentityError (never raised itself)
 +-- NotAuthenticated      no live session: log in
 +-- CsrfRefused           the request was not made by our own page: load the page anew
 +-- RoleRequired          this person may not do this
 +-- LoginRefused          this login leads nowhere: start another one
 +-- ProviderUnavailable   the identity provider gives no useful answer: try again later
"""


class IdentityError(Exception):
    """Base of this package's errors."""


class NotAuthenticated(IdentityError):
    """There is no session, or it has ended."""


class CsrfRefused(IdentityError):
    """The request carries a session cookie but not the proof that our own page made it."""


class RoleRequired(IdentityError):
    """The session lacks a role."""

    def __init__(self, role: str) -> None:
        super().__init__(f"the role '{role}' is required")
        self.role = role


class LoginRefused(IdentityError):
    """A login was refused. `reason` is for our log, never for the person or the provider."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class ProviderUnavailable(IdentityError):
    """The identity provider cannot be reached, or answers in a way that cannot be used."""
