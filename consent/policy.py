"""From a lawful basis to a permit, and from a raw answer to what may be let through. Pure.

`permit` is asked before a call is planned and again when its token is minted; `release` when the answer has
arrived. Both decide on the record as it is at that moment, so that a withdrawal holds from its commit on.
What an answer holds beyond the basis is surplus: it is dropped here, named for the log, and seen by nobody.
"""

import datetime as dt
from collections.abc import Collection, Mapping
from typing import Any
from uuid import UUID

import msgspec

from consent.errors import NotPermitted
from consent.lifecycle import LIVE_STATES
from consent.model import Grant, LawfulBasis, Permit


class Released(msgspec.Struct, frozen=True, kw_only=True):
    """An answer split by the permit: `data` may be used, `surplus` names the members that were dropped."""

    data: dict[str, Any]
    fields: tuple[str, ...]
    surplus: tuple[str, ...]


def item_for(basis: LawfulBasis, agency: str, resource: str) -> tuple[int, Grant]:
    """Index and item of the basis for this agency and resource. Raises NotPermitted when there is none."""
    for index, grant in enumerate(basis.grants):
        if grant.agency == agency and grant.resource == resource:
            return index, grant
    raise NotPermitted("not-covered", f"the basis does not cover {resource} at {agency}")


def permit(
    basis: LawfulBasis,
    *,
    sha256: str,
    call_id: UUID,
    agency: str,
    resource: str,
    fields: Collection[str],
    status: tuple[int, int],
    now: dt.datetime,
) -> Permit:
    """What the basis allows one call to carry and fetch.

    `fields` are the members the call is about to send; the permit names all that the item allows, answers
    included. `status` is (list, index) in the published status lists. Raises NotPermitted, with the reason
    `not-live`, `expired`, `not-covered` or `field-not-covered`.
    """
    _, grant = item_for(basis, agency, resource)
    if basis.state not in LIVE_STATES:
        raise NotPermitted("not-live", f"the basis is {basis.state}")
    if not basis.not_before <= now < basis.expires_at:
        raise NotPermitted("expired", "the basis is not valid at this time")
    beyond = sorted(set(fields) - set(grant.fields))
    if beyond:
        raise NotPermitted("field-not-covered", f"the basis does not cover the fields {', '.join(beyond)}")
    return Permit(
        call_id=call_id,
        basis_id=basis.basis_id,
        basis_kind=basis.kind,
        basis_revision=basis.revision,
        basis_sha256=sha256,
        subject=basis.subject,
        case_id=basis.case_id,
        agency=agency,
        resource=resource,
        purpose=basis.purpose_code,
        fields=frozenset(grant.fields),
        one_time=grant.max_uses == 1,
        expires_at=basis.expires_at,
        acr=basis.acr,
        amr=basis.amr,
        auth_time=basis.auth_time,
        status_list=status[0],
        status_index=status[1],
    )


def release(fields: Collection[str], data: Mapping[str, Any]) -> Released:
    """Split an answer by the fields allowed. A name covers exactly itself: `a` does not cover `a.b`."""
    kept: list[str] = []
    surplus: list[str] = []
    result = _split(data, "", frozenset(fields), kept, surplus)
    return Released(data=result, fields=tuple(kept), surplus=tuple(surplus))


def _split(
    data: Mapping[str, Any], prefix: str, fields: frozenset[str], kept: list[str], surplus: list[str]
) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in data.items():
        name = prefix + key
        if name in fields:
            kept.append(name)
            result[key] = value
        elif isinstance(value, Mapping) and any(field.startswith(f"{name}.") for field in fields):
            inner = _split(value, f"{name}.", fields, kept, surplus)
            if inner:
                result[key] = inner
        else:
            surplus.append(name)
    return result
