"""Sessions end when they should, and act for nobody but the page that they were given to."""

import datetime as dt
import hashlib
from typing import Any

import httpx
import pytest
from sqlalchemy import update

from gateway.identity import session_store, store
from tests.gateway.identity.conftest import Site, log_in, plant, session_of

SESSION_COOKIE = "onestop_session"


async def move(site: Site, **columns: dt.timedelta) -> None:
    """Move instants of all sessions into the past."""
    async with site.database.write() as conn:
        for name, by in columns.items():
            for row in await site.rows(store.session):
                moved = getattr(row, name) - by
                which = store.session.c.session_id == row.session_id
                await conn.execute(update(store.session).where(which).values({name: moved}))


async def act(browser: httpx.AsyncClient, path: str = "/probe", **headers: str) -> int:
    """Status of a POST with these headers beside the session's cookie."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return (await browser.post(path, headers=fields)).status_code


async def test_database_holds_the_hash_of_the_token_alone(site: Site) -> None:
    async with site.browser() as browser:
        await log_in(browser)
        token = browser.cookies[SESSION_COOKIE]
    (row,) = await site.rows(store.session)

    assert row.token_hash == hashlib.sha256(token.encode()).digest()
    assert len(token) == 43


async def test_logout_ends_the_session_for_whoever_kept_the_token(site: Site) -> None:
    async with site.browser() as browser, site.browser() as thief:
        await log_in(browser)
        plant(thief, SESSION_COOKIE, browser.cookies[SESSION_COOKIE])
        token = (await session_of(browser))["csrf_token"]

        answer = await browser.post("/logout", headers={"X-CSRF-Token": token})

        assert answer.status_code == 204
        assert SESSION_COOKIE not in browser.cookies
        assert (await session_of(thief))["authenticated"] is False
        assert await site.rows(store.session) == []


async def test_logout_without_the_csrf_token_changes_nothing(site: Site) -> None:
    async with site.browser() as browser:
        await log_in(browser)

        assert (await browser.post("/logout")).status_code == 403
        assert (await session_of(browser))["authenticated"] is True


async def test_session_ends_after_half_an_hour_without_use(site: Site) -> None:
    async with site.browser() as browser:
        await log_in(browser)
        await move(site, seen_at=session_store.IDLE_MAX)

        assert (await browser.get("/probe")).status_code == 401


async def test_session_ends_after_twelve_hours_in_any_case(site: Site) -> None:
    async with site.browser() as browser:
        await log_in(browser)
        await move(site, expires_at=session_store.LIFETIME)

        assert (await browser.get("/probe")).status_code == 401


async def test_use_keeps_the_session_alive_and_is_written_once_a_minute(site: Site) -> None:
    async with site.browser() as browser:
        await log_in(browser)
        (at_login,) = await site.rows(store.session)
        await browser.get("/probe")
        (soon_after,) = await site.rows(store.session)
        await move(site, seen_at=session_store.IDLE_MAX - dt.timedelta(minutes=2))
        await browser.get("/probe")
        (later,) = await site.rows(store.session)

    assert soon_after.seen_at == at_login.seen_at
    assert later.seen_at >= at_login.seen_at


async def test_oldest_sessions_of_one_person_end_where_there_are_too_many(site: Site) -> None:
    tokens = []
    async with site.browser() as other:
        await log_in(other, "bruno")
        for _ in range(session_store.SESSIONS_OF_ONE_PERSON_MAX + 2):
            async with site.browser() as browser:
                await log_in(browser)
                tokens.append(browser.cookies[SESSION_COOKIE])

        alive = []
        for token in tokens:
            async with site.browser() as browser:
                plant(browser, SESSION_COOKIE, token)
                alive.append((await session_of(browser))["authenticated"])

        assert alive == [False] * 2 + [True] * session_store.SESSIONS_OF_ONE_PERSON_MAX
        assert (await session_of(other))["authenticated"] is True


async def test_ended_sessions_are_deleted_at_the_next_login(site: Site) -> None:
    async with site.browser() as ada, site.browser() as bruno:
        await log_in(ada, "ada")
        await move(site, expires_at=session_store.LIFETIME)
        await log_in(bruno, "bruno")

    assert len(await site.rows(store.session)) == 1


@pytest.mark.parametrize("path", ["/probe", "/guarded"])
async def test_unsafe_method_needs_the_token_of_this_session(site: Site, path: str) -> None:
    async with site.browser() as ada, site.browser() as bruno:
        await log_in(ada, "ada")
        await log_in(bruno, "bruno")
        own = (await session_of(ada))["csrf_token"]
        foreign = (await session_of(bruno))["csrf_token"]

        assert await act(ada, path, X_CSRF_Token=own) == 200
        assert await act(ada, path) == 403
        assert await act(ada, path, X_CSRF_Token=foreign) == 403
        assert await act(ada, path, X_CSRF_Token=own[:-1]) == 403
        assert await act(ada, path, X_CSRF_Token=ada.cookies[SESSION_COOKIE]) == 403


@pytest.mark.parametrize("path", ["/probe", "/guarded"])
async def test_unsafe_method_from_another_site_is_refused_even_with_the_token(site: Site, path: str) -> None:
    async with site.browser() as browser:
        await log_in(browser)
        token = (await session_of(browser))["csrf_token"]

        assert (
            await act(browser, path, X_CSRF_Token=token, Origin=site.url, Sec_Fetch_Site="same-origin") == 200
        )
        for origin in ("https://evil.example", "null", f"{site.url}.evil.example", "http://[", ""):
            assert await act(browser, path, X_CSRF_Token=token, Origin=origin) == 403
        for fetch_site in ("cross-site", "same-site", "none"):
            assert await act(browser, path, X_CSRF_Token=token, Sec_Fetch_Site=fetch_site) == 403


@pytest.mark.parametrize("path", ["/probe", "/guarded"])
async def test_unsafe_method_without_a_session_is_401(site: Site, path: str) -> None:
    async with site.browser() as browser:
        assert await act(browser, path, X_CSRF_Token="x") == 401


@pytest.mark.parametrize("token", ["", "x", "A" * 43, "A" * 5000, "é" * 43])
async def test_made_up_token_is_no_session(site: Site, token: str) -> None:
    cookie = f"{SESSION_COOKIE}={token}".encode()
    async with site.browser() as browser:
        answer = await browser.get("/probe", headers={b"Cookie": cookie})

        assert answer.status_code == 401


async def test_content_moved_to_another_session_does_not_open(site: Site) -> None:
    """Whoever can write the table still cannot give a session another one's role."""
    async with site.browser() as ada, site.browser() as auditor:
        await log_in(ada, "ada")
        subject = (await ada.get("/probe")).text
        await log_in(auditor, "auditor")
        rows: dict[bool, Any] = {str(row.person_id) == subject: row for row in await site.rows(store.session)}
        async with site.database.write() as conn:
            of_ada = store.session.c.session_id == rows[True].session_id
            await conn.execute(
                update(store.session)
                .where(of_ada)
                .values(content=rows[False].content, person_id=rows[False].person_id)
            )

        assert (await ada.get("/audit-probe")).status_code == 401
