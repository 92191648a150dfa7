"""Logging in through a real provider, and the attacks on the way there and back."""

import asyncio
import contextlib
import datetime as dt
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import pytest
from sqlalchemy import update

from adapters.sandbox_idp import Client, IdpConfig, create_app
from consent import store as consent_store
from consent.database import machine_time
from consent.keys import Vault
from gateway.db import SqlDatabase
from gateway.identity import login, store
from gateway.identity.errors import LoginRefused
from gateway.identity.persons import profile_of
from tests.gateway.identity.conftest import (
    Site,
    choose,
    listen,
    log_in,
    plant,
    running_gateway,
    serving,
    session_of,
    to_provider,
)

LOGIN_COOKIE = "onestop_login"
SESSION_COOKIE = "onestop_session"


def refused(answer: httpx.Response) -> bool:
    """Whether a login was refused without a session and without a reason."""
    body = answer.json()
    return (
        answer.status_code == 400
        and body["type"] == "urn:onestop:problem:login-refused"
        and "detail" not in body
        and SESSION_COOKIE not in answer.headers.get("set-cookie", "")
    )


async def test_login_ends_in_a_session_of_the_chosen_person(site: Site) -> None:
    async with site.browser() as browser:
        answer = await log_in(browser, "ada", "/cases?page=2")
        session = await session_of(browser)

    assert (answer.status_code, answer.headers["location"]) == (303, "/cases?page=2")
    assert session["authenticated"] is True
    assert session["display_name"] == "ADA EXAMPLE"
    assert session["means"] == "foreign_passport_account"
    assert (session["acr"], session["amr"]) == ("substantial", ["pwd", "otp"])
    assert (session["roles"], session["mandates"]) == ([], [])


async def test_nobody_is_logged_in_before(site: Site) -> None:
    async with site.browser() as browser:
        assert await session_of(browser) == {"authenticated": False}
        assert (await browser.get("/probe")).status_code == 401


async def test_profile_is_kept_and_the_person_is_the_same_at_the_next_login(site: Site) -> None:
    subjects = set()
    for _ in range(2):
        async with site.browser() as browser:
            await log_in(browser)
            subjects.add((await browser.get("/probe")).text)
    (row,) = await site.rows(store.person)

    async with site.database.read() as conn:
        profile = await profile_of(conn, site.vault, row.person_id)

    assert subjects == {str(row.person_id)}
    assert row.last_login_at > row.first_login_at
    assert (profile.passport_number, profile.nationality, profile.sex) == ("X12345678", "GBR", "F")
    assert profile.date_of_birth == dt.date(1988, 2, 29)


async def test_two_people_are_two_persons(site: Site) -> None:
    async with site.browser() as ada, site.browser() as bruno:
        await log_in(ada, "ada")
        await log_in(bruno, "bruno")

        assert (await ada.get("/probe")).text != (await bruno.get("/probe")).text


async def test_auditors_route_is_open_to_the_auditor_alone(site: Site) -> None:
    async with site.browser() as auditor, site.browser() as ada, site.browser() as nobody:
        await log_in(auditor, "auditor")
        await log_in(ada, "ada")

        assert (await session_of(auditor))["roles"] == ["auditor"]
        assert (await auditor.get("/audit-probe")).status_code == 200
        assert (await ada.get("/audit-probe")).status_code == 403
        assert (await nobody.get("/audit-probe")).status_code == 401


async def test_nothing_is_stored_before_the_provider_vouches_for_somebody(site: Site) -> None:
    async with site.browser() as browser:
        for _ in range(5):
            await to_provider(browser)

    for table in store.metadata.sorted_tables:
        assert await site.rows(table) == []


async def test_no_personal_value_stands_in_the_database_in_clear(site: Site) -> None:
    async with site.browser() as browser:
        await log_in(browser, "ada")
        cookie = browser.cookies[SESSION_COOKIE]
        csrf_token = (await session_of(browser))["csrf_token"]

    content = b""
    for table in (*store.metadata.sorted_tables, *consent_store.metadata.sorted_tables):
        for row in await site.rows(table):
            content += b"".join(value if isinstance(value, bytes) else repr(value).encode() for value in row)
    if site.database.is_sqlite:
        folder = site.database.engine.url.database
        assert folder is not None
        for suffix in ("", "-wal"):
            with open(folder + suffix, "rb") as file:  # noqa: ASYNC230 - a test may wait for its disk
                content += file.read()

    for value in ("EXAMPLE", "ADA", "X12345678", "1988-02-29", "GBR", "sandbox-ada", cookie, csrf_token):
        assert value.encode() not in content


async def test_state_of_another_login_is_refused(site: Site) -> None:
    async with site.browser() as browser:
        callback = await choose(browser, await to_provider(browser))
        state = dict(parse_qsl(urlsplit(callback).query))["state"]

        assert refused(await browser.get(callback.replace(state, "x" * len(state))))
        assert (await session_of(browser))["authenticated"] is False


async def test_login_csrf_another_browsers_response_is_refused(site: Site) -> None:
    async with site.browser() as attacker, site.browser() as victim, site.browser() as idle:
        of_attacker = await choose(attacker, await to_provider(attacker), "bruno")
        await to_provider(victim)

        assert refused(await victim.get(of_attacker))
        assert refused(await idle.get(of_attacker))


async def test_response_used_twice_is_refused(site: Site) -> None:
    async with site.browser() as browser:
        callback = await choose(browser, await to_provider(browser))
        login_cookie = browser.cookies[LOGIN_COOKIE]
        await browser.get(callback)
        assert LOGIN_COOKIE not in browser.cookies

        assert refused(await browser.get(callback))
        plant(browser, LOGIN_COOKIE, login_cookie)
        assert refused(await browser.get(callback))


async def test_one_login_makes_one_session_even_with_another_good_code(site: Site) -> None:
    async with site.browser() as browser:
        authorize = await to_provider(browser)
        callbacks = [await choose(browser, authorize, persona) for persona in ("ada", "bruno")]
        login_cookie = browser.cookies[LOGIN_COOKIE]

        first = await browser.get(callbacks[0])
        plant(browser, LOGIN_COOKIE, login_cookie)
        second = await browser.get(callbacks[1])

        assert first.status_code == 303
        assert refused(second)
        assert len(await site.rows(store.session)) == 1


async def test_one_login_used_by_two_requests_at_once_makes_one_session(site: Site) -> None:
    async with site.browser() as browser, site.browser() as twin:
        authorize = await to_provider(browser)
        callbacks = [await choose(browser, authorize) for _ in range(2)]
        plant(twin, LOGIN_COOKIE, browser.cookies[LOGIN_COOKIE])

        answers = await asyncio.gather(browser.get(callbacks[0]), twin.get(callbacks[1]))

        assert sorted(answer.status_code for answer in answers) == [303, 400]
        assert len(await site.rows(store.session)) == 1


async def test_first_logins_of_one_person_at_once_make_one_person(site: Site) -> None:
    async with contextlib.AsyncExitStack() as stack:
        browsers = [await stack.enter_async_context(site.browser()) for _ in range(4)]

        answers = await asyncio.gather(*(log_in(browser) for browser in browsers))

        assert {answer.status_code for answer in answers} == {303}
        assert len(await site.rows(store.person)) == 1
        assert len(await site.rows(store.session)) == 4


async def test_code_of_another_login_is_refused(site: Site) -> None:
    """Code injection: the attacker's code under the victim's own state fails by PKCE at the provider."""
    async with site.browser() as attacker, site.browser() as victim:
        of_attacker = await choose(attacker, await to_provider(attacker), "bruno")
        of_victim = await choose(victim, await to_provider(victim), "ada")
        codes = [dict(parse_qsl(urlsplit(address).query))["code"] for address in (of_attacker, of_victim)]

        assert refused(await victim.get(of_victim.replace(codes[1], codes[0])))


@pytest.mark.parametrize("missing", ["code", "state", "iss"])
async def test_response_without_a_parameter_or_with_two_is_refused(site: Site, missing: str) -> None:
    async with site.browser() as browser:
        for times in (0, 2):
            callback = await choose(browser, await to_provider(browser))
            parameters = parse_qsl(urlsplit(callback).query)
            changed = [item for item in parameters for _ in range(times if item[0] == missing else 1)]

            assert refused(await browser.get(f"/login/callback?{urlencode(changed)}"))


async def test_mix_up_response_of_another_issuer_is_refused(site: Site) -> None:
    async with site.browser() as browser:
        parameters = dict(parse_qsl(urlsplit(await choose(browser, await to_provider(browser))).query))

        answer = await browser.get("/login/callback", params=parameters | {"iss": f"{site.idp}/"})

        assert refused(answer)


async def test_login_that_the_provider_refused_ends_without_a_session(site: Site) -> None:
    async with site.browser() as browser:
        query = dict(parse_qsl(urlsplit(await to_provider(browser)).query))
        parameters = {"state": query["state"], "iss": site.idp, "error": "access_denied"}

        assert refused(await browser.get("/login/callback", params=parameters))


async def test_login_that_took_too_long_is_refused(site: Site) -> None:
    async with site.browser() as browser:
        callback = await choose(browser, await to_provider(browser))
        async with site.database.read() as conn:
            now = await machine_time(conn)
        begun = login.from_cookie(site.vault, browser.cookies[LOGIN_COOKIE], now)
        late = login.to_cookie(
            site.vault,
            login.Login(
                state=begun.state,
                nonce=begun.nonce,
                verifier=begun.verifier,
                return_to=begun.return_to,
                expires_at=now,
            ),
        )
        plant(browser, LOGIN_COOKIE, late)

        assert refused(await browser.get(callback))


@pytest.mark.parametrize("cookie", ["", "x", "AAAA", "A" * 3000, "%00", "*" * 40])
async def test_login_cookie_that_is_not_ours_is_refused(site: Site, cookie: str) -> None:
    async with site.browser() as browser:
        callback = await choose(browser, await to_provider(browser))
        browser.cookies.clear()

        assert refused(await browser.get(callback, headers={"Cookie": f"{LOGIN_COOKIE}={cookie}"}))


async def test_planted_session_is_not_adopted(site: Site) -> None:
    """Session fixation: the token that the browser had before the login opens nothing after it."""
    planted = "A" * 43
    async with site.browser() as browser, site.browser() as attacker:
        plant(browser, SESSION_COOKIE, planted)
        await log_in(browser)
        plant(attacker, SESSION_COOKIE, planted)

        assert SESSION_COOKIE in browser.cookies
        assert planted not in {cookie.value for cookie in browser.cookies.jar}
        assert (await session_of(attacker))["authenticated"] is False


async def test_login_in_a_browser_with_a_session_ends_that_one(site: Site) -> None:
    async with site.browser() as browser, site.browser() as thief:
        await log_in(browser, "ada")
        former = browser.cookies[SESSION_COOKIE]
        await log_in(browser, "auditor")
        plant(thief, SESSION_COOKIE, former)

        assert browser.cookies[SESSION_COOKIE] != former
        assert (await session_of(thief))["authenticated"] is False
        assert (await session_of(browser))["roles"] == ["auditor"]


async def test_erased_person_is_refused_at_login(site: Site) -> None:
    async with site.browser() as browser:
        await log_in(browser)
        async with site.database.write() as conn:
            await conn.execute(update(consent_store.data_key).values(wrapped=None))

        assert (await session_of(browser))["authenticated"] is False
        assert refused(await log_in(browser))


@pytest.mark.parametrize(
    "address",
    [
        "https://evil.example/",
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/%2fevil.example",
        "/%2F/evil.example",
        "/%5cevil.example",
        "/a//evil.example",
        "javascript:alert(1)",
        "evil.example",
        "",
        "/a\r\nSet-Cookie: x=y",
        "/%0d%0aSet-Cookie:%20x=y",
        "/\tevil",
        "/ａ",
        "/" + "a" * 600,
    ],
)
def test_open_redirect_is_refused(address: str) -> None:
    with pytest.raises(LoginRefused):
        login.local_path(address)


async def test_open_redirect_is_refused_before_the_provider_is_asked(site: Site) -> None:
    async with site.browser() as browser:
        assert refused(await browser.get("/login", params={"return_to": "//evil.example"}))


@pytest.mark.parametrize("path", ["/", "/cases/1?tab=documents#top", "/a?next=//x", "/a%20b", "/%E7%94%B3"])
def test_local_path_is_kept_as_it_is(path: str) -> None:
    assert login.local_path(path) == path


def attributes(set_cookie: str) -> set[str]:
    """The attributes of a Set-Cookie header, in lower case."""
    return {part.strip().lower() for part in set_cookie.split(";")[1:]}


async def test_cookies_on_loopback_are_closed_to_scripts_and_other_sites(site: Site) -> None:
    async with site.browser() as browser:
        begun = await browser.get("/login")
        ended = await log_in(browser)

    for answer in (begun, ended):
        assert answer.headers["cache-control"] == "no-store"
        for cookie in answer.headers.get_list("set-cookie"):
            assert {"httponly", "samesite=lax", "path=/"} <= attributes(cookie)
            assert "domain" not in cookie.lower()


async def test_cookies_over_https_are_secure_and_of_this_host_alone(
    sqlite: SqlDatabase, vault: Vault, tmp_path: Any
) -> None:
    public_url = "https://onestop.example"
    at, (idp_listening, idp) = listen(), listen()
    client = Client(
        client_id="onestop",
        redirect_uris=(f"{public_url}/login/callback",),
        jwks_url=f"{at[1]}/oauth/jwks",
    )
    config = IdpConfig(issuer=idp, clients=(client,), folder=tmp_path / "idp")
    async with (
        serving(create_app(config), idp_listening),
        running_gateway(sqlite, vault, idp, at=at, public_url=public_url) as site,
        site.browser() as browser,
    ):
        begun = await browser.get("/login")
        login_cookie = begun.headers["set-cookie"]
        callback = urlsplit(await choose(browser, begun.headers["location"]))
        ended = await browser.get(
            f"{callback.path}?{callback.query}", headers={"Cookie": login_cookie.split(";")[0]}
        )
        session_cookie = ended.headers.get_list("set-cookie")[0]
        unprefixed = session_cookie.split(";")[0].removeprefix("__Host-")
        planted = await browser.get("/api/v1/session", headers={"Cookie": unprefixed})

    assert ended.status_code == 303
    assert login_cookie.startswith("__Host-onestop_login=")
    assert session_cookie.startswith("__Host-onestop_session=")
    for cookie in (login_cookie, session_cookie):
        assert {"secure", "httponly", "samesite=lax", "path=/"} <= attributes(cookie)
        assert "domain" not in cookie.lower()
    assert planted.json() == {"authenticated": False}
