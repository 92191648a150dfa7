"""Attacks by agencies on a whole installation: with true keys, but out of turn, for others, or strangely."""

import asyncio
import datetime as dt
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import select

from adapters.contract import CALLBACK_COMPONENTS, DOCUMENT_COMPONENTS, SIGNED_COMPONENTS
from adapters.signatures import sign
from consent.keys import FileKeyStore
from consent.model import Authority
from consent.token import TokenMinter
from gateway.applicant import Applicant
from gateway.db import SqlDatabase
from services.store import agency_call
from tests.journey import steps
from tests.journey.world import World


class Agencies:
    """The agencies of an installation, each with its true key, saying whatever they like."""

    def __init__(self, world: World, http: httpx.AsyncClient) -> None:
        self._world = world
        self._keys = FileKeyStore(world.folder / "sandbox" / "keys")
        self._http = http

    async def post(
        self, agency: str, path: str, body: object, *, age_seconds: float = 0, **headers: str
    ) -> httpx.Response:
        """A message that the agency signed so many seconds ago."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self._http.post(
            path, content=content, headers=self.signed(agency, "POST", path, content, age_seconds) | headers
        )

    async def call_back(self, agency: str, call: UUID, data: object, **more: Any) -> httpx.Response:
        body = {"call": str(call), "status": "answered", "data": data}
        return await self.post(agency, "/agency/v1/callbacks", body, **more)

    async def read(self, agency: str, path: str) -> httpx.Response:
        return await self._http.get(path, headers=self.signed(agency, "GET", path, b"", 0))

    def signed(
        self, agency: str, method: str, path: str, content: bytes, age_seconds: float
    ) -> dict[str, str]:
        headers = {"Content-Type": "application/json"}
        return headers | sign(
            method=method,
            url=f"{self._world.url}{path}",
            headers=headers,
            body=content,
            key=self._keys.signing_key(f"agency-{agency.replace(':', '-')}"),
            components=CALLBACK_COMPONENTS if method == "POST" else DOCUMENT_COMPONENTS,
            now=dt.datetime.now(dt.UTC) - dt.timedelta(seconds=age_seconds),
        )


@pytest.fixture
async def agencies(world: World) -> AsyncIterator[Agencies]:
    async with httpx.AsyncClient(base_url=world.url, trust_env=False, timeout=20) as http:
        yield Agencies(world, http)


async def call_of(world: World, case: dict[str, Any], operation: str) -> UUID:
    """The newest call of this operation in a case, from the database itself."""
    database = SqlDatabase(world.database_url)
    query = (
        select(agency_call.c.call_id)
        .where(agency_call.c.case_id == UUID(case["case_id"]), agency_call.c.operation == operation)
        .order_by(agency_call.c.call_id.desc())
    )
    try:
        async with database.read() as conn:
            return UUID(str((await conn.execute(query)).scalars().first()))
    finally:
        await database.aclose()


async def types_of(person: Applicant, case: dict[str, Any]) -> list[str]:
    entries = (await person.get(f"/api/v1/cases/{case['case_id']}/timeline")).json()["entries"]
    return [entry["type"] for entry in entries]


async def test_agency_answers_its_own_calls_alone(world: World, ada: Applicant, agencies: Agencies) -> None:
    await world.fault(agency="nia", operation="information_check", kind="delay", delay_seconds=3)
    case = await steps.paid(ada)
    call = await call_of(world, case, "information_check")
    passed = {"decision": {"outcome": "passed"}}

    for agency in ("wda", "boca", "epay", "notify", "field_authority:moc"):
        refused = await agencies.call_back(agency, call, passed)
        assert refused.status_code == 404, agency
    unknown = await agencies.call_back("wda", uuid4(), passed)

    assert unknown.status_code == 404
    assert {**unknown.json(), "trace_id": ""} == {**refused.json(), "trace_id": ""}
    case = await ada.wait_for(case, {"state": "approved", "open_calls": 0}, seconds=30)
    types = await types_of(ada, case)
    assert types.count("call_answered") == types.count("call_planned")


async def test_only_the_payment_service_says_that_a_fee_was_paid(
    world: World, ada: Applicant, agencies: Agencies
) -> None:
    case = await steps.filed(ada)
    order, residence = await call_of(world, case, "order"), await call_of(world, case, "residence")
    notice = {
        "call": str(order), "order": "1", "payment": f"forged-{uuid4()}", "means": "card",
        "amount_ntd": case["fee"]["amount_ntd"], "paid_at": "2026-01-01T00:00:00Z",
    }  # fmt: skip

    for agency in ("nia", "wda", "notify"):
        assert (await agencies.post(agency, "/agency/v1/payments", notice)).status_code == 404
    other = await agencies.post("epay", "/agency/v1/payments", {**notice, "call": str(residence)})
    assert other.status_code == 404
    assert not (await ada.case(case))["fee"]["paid"]


async def test_payment_notice_out_of_all_bounds_is_refused(
    world: World, ada: Applicant, agencies: Agencies
) -> None:
    case = await steps.filed(ada)
    notice = {
        "call": str(await call_of(world, case, "order")), "order": "1", "payment": "p", "means": "card",
        "amount_ntd": case["fee"]["amount_ntd"], "paid_at": "2026-01-01T00:00:00Z",
    }  # fmt: skip

    for wrong in (
        {"amount_ntd": 0}, {"amount_ntd": -3500}, {"amount_ntd": 2**31}, {"amount_ntd": 2**70},
        {"payment": ""}, {"payment": "a\u0000b"}, {"payment": "9" * 81}, {"payment": "line\nbreak"},
        {"paid_at": "2026-01-01T00:00:00"}, {"paid_at": "never"}, {"means": "x" * 81},
    ):  # fmt: skip
        refused = await agencies.post("epay", "/agency/v1/payments", {**notice, **wrong})
        assert refused.status_code == 422, (wrong, refused.text)
    assert (await ada.case(case))["fee"] == case["fee"]


async def test_document_is_read_by_the_agency_it_was_sent_to_alone(
    world: World, ada: Applicant, agencies: Agencies
) -> None:
    await world.fault(agency="nia", operation="information_check", kind="delay", delay_seconds=3)
    case = await steps.paid(ada)
    call = await call_of(world, case, "information_check")
    passport, photo = (
        next(document for document in case["documents"] if document["slot"] == slot)["document_id"]
        for slot in ("passport", "photo")
    )
    path = f"/agency/v1/calls/{call}/documents/{passport}"

    for agency in ("wda", "boca", "epay", "field_authority:moc"):
        assert (await agencies.read(agency, path)).status_code == 404, agency
    own = await agencies.read("nia", path)
    assert own.status_code == 200
    assert own.headers["content-type"] == "application/octet-stream"
    for document in (uuid4(), case["case_id"], call):
        refused = await agencies.read("nia", f"/agency/v1/calls/{call}/documents/{document}")
        assert refused.status_code == 404
    residence = await call_of(world, case, "residence")
    for ended in (residence, uuid4()):
        assert (await agencies.read("nia", f"/agency/v1/calls/{ended}/documents/{photo}")).status_code == 404

    await ada.act(case, "withdraw")
    assert (await agencies.read("nia", path)).status_code in {403, 404}


async def test_answer_is_taken_once_and_another_one_later_is_refused(
    world: World, ada: Applicant, agencies: Agencies
) -> None:
    await world.fault(agency="nia", operation="information_check", kind="lost_callback")
    case = await steps.paid(ada)
    call = await call_of(world, case, "information_check")
    passed = {"decision": {"outcome": "passed"}}

    answers = await asyncio.gather(*(agencies.call_back("nia", call, passed) for _ in range(8)))
    other = await agencies.call_back("nia", call, {"decision": {"outcome": "refused"}})

    assert {answer.status_code for answer in answers} == {200}
    assert sum(answer.json()["new"] for answer in answers) <= 1
    assert other.status_code == 409
    case = await ada.wait_for(case, {"state": "approved"}, seconds=30)


async def test_captured_message_is_worth_nothing_later_or_changed(
    world: World, ada: Applicant, agencies: Agencies
) -> None:
    case = await steps.filed(ada)
    order = await call_of(world, case, "order")
    body = {"call": str(order), "status": "answered", "data": {}}

    old = await agencies.post("epay", "/agency/v1/callbacks", body, age_seconds=3600)
    early = await agencies.post("epay", "/agency/v1/callbacks", body, age_seconds=-3600)
    content = json.dumps(body).encode()
    headers = agencies.signed("epay", "POST", "/agency/v1/callbacks", content, 0)
    async with httpx.AsyncClient(base_url=world.url, trust_env=False) as http:
        changed = await http.post("/agency/v1/callbacks", content=content + b" ", headers=headers)
        moved = await http.post("/agency/v1/payments", content=content, headers=headers)
        twice = await http.post(
            "/agency/v1/callbacks",
            content=content,
            headers=[*headers.items(), ("Content-Digest", headers["Content-Digest"])],
        )

    assert [answer.status_code for answer in (old, early, changed, twice)] == [401] * 4
    assert moved.status_code in {401, 422}


STRANGE: dict[str, dict[str, Any]] = {
    "markup": {"reference": "<script>alert(1)</script>"},
    "line breaks": {"reference": '1\r\n{"level":"info","event":"forged"}\u2028\u202e'},
    "surplus": {"reference": "1", **{f"extra\n{n}": n for n in range(3_000)}},
    "nul": {"reference": "a\u0000b"},
}


@pytest.mark.parametrize("strange", STRANGE)
async def test_strange_answer_is_kept_as_data_and_forges_no_log_line(
    world: World, ada: Applicant, agencies: Agencies, strange: str
) -> None:
    await world.fault(agency="nia", operation="supplement_notice", kind="delay", delay_seconds=4)
    case = await steps.paid(ada, certificate=False)
    await ada.wait_for(case, {"supplements": 1})
    call = await call_of(world, case, "supplement_notice")

    taken = await agencies.call_back("nia", call, STRANGE[strange])

    assert taken.status_code == 200, taken.text
    case = await ada.wait_for(case, {"state": "waiting_for_applicant"})
    seen = await ada.get(f"/api/v1/cases/{case['case_id']}")
    assert seen.headers["content-type"].startswith("application/json")
    assert seen.headers["x-content-type-options"] == "nosniff"
    assert case["supplement"]["reference"] == STRANGE[strange]["reference"]
    for line in world.output("serve").splitlines():
        assert json.loads(line).get("event") != "forged"


@pytest.mark.parametrize(
    "page",
    [
        "javascript:alert(1)",
        "data:text/html,x",
        "//evil.example",
        "http://a b",
        "https://x\r\nSet-Cookie: a=b",
    ],
)
async def test_browser_is_sent_to_pay_at_a_web_address_alone(
    world: World, ada: Applicant, agencies: Agencies, page: str
) -> None:
    await world.fault(agency="epay", operation="order", kind="timeout_after_effect", delay_seconds=30)
    case = await ada.act(await steps.uploaded(ada, await steps.consented(ada)), "submit")
    order = await call_of(world, case, "order")

    await agencies.call_back("epay", order, {"order": "1", "pay_url": page})

    assert page not in (await ada.get(f"/api/v1/cases/{case['case_id']}")).text
    asked = await ada.post(f"/api/v1/cases/{case['case_id']}/pay")
    assert asked.status_code == 409


async def test_captured_token_and_proof_are_refused_a_second_time_and_elsewhere(
    world: World, ada: Applicant
) -> None:
    case = await steps.consented(ada)
    call = await call_of(world, case, "residence")
    keys = FileKeyStore(world.folder / "keys")
    minter = TokenMinter(world.url, keys, lambda n: f"{world.url}/oauth/status/{n}")
    now = dt.datetime.now(dt.UTC)
    url = f"{world.sandbox_url}/nia/operations/residence/{call}"
    authority = Authority(
        call_id=call, case_reference="", agency="nia", resource="nia.residence", ground="status query"
    )
    token = minter.agency_token(authority, audience=f"{world.sandbox_url}/nia", actions=("status",), now=now)
    headers = {
        "Authorization": f"DPoP {token}",
        "DPoP": minter.proof(method="GET", url=url, token=token, now=now),
        "Idempotency-Key": str(call),
    }

    def signed(address: str) -> dict[str, str]:
        return headers | sign(
            method="GET", url=address, headers=headers, body=b"", key=keys.signing_key("http-signature"),
            components=SIGNED_COMPONENTS, now=now,
        )  # fmt: skip

    other_operation = url.replace("/residence/", "/final_review/")
    other_agency = url.replace("/nia/", "/wda/").replace("/residence/", "/qualification_review/")
    async with httpx.AsyncClient(trust_env=False) as http:
        first = await http.get(url, headers=signed(url))
        again = await http.get(url, headers=signed(url))
        operation = await http.get(other_operation, headers=signed(other_operation))
        agency = await http.get(other_agency, headers=signed(other_agency))

    assert first.status_code == 200, first.text
    assert [answer.status_code for answer in (again, operation, agency)] == [401, 401, 401]


async def test_no_attack_so_far_was_an_error_of_ours(world: World) -> None:
    """Last in this file: what the processes wrote while all of the above was done to them."""
    lines = [json.loads(line) for name in world.working for line in world.output(name).splitlines()]

    assert [line for line in lines if line.get("status") == 500] == []
