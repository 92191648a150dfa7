"""Attacks over HTTP on every route: nobody gets at what is another's."""

import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import httpx
import pytest
from litestar import Litestar
from litestar.routes import HTTPRoute

from gateway.app import create_app
from gateway.demo import sample_document
from gateway.settings import Settings
from tests.gateway.people import JSON, World, is_problem, opened


@pytest.fixture
async def world(gateway_settings: Settings) -> AsyncIterator[World]:
    """Ada, Bruno and an auditor at a gateway."""
    async with opened(gateway_settings) as world:
        yield world


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
