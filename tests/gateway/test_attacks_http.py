"""Attacks over HTTP on a gateway: nobody gets at what is another's, no input is an error of ours.

People are logged in by making their sessions; no identity provider and no agency is needed to be attacked.
"""

import json
import secrets
from collections.abc import AsyncIterator, Mapping
from typing import Any, NamedTuple
from uuid import UUID

import httpx
import pytest
from litestar import Litestar
from litestar.routes import HTTPRoute
from litestar.testing import AsyncTestClient
from sqlalchemy import select, update

from consent.keys import FileKeyStore, Vault
from consent.store import lawful_basis
from gateway.app import create_app
from gateway.db import SqlDatabase
from gateway.demo import FORM, sample_document
from gateway.identity import persons, session_store
from gateway.identity.session_store import Content
from gateway.settings import Settings
from services import store
from services.store import service_case

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


@pytest.fixture
async def world(gateway_settings: Settings) -> AsyncIterator[World]:
    """Two applicants and an auditor, each with a session."""
    vault = Vault(FileKeyStore(gateway_settings.key_folder))
    database = SqlDatabase(gateway_settings.database_url)
    async with AsyncTestClient(create_app(gateway_settings)) as client:
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


# Every route, by who may use it. `public`: anyone. `own`: whoever has a session, for what is their own, which
# the path does not name. `owner`: the path names a thing, and it exists for its owner alone. `agency`: the
# signature of an agency. `browser`: the login itself.
AUDIENCE = {
    "GET /api/v1/session": "public",
    "GET /api/v1/services": "public",
    "GET /api/v1/services/{service_id:str}": "public",
    "POST /api/v1/services/{service_id:str}/quote": "public",
    "GET /api/v1/notices/{notice_sha256:str}": "own",  # texts, the same for everybody
    "GET /oauth/jwks": "public",
    "GET /oauth/status/{number:int}": "public",
    "GET /health/live": "public",
    "GET /health/ready": "public",
    "GET /": "public",
    "GET /cases": "public",  # a page that says nothing of anybody
    "GET /cases/{case_id:uuid}": "public",
    "GET /verify/{document:str}": "public",  # what the QR code says that one must hold to ask
    "POST /verify": "public",
    "GET /.well-known/onestop-documents.jwks": "public",
    "GET /login": "browser",
    "GET /login/callback": "browser",
    "POST /logout": "own",
    "GET /api/v1/cases": "own",
    "POST /api/v1/cases": "own",
    "GET /api/v1/consents": "own",
    "GET /api/v1/cases/{case_id:uuid}": "owner",
    "PUT /api/v1/cases/{case_id:uuid}/form": "owner",
    "POST /api/v1/cases/{case_id:uuid}/submit": "owner",
    "POST /api/v1/cases/{case_id:uuid}/pay": "owner",
    "POST /api/v1/cases/{case_id:uuid}/supplement": "owner",
    "POST /api/v1/cases/{case_id:uuid}/withdraw": "owner",
    "GET /api/v1/cases/{case_id:uuid}/timeline": "owner",
    "PUT /api/v1/cases/{case_id:uuid}/documents/{slot:str}": "owner",
    "GET /api/v1/cases/{case_id:uuid}/documents/{document_id:uuid}": "owner",
    "POST /api/v1/cases/{case_id:uuid}/notices": "owner",
    "POST /api/v1/consents/{basis_id:uuid}/grant": "owner",
    "POST /api/v1/consents/{basis_id:uuid}/refuse": "owner",
    "POST /api/v1/consents/{basis_id:uuid}/withdraw": "owner",
    "POST /agency/v1/callbacks": "agency",
    "POST /agency/v1/payments": "agency",
    "GET /agency/v1/calls/{call_id:uuid}/documents/{document_id:uuid}": "agency",
}
BODIES = {"/grant": {"notice_sha256": "0" * 64}, "/cases": {"service": "gold_card"}}


def routes_of(app: Litestar) -> set[str]:
    """Method and template of every route but the API's own description."""
    return {
        f"{method} {route.path}"
        for route in app.routes
        if isinstance(route, HTTPRoute) and not route.path.startswith("/schema")
        for method in route.methods - {"OPTIONS"}
    }


def test_every_route_says_who_may_use_it(gateway_settings: Settings) -> None:
    assert routes_of(create_app(gateway_settings)) == set(AUDIENCE)


async def filled(template: str, world: World) -> tuple[str, str, bytes | None]:
    """Method, path and body of a request that names what is ada's."""
    case = await world.ada.draft()
    case = (await world.ada.upload(case, "photo", sample_document("TEST", "png"))).json()
    basis = (await world.ada.shown(case))["basis"]["basis_id"]
    method, _, path = template.partition(" ")
    for name, value in {
        "{case_id:uuid}": case["case_id"],
        "{basis_id:uuid}": basis,
        "{document_id:uuid}": case["documents"][0]["document_id"],
        "{call_id:uuid}": case["case_id"],
        "{slot:str}": "photo",
        "{notice_sha256:str}": "0" * 64,
        "{service_id:str}": "gold_card",
        "{number:int}": "0",
    }.items():
        path = path.replace(name, value)
    if path.endswith("/photo"):
        return method, path, sample_document("TEST", "png")
    body = next((body for end, body in BODIES.items() if path.endswith(end)), {})
    return method, path, None if method == "GET" else json.dumps(body).encode()


def routes_for(*kinds: str) -> list[str]:
    return [template for template, kind in AUDIENCE.items() if kind in kinds]


async def test_what_is_anothers_does_not_exist_whatever_the_route(world: World) -> None:
    requests = [await filled(template, world) for template in routes_for("owner")]

    for method, path, body in requests:
        nowhere = path.replace(path.split("/")[4], str(UUID(int=7)))
        for person in (world.bruno, world.auditor):
            refused = await person.send(method, path, body, If_Match='"v3"')
            unknown = await person.send(method, nowhere, body, If_Match='"v3"')
            assert is_problem(refused, 404), (method, path, refused.text)
            assert without_trace(refused) == without_trace(unknown)


def without_trace(answer: httpx.Response) -> tuple[int, dict[str, Any]]:
    return answer.status_code, {key: value for key, value in answer.json().items() if key != "trace_id"}


async def test_nobody_without_a_session_is_let_in(world: World) -> None:
    requests = [await filled(template, world) for template in routes_for("owner", "own")]

    for method, path, body in requests:
        for cookie in ({}, {"Cookie": f"onestop_session={'A' * 43}"}):
            headers = {"Content-Type": JSON, **cookie}
            refused = await world.client.request(method, path, content=body, headers=headers)
            assert refused.status_code in {401, 403}, (method, path, refused.text)


async def test_session_is_no_signature(world: World) -> None:
    callback = {"call": str(UUID(int=7)), "status": "answered"}
    payment = {
        "call": str(UUID(int=7)), "order": "1", "payment": "1", "amount_ntd": 1, "means": "card",
        "paid_at": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    requests = [await filled(template, world) for template in routes_for("agency")]

    for method, path, _ in requests:
        body = callback if path.endswith("callbacks") else payment
        content = None if method == "GET" else json.dumps(body).encode()
        for person in (world.ada, world.auditor):
            assert is_problem(await person.send(method, path, content), 401), path


async def test_lists_hold_ones_own_alone_even_from_anothers_cursor(world: World) -> None:
    case = await world.ada.draft()
    basis = (await world.ada.shown(case))["basis"]["basis_id"]
    highest = "ffffffff-ffff-ffff-ffff-ffffffffffff"

    for cursor in (case["case_id"], highest):
        assert (await world.bruno.get(f"/api/v1/cases?cursor={cursor}")).json()["cases"] == []
    for cursor in (basis, str(UUID(int=0))):
        assert (await world.bruno.get(f"/api/v1/consents?cursor={cursor}")).json()["bases"] == []


async def test_idempotency_key_of_another_person_gives_nothing_of_theirs(world: World) -> None:
    body = {"service": "gold_card", "language": "en"}

    mine = await world.ada.post("/api/v1/cases", body, Idempotency_Key="guessed")
    other = await world.bruno.post("/api/v1/cases", body, Idempotency_Key="guessed")

    assert other.status_code == 201
    assert "idempotent-replay" not in other.headers
    assert other.json()["case_id"] != mine.json()["case_id"]


async def test_idempotency_key_of_one_route_is_refused_on_another(world: World) -> None:
    case = await world.ada.draft()
    await world.ada.post(f"/api/v1/cases/{case['case_id']}/notices", Idempotency_Key="one")

    refused = await world.ada.post(f"/api/v1/cases/{case['case_id']}/withdraw", Idempotency_Key="one")

    assert is_problem(refused, 422)
    assert (await world.ada.get(f"/api/v1/cases/{case['case_id']}")).json()["state"] == "draft"


def nested(levels: int) -> bytes:
    return b'{"person":' * levels + b"1" + b"}" * levels


def listed(levels: int) -> bytes:
    return b'{"person":' + b"[" * levels + b"]" * levels + b"}"


BOMBS = {
    **{f"objects-{levels}": nested(levels) for levels in (64, 300, 900, 20_000)},
    **{f"lists-{levels}": listed(levels) for levels in (64, 300, 900, 100_000)},
    "null": b"null",
    "empty": b"",
    "list": b"[]",
    "number": b"1",
    "text": b'"x"',
    "not-a-number": b'{"a":NaN}',
    "infinite": b'{"a":1e400}',
    "long-number": b'{"a":' + b"9" * 5000 + b"}",
    "lone-surrogate": b'{"a":"\\ud800"}',
    "lone-surrogate-name": b'{"\\udfff":1}',
    "nul-name": b'{"\\u0000":1}',
    "twice": b'{"a":1,"a":2}',
    "byte-order-mark": b"\xef\xbb\xbf{}",
    "utf-16": '{"a":1}'.encode("utf-16"),
    "not-utf-8": b'{"a":"\xff"}',
    "many-members": json.dumps({f"m{n}": n for n in range(15_000)}).encode(),
    "cut-off": b'{"a":',
    "two": b"{}{}",
}


async def test_json_bomb_is_refused_on_every_route_that_takes_a_body(world: World) -> None:
    case = await world.ada.draft()
    base = f"/api/v1/cases/{case['case_id']}"
    paths = [
        ("POST", "/api/v1/cases"),
        ("PUT", f"{base}/form"),
        *(("POST", f"{base}/{verb}") for verb in ("submit", "pay", "supplement", "withdraw", "notices")),
        *(("POST", f"/api/v1/consents/{case['case_id']}/{verb}") for verb in ("grant", "refuse", "withdraw")),
        ("POST", "/api/v1/services/gold_card/quote"),
        ("POST", "/agency/v1/callbacks"),
        ("POST", "/agency/v1/payments"),
    ]

    answers = {
        (name, path): await world.ada.send(method, path, bomb, If_Match=f'"v{case["version"]}"')
        for name, bomb in BOMBS.items()
        for method, path in paths
    }

    assert [key for key, answer in answers.items() if not 400 <= answer.status_code < 500] == []
    assert [key for key, answer in answers.items() if answer.headers["content-type"] != PROBLEM] == []
    assert (await world.ada.get(base)).json() == case


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "application/x-www-form-urlencoded",
        "application/x-msgpack",
        "application/json; charset=utf-16",
        "application/json; charset=nonsense",
        "garbage;;;=",
    ],
)
async def test_body_of_another_type_is_read_as_json_or_refused(world: World, content_type: str) -> None:
    for path in ("/api/v1/cases", "/api/v1/services/gold_card/quote", "/agency/v1/callbacks"):
        answer = await world.ada.send("POST", path, b'{"service":"gold_card"}', Content_Type=content_type)
        assert answer.status_code < 500, (path, answer.text)


TAGS = [
    '"v²"'.encode("latin-1"), '"v١"'.encode(), b'"v-1"', b"*", b'W/"v3"', b'"v1", "v3"', b'"v99999999999"',
    b'"vv3"', b'""',
]  # fmt: skip


async def test_entity_tag_that_is_none_of_ours_is_no_condition(world: World) -> None:
    path = f"/api/v1/cases/{(await world.ada.draft())['case_id']}/form"

    answers = {tag: await world.ada.send("PUT", path, b"{}", If_Match=tag) for tag in TAGS}

    assert [tag for tag, answer in answers.items() if not is_problem(answer, 428)] == []


async def test_place_in_the_timeline_that_no_history_has_is_refused(world: World) -> None:
    path = f"/api/v1/cases/{(await world.ada.draft())['case_id']}/timeline"

    for after in ("-1", "2147483648", "9223372036854775808", "9" * 400, "x", ""):
        assert is_problem(await world.ada.get(f"{path}?after={after}"), 422), after


async def test_quote_for_a_day_beyond_all_rules_is_refused(world: World) -> None:
    facts = {"category": "foreign_national", "nationality": "GBR", "stay": "arc", "validity_years": 3}

    for day in ("0000-01-01", "0001-01-01", "1900-01-01", "2100-12-01", "2101-01-01", "9999-12-31"):
        refused = await world.client.post(
            "/api/v1/services/gold_card/quote", json={**facts, "legal_date": day}
        )
        assert refused.status_code in {409, 422}, (day, refused.text)


# Values that the form's JSON Schema lets through and its types do not, and others at the edge of both.
POISON: list[tuple[str, str, object]] = [
    ("person", "date_of_birth", "0000-01-01"),
    ("person", "date_of_birth", "0001-01-01"),
    ("person", "date_of_birth", "9999-12-31"),
    ("passport", "expires_on", "0000-12-31"),
    ("passport", "expires_on", "9999-12-31"),
    ("card", "validity_years", 3.0),
    ("qualification", "monthly_salary_ntd", 160000.0),
    ("qualification", "monthly_salary_ntd", 10**30),
    ("contact", "address_taiwan", "\U0001f600" * 300),
    ("person", "chinese_name", "#eval(\u202e"),
    ("person", "surname", "A\u0000B"),
]


async def test_poisoned_draft_is_shown_with_its_problem_and_can_be_mended(world: World) -> None:
    """The form needs no fetch here, so that it is complete but for the poison."""
    arc = {"number": "A900000016", "expires_on": "2031-01-01", "address": "1 Example Road"}
    whole = {**FORM, "stay": {**FORM["stay"], "residence_record": "uploaded"}, "arc": arc}
    case = await world.ada.draft(whole)
    path = f"/api/v1/cases/{case['case_id']}"

    for part, member, value in POISON:
        saved = await world.ada.save(case, {**whole, part: {**whole[part], member: value}})
        assert saved.status_code == 200, (member, value, saved.text)
        case = saved.json()
        assert (await world.ada.get(path)).json() == case
        assert (await world.ada.get("/api/v1/cases")).status_code == 200
        filed = await world.ada.send("POST", f"{path}/submit", b"{}", If_Match=f'"v{case["version"]}"')
        assert is_problem(filed, 422), (member, value)
    assert (await world.ada.save(case, whole)).status_code == 200


async def test_value_that_only_the_types_refuse_is_pointed_at(world: World) -> None:
    arc = {"number": "A900000016", "expires_on": "2031-01-01", "address": "1 Example Road"}
    whole = {**FORM, "stay": {**FORM["stay"], "residence_record": "uploaded"}, "arc": arc}

    case = await world.ada.draft({**whole, "card": {**whole["card"], "validity_years": 3.0}})

    assert [found["pointer"] for found in case["problems"]] == ["/card/validity_years"]


@pytest.mark.parametrize("day", ["0000-01-01", "not a day"])
async def test_consent_over_a_form_whose_dates_are_none_is_refused(world: World, day: str) -> None:
    case = await world.ada.draft({**FORM, "person": {**FORM["person"], "date_of_birth": day}})
    shown = await world.ada.shown(case)

    refused = await world.ada.post(
        f"/api/v1/consents/{shown['basis']['basis_id']}/grant", {"notice_sha256": shown["notice_sha256"]}
    )

    assert is_problem(refused, 409)


RANGES = [
    "bytes=-1", "bytes=5-3", "bytes=0-1,3-4", "bytes=999999-", "bytes=99999999999999999999-", "lines=1-2",
    "bytes=0x0-1", "bytes=٠-١",
]  # fmt: skip


async def test_range_that_is_no_range_gets_the_whole_document(world: World) -> None:
    content = sample_document("TEST", "png")
    case = (await world.ada.upload(await world.ada.draft(), "photo", content)).json()

    for wanted in RANGES:
        answer = await world.ada.send("GET", case["documents"][0]["href"], Range=wanted)
        assert (answer.status_code, answer.content) == (200, content), wanted
        assert "content-range" not in answer.headers
        assert answer.headers["content-disposition"].startswith('attachment; filename="photo-')


SLOTS = ["..%2f..%2fetc", "%00", "photo%00", "%E2%80%AEphoto", "PHOTO", "photo%20", "photo:1", "outcome"]


async def test_slot_that_is_a_trick_is_not_found(world: World) -> None:
    case = await world.ada.draft()

    for slot in SLOTS:
        assert is_problem(await world.ada.upload(case, slot, sample_document("TEST", "png")), 404), slot


AMBIGUOUS = [
    b"\xff\xd8\xff\xe0\x00\x10JFIF%PDF-1.7", b"", b"\x00", b"GIF89a", b"<svg/>", b"PK\x03\x04" + bytes(99),
]  # fmt: skip


async def test_upload_that_may_be_two_things_or_nothing_is_refused(world: World) -> None:
    case = await world.ada.draft()

    for content in AMBIGUOUS:
        assert is_problem(await world.ada.upload(case, "photo", content), 415), content


async def test_case_row_put_in_the_place_of_another_does_not_open(world: World) -> None:
    mine, theirs = await world.ada.draft(), await world.bruno.draft()
    case, other = UUID(mine["case_id"]), UUID(theirs["case_id"])
    async with world.database.write() as conn:
        sealed = await conn.execute(select(service_case.c.sealed).where(service_case.c.case_id == other))
        await conn.execute(
            update(service_case).where(service_case.c.case_id == case).values(sealed=sealed.scalar_one())
        )

    seen = await world.ada.get(f"/api/v1/cases/{case}")

    assert is_problem(seen, 410)
    assert "TEST" not in seen.text


async def test_case_row_with_another_applicant_written_over_it_stays_its_owners(world: World) -> None:
    mine, theirs = await world.ada.draft(), await world.bruno.draft()
    async with world.database.write() as conn:
        bruno = select(service_case.c.applicant).where(service_case.c.case_id == UUID(theirs["case_id"]))
        await conn.execute(
            update(service_case)
            .where(service_case.c.case_id == UUID(mine["case_id"]))
            .values(applicant=(await conn.execute(bruno)).scalar_one())
        )

    assert is_problem(await world.bruno.get(f"/api/v1/cases/{mine['case_id']}"), 404)
    listed = (await world.bruno.get("/api/v1/cases")).json()["cases"]
    assert mine["case_id"] not in {case["case_id"] for case in listed}


async def test_basis_whose_state_was_written_over_is_as_its_record_says(world: World) -> None:
    shown = await world.ada.shown(await world.ada.draft())
    basis_id = UUID(shown["basis"]["basis_id"])
    async with world.database.write() as conn:
        await conn.execute(
            update(lawful_basis).where(lawful_basis.c.basis_id == basis_id).values(state="granted")
        )

    [seen] = (await world.ada.get("/api/v1/consents")).json()["bases"]

    assert seen["state"] == "shown"
