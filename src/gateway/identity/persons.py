"""Persons: who the provider's (issuer, sub) pairs are to us, with a profile that is refreshed at each login.

A person has an id of ours; the provider's identifier is looked up by a keyed hash and stands nowhere in
clear. The profile is sealed under the subject's key of retention class `profile`.
"""

import datetime as dt
from uuid import UUID

import msgspec
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from consent.ids import shard_of, uuid7
from consent.keys import Vault, open_sealed, seal
from consent.store import insert_or_ignore
from gateway.identity.store import RETENTION, person


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the provider says of a person. Empty where it says nothing: an auditor shows no passport.

    `nationality` is ISO 3166-1 alpha-3; names are as in the passport's machine-readable zone.
    """

    family_name: str
    given_name: str
    nationality: str = ""
    passport_number: str = ""
    date_of_birth: dt.date | None = None
    sex: str = ""

    @property
    def display_name(self) -> str:
        """The name to greet the person with."""
        return f"{self.given_name} {self.family_name}".strip()


async def register(
    conn: AsyncConnection, vault: Vault, *, issuer: str, sub: str, profile: Profile, now: dt.datetime
) -> UUID:
    """The person behind (issuer, sub), made at the first login, with this profile from now on.

    Raises KeyMissing when the person was erased.
    """
    identity_hash = vault.index_of(f"person\0{issuer}\0{sub}")
    find = select(person.c.person_id).where(person.c.identity_hash == identity_hash)
    person_id = (await conn.execute(find)).scalar_one_or_none()
    if person_id is None:
        draft = uuid7()
        row = {
            "person_id": draft,
            "shard": shard_of(draft),
            "identity_hash": identity_hash,
            "profile": b"",
            "first_login_at": now,
            "last_login_at": now,
        }
        await conn.execute(insert_or_ignore(conn, person), row)
        person_id = (await conn.execute(find)).scalar_one()  # ours, or that of a login at the same moment
    key = await vault.subject_key(conn, str(person_id), RETENTION)
    sealed = seal(key, msgspec.json.encode(profile), _place(person_id))
    await conn.execute(
        update(person).where(person.c.person_id == person_id).values(profile=sealed, last_login_at=now)
    )
    return UUID(str(person_id))


async def profile_of(conn: AsyncConnection, vault: Vault, person_id: UUID) -> Profile:
    """The profile as of the person's last login. Raises KeyMissing when it was erased."""
    query = select(person.c.profile).where(person.c.person_id == person_id)
    sealed = (await conn.execute(query)).scalar_one()
    key = await vault.subject_key(conn, str(person_id), RETENTION)
    return msgspec.json.decode(open_sealed(key, sealed, _place(person_id)), type=Profile)


def _place(person_id: UUID) -> str:
    return f"person/{person_id}/profile"
