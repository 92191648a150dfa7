"""What verifiers of our tokens fetch: public keys and status lists. Open to anyone, nothing personal.

An agency keeps a status list for sixty seconds and is to learn of a withdrawal within sixty-five: a list is
made anew when it is older than five, once a process however many ask, and no cache in between may keep it.
"""

import asyncio
import time
from typing import Annotated

import msgspec
from litestar import Response, Router, get
from litestar.datastructures import CacheControlHeader, State
from litestar.di import NamedDependency
from litestar.exceptions import NotFoundException
from litestar.params import PathParameter
from sqlalchemy import func, select

from consent import jws, status
from consent.database import machine_time
from consent.keys import KeyStore, Vault
from consent.store import status_slot
from consent.token import TokenMinter
from gateway.db import SqlDatabase
from gateway.parts import status_uri
from gateway.settings import Settings

STATUS_LIST_KEY = "status-list"
OIDC_CLIENT_KEY = "oidc-client"
STATUS_SECONDS_MAX = 5.0
KEYS_SECONDS_MAX = 300
LIST_NUMBER_MAX = 32_767
STATUS_LIST_TYPE = f"application/{status.STATUS_LIST_TYP}"


class MadeList(msgspec.Struct, frozen=True):
    """A status list as it was made, at a second of the monotonic clock."""

    token: str
    made_at: float


class StatusLists:
    """The status lists of this process: made when asked for, kept for a moment. One for each application."""

    def __init__(self) -> None:
        self._made: dict[int, MadeList] = {}
        self._making = asyncio.Lock()

    async def get(self, number: int, database: SqlDatabase, key_store: KeyStore, settings: Settings) -> str:
        """The list's token. Raises NotFoundException for a list that holds nothing yet."""
        async with self._making:
            made = self._made.get(number)
            if made is None or time.monotonic() - made.made_at >= STATUS_SECONDS_MAX:
                made_at = time.monotonic()
                async with database.read() as conn:
                    newest = (await conn.execute(select(func.max(status_slot.c.list)))).scalar_one() or 0
                    if number > newest:
                        raise NotFoundException
                    token = await status.list_token(
                        conn,
                        number,
                        key=key_store.signing_key(STATUS_LIST_KEY),
                        uri=status_uri(settings, number),
                        now=await machine_time(conn),
                    )
                made = self._made[number] = MadeList(token, made_at)
            return made.token


@get(
    "/jwks",
    summary="Our public keys",
    cache_control=CacheControlHeader(public=True, max_age=KEYS_SECONDS_MAX),
    sync_to_thread=False,
)
def keys(
    minter: NamedDependency[TokenMinter], vault: NamedDependency[Vault]
) -> dict[str, list[dict[str, str]]]:
    """The keys that agency tokens, status lists, our requests and our client assertions are signed with."""
    client_key = jws.public_jwk(vault.key_store.signing_key(OIDC_CLIENT_KEY).public_key())
    return {"keys": [*minter.jwks()["keys"], client_key]}


@get("/status/{number:int}", summary="A status list", media_type=STATUS_LIST_TYPE)
async def status_list(
    number: Annotated[int, PathParameter(ge=0, le=LIST_NUMBER_MAX)],
    state: State,
    database: NamedDependency[SqlDatabase],
    vault: NamedDependency[Vault],
    settings: NamedDependency[Settings],
) -> Response[str]:
    """Which lawful bases have ended (draft-ietf-oauth-status-list), signed."""
    lists: StatusLists = state.status_lists
    token = await lists.get(number, database, vault.key_store, settings)
    return Response(token, media_type=STATUS_LIST_TYPE)


router = Router(path="/oauth", route_handlers=[keys, status_list], tags=["oauth"])
