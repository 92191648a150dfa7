"""People at a gateway that runs in the test's process: logged in by making their sessions.

No identity provider and no agency is needed to be attacked.
"""

import contextlib
import json
import secrets
from collections.abc import AsyncIterator, Mapping
from typing import Any, NamedTuple

import httpx
from litestar import Litestar
from litestar.testing import AsyncTestClient

from consent.keys import FileKeyStore, Vault
from gateway.app import create_app
from gateway.db import SqlDatabase
from gateway.demo import FORM
from gateway.identity import persons, session_store
from gateway.identity.session_store import Content
from gateway.settings import Settings
from services import store

JSON = "application/json"
PROBLEM = "application/problem+json"


class Person:
    """One person's browser."""

    def __init__(self, client: AsyncTestClient[Litestar], token: str) -> None:
        self._client = client
        self._cookie = f"onestop_session={token}"
        self._csrf = session_store.csrf_token_of(token)

    async def send(
        self, method: str, path: str, content: bytes | None = None, **headers: str | bytes
    ) -> httpx.Response:
        sent: dict[str, str | bytes] = {
            "Cookie": self._cookie,
            "X-CSRF-Token": self._csrf,
            "Idempotency-Key": secrets.token_urlsafe(9),
            "Content-Type": JSON,
        }
        sent.update({name.replace("_", "-"): value for name, value in headers.items()})
        raw = [
            (name.encode(), value.encode() if isinstance(value, str) else value)
            for name, value in sent.items()
        ]
        return await self._client.request(method, path, content=content, headers=raw)

    async def get(self, path: str) -> httpx.Response:
        return await self.send("GET", path)

    async def post(self, path: str, body: object = None, **headers: str) -> httpx.Response:
        return await self.send("POST", path, json.dumps(body or {}).encode(), **headers)

    async def draft(self, form: Mapping[str, Any] = FORM) -> dict[str, Any]:
        opened = await self.post("/api/v1/cases", {"service": "gold_card", "language": "en"})
        assert opened.status_code == 201, opened.text
        case: dict[str, Any] = opened.json()
        saved = await self.save(case, form)
        assert saved.status_code == 200, saved.text
        result: dict[str, Any] = saved.json()
        return result

    async def save(self, case: Mapping[str, Any], form: object) -> httpx.Response:
        path = f"/api/v1/cases/{case['case_id']}/form"
        return await self.send("PUT", path, json.dumps(form).encode(), If_Match=f'"v{case["version"]}"')

    async def upload(self, case: Mapping[str, Any], slot: str, content: bytes) -> httpx.Response:
        path = f"/api/v1/cases/{case['case_id']}/documents/{slot}"
        return await self.send("PUT", path, content, If_Match=f'"v{case["version"]}"')

    async def shown(self, case: Mapping[str, Any]) -> dict[str, Any]:
        notices = await self.post(f"/api/v1/cases/{case['case_id']}/notices")
        [consent] = notices.json()["consents"]
        found: dict[str, Any] = consent
        return found


class World(NamedTuple):
    """A running gateway, its database, and the people in it."""

    client: AsyncTestClient[Litestar]
    database: SqlDatabase
    ada: Person
    bruno: Person
    auditor: Person


@contextlib.asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[World]:
    """Two applicants and an auditor, each with a session, at a gateway with these settings."""
    vault = Vault(FileKeyStore(settings.key_folder))
    database = SqlDatabase(settings.database_url)
    async with AsyncTestClient(create_app(settings)) as client:
        people = [
            Person(client, await logged_in(database, vault, name, roles))
            for name, roles in (("ada", ()), ("bruno", ()), ("auditor", ("auditor",)))
        ]
        yield World(client, database, *people)
    await database.aclose()


async def logged_in(database: SqlDatabase, vault: Vault, name: str, roles: tuple[str, ...]) -> str:
    """The session token of a person who has logged in."""
    async with database.write() as conn:
        now = (await store.now(conn)).machine
        profile = persons.Profile(family_name=name.upper(), given_name="TEST")
        person = await persons.register(
            conn, vault, issuer="https://idp.example", sub=name, profile=profile, now=now
        )
        content = Content(
            display_name=name,
            roles=frozenset(roles),
            means="test",
            acr="substantial",
            amr=("pwd",),
            auth_time=now,
        )
        return await session_store.start(conn, vault, person_id=person, content=content, now=now)


def is_problem(answer: httpx.Response, status: int) -> bool:
    """Whether it is a problem document of this status."""
    return answer.status_code == status and answer.headers["content-type"].startswith(PROBLEM)
