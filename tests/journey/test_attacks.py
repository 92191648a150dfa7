"""Attacks on a whole installation: agencies, applicants and whoever listens on the wire turn hostile."""

import asyncio
import datetime as dt
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import select, update

from adapters.contract import CALLBACK_COMPONENTS, DOCUMENT_COMPONENTS, SIGNED_COMPONENTS
from adapters.signatures import sign
from consent.keys import FileKeyStore
from consent.model import Authority
from consent.store import lawful_basis
from consent.token import TokenMinter
from gateway.applicant import Applicant
from gateway.db import SqlDatabase
from gateway.demo import FORM
from services.store import agency_call
from tests.journey import steps
from tests.journey.world import World

# Another person's, as the sandbox register of residence knows it.
ANOTHERS = {
    "passport__number": "L00000019",
    "passport__nationality": "DEU",
    "person__date_of_birth": "1979-11-03",
}
UPLOADED_ARC = {"number": "A900000016", "expires_on": "2031-01-01", "address": "1 Example Road"}


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


async def grant(person: Applicant, shown: dict[str, Any]) -> httpx.Response:
    path = f"/api/v1/consents/{shown['basis']['basis_id']}/grant"
    return await person.post(path, {"notice_sha256": shown["notice_sha256"]})


# A consent is the person's own, for the case it was shown in, while that is being filled in.


async def test_nobody_fetches_the_record_of_another_person(world: World, ada: Applicant) -> None:
    for stolen in (ANOTHERS, {"passport__number": "L00000019"}, {"person__date_of_birth": "1979-11-03"}):
        case = await steps.draft(ada, **stolen)
        [shown] = (await ada.notices(case))["consents"]

        refused = await grant(ada, shown)

        assert refused.status_code == 409
        case = await ada.case(case)
        assert (case["fetched"], case["agency_calls"]) == ({}, 0)


async def test_person_without_a_passport_fetches_nobodys_record(world: World) -> None:
    async with world.applicant() as auditor:
        await auditor.log_in("auditor")
        case = await steps.draft(auditor)
        [shown] = (await auditor.notices(case))["consents"]

        assert (await grant(auditor, shown)).status_code == 409


async def test_consent_shown_before_a_case_was_withdrawn_cannot_be_granted_after(ada: Applicant) -> None:
    case = await steps.draft(ada)
    [shown] = (await ada.notices(case))["consents"]
    await ada.act(case, "withdraw")

    refused = await grant(ada, shown)

    assert refused.status_code == 409
    assert (await ada.case(case))["agency_calls"] == 0
    assert (await ada.notices(case))["consents"] == []


async def test_consent_shown_before_filing_cannot_be_granted_after(ada: Applicant) -> None:
    case = await steps.consented(ada)
    [shown] = (await ada.notices(case))["consents"]  # a second one: the first is used
    case = await ada.act(await steps.uploaded(ada, case), "submit")

    refused = await grant(ada, shown)

    assert refused.status_code == 409
    assert (await ada.notices(case))["consents"] == []
    assert await call_count(ada, case, "call_planned") == 2  # the fetch before filing, and the payment order


async def call_count(person: Applicant, case: dict[str, Any], kind: str) -> int:
    return (await types_of(person, case)).count(kind)


async def test_answer_that_comes_after_the_case_was_withdrawn_is_withheld(
    world: World, ada: Applicant
) -> None:
    await world.fault(agency="nia", operation="residence", kind="timeout_after_effect", delay_seconds=2)
    case = await steps.draft(ada)
    [shown] = (await ada.notices(case))["consents"]
    await ada.grant(shown)

    await ada.act(await ada.case(case), "withdraw")

    case = await ada.wait_for(case, {"open_calls": 0}, seconds=30)
    assert case["fetched"] == {}
    assert "call_answered" not in await types_of(ada, case)
    held = (await ada.get("/api/v1/consents")).json()["bases"]
    [basis] = [basis for basis in held if basis["basis_id"] == shown["basis"]["basis_id"]]
    assert basis["state"] == "expired"


async def test_consent_of_one_case_serves_no_other(ada: Applicant) -> None:
    await steps.consented(ada)
    other = await steps.uploaded(ada, await steps.draft(ada))

    refused = await ada.post(f"/api/v1/cases/{other['case_id']}/submit", If_Match=f'"v{other["version"]}"')

    assert refused.status_code == 422
    assert "not_fetched" in refused.text


async def test_notice_of_one_language_is_not_agreed_to_by_the_hash_of_another(ada: Applicant) -> None:
    english, chinese = await steps.draft(ada), await ada.open_case("gold_card", "zh-TW")
    chinese = await ada.save_form(chinese, steps.form())
    [shown] = (await ada.notices(english))["consents"]
    [other] = (await ada.notices(chinese))["consents"]
    assert shown["notice_sha256"] != other["notice_sha256"]

    refused = await grant(ada, {**shown, "notice_sha256": other["notice_sha256"]})

    assert refused.status_code == 409


# Agencies speak for themselves alone.


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


# Races: one of them wins, and nothing stands between two states.


async def test_of_many_filings_at_once_one_counts(ada: Applicant) -> None:
    case = await steps.uploaded(ada, await steps.consented(ada))
    path = f"/api/v1/cases/{case['case_id']}/submit"
    tag = f'"v{case["version"]}"'

    answers = await asyncio.gather(*(ada.post(path, If_Match=tag) for _ in range(8)))

    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 7
    types = await types_of(ada, case)
    assert (types.count("submitted"), types.count("fee_ordered")) == (1, 1)


async def test_filing_and_withdrawing_at_once_end_in_one_whole_state(ada: Applicant) -> None:
    case = await steps.uploaded(ada, await steps.consented(ada))
    path, tag = f"/api/v1/cases/{case['case_id']}", f'"v{case["version"]}"'

    filed, withdrawn, saved = await asyncio.gather(
        ada.post(f"{path}/submit", If_Match=tag),
        ada.post(f"{path}/withdraw"),
        ada.put(f"{path}/form", case["version"], json=FORM),
    )

    assert {answer.status_code for answer in (filed, withdrawn, saved)} <= {200, 409, 412}
    case = await ada.wait_for(case, {"open_calls": 0})
    types = await types_of(ada, case)
    assert withdrawn.status_code == 200
    assert case["state"] == "withdrawn"
    assert types.count("submitted") == (filed.status_code == 200)
    assert types.count("decided") == 1


async def test_granting_and_withdrawing_a_consent_at_once_leaves_no_half_state(
    world: World, ada: Applicant
) -> None:
    for _ in range(4):
        case = await steps.draft(ada)
        [shown] = (await ada.notices(case))["consents"]
        base = f"/api/v1/consents/{shown['basis']['basis_id']}"

        answers = await asyncio.gather(
            *(grant(ada, shown) for _ in range(3)),
            *(ada.post(f"{base}/{verb}") for verb in ("withdraw", "refuse", "withdraw")),
        )

        assert {answer.status_code for answer in answers} <= {200, 409}
        assert [answer.status_code for answer in answers[:3]].count(200) <= 1
        case = await ada.wait_for(case, {"open_calls": 0})
        states = [basis for basis in await bases_of(world, case) if basis["current"]]
        assert len(states) == 1
        if states[0]["state"] in {"withdrawn", "refused"}:
            assert case["fetched"] == {} or answers[0].status_code == 200
        assert await call_count(ada, case, "call_planned") <= 1


async def bases_of(world: World, case: dict[str, Any]) -> list[dict[str, Any]]:
    database = SqlDatabase(world.database_url)
    query = select(lawful_basis.c.state, lawful_basis.c.current).where(
        lawful_basis.c.case_id == UUID(case["case_id"])
    )
    try:
        async with database.read() as conn:
            return [dict(row._mapping) for row in (await conn.execute(query)).all()]
    finally:
        await database.aclose()


async def test_paying_and_withdrawing_at_once_keeps_the_payment_and_one_outcome(
    world: World, ada: Applicant
) -> None:
    case = await steps.filed(ada)
    path = f"/api/v1/cases/{case['case_id']}/withdraw"

    await asyncio.gather(ada.pay(case), ada.post(path))

    case = await ada.wait_for(
        case, {"state": "withdrawn", "open_calls": 0, "fee": lambda fee: fee["paid"]}, seconds=30
    )
    types = await types_of(ada, case)
    assert (types.count("decided"), types.count("fee_paid")) == (1, 1)


async def test_withdrawn_consent_does_not_live_again_when_its_older_revision_is_put_back(
    world: World, ada: Applicant
) -> None:
    await world.fault(agency="nia", operation="residence", kind="timeout_after_effect", delay_seconds=3)
    case = await steps.draft(ada)
    [shown] = (await ada.notices(case))["consents"]
    await ada.grant(shown)
    basis_id = UUID(shown["basis"]["basis_id"])
    withdrawn = await ada.post(f"/api/v1/consents/{basis_id}/withdraw")
    assert withdrawn.json()["state"] == "withdrawn"

    database = SqlDatabase(world.database_url)
    async with database.write() as conn:
        for state, current in (("withdrawn", 0), ("granted", 1)):
            of_state = (lawful_basis.c.basis_id == basis_id) & (lawful_basis.c.state == state)
            await conn.execute(update(lawful_basis).where(of_state).values(current=current))
    await database.aclose()

    held = (await ada.get("/api/v1/consents")).json()["bases"]
    assert [basis["state"] for basis in held if basis["basis_id"] == str(basis_id)] == ["revoked"]
    case = await ada.wait_for(case, {"open_calls": 0}, seconds=30)
    assert case["fetched"] == {}


# What is kept and what is written down.


async def test_nothing_personal_stands_in_logs_or_in_clear_in_the_database(
    world: World, ada: Applicant, agencies: Agencies
) -> None:
    case = await steps.paid(ada)
    await ada.wait_for(case, {"state": "approved", "open_calls": 0}, seconds=30)
    known = [
        FORM["passport"]["number"], FORM["contact"]["email"], FORM["contact"]["phone"],
        FORM["contact"]["address_taiwan"], "A900000016", "臺北市中正區範例路",
    ]  # fmt: skip

    written = "".join(
        world.output(path.stem) for path in world.folder.glob("*.log") if path.stem != "sandbox"
    )
    stored = b"".join(path.read_bytes() for path in world.folder.glob("*.sqlite*"))

    assert [value for value in known if value in written] == []
    assert [value for value in known if value.encode() in stored] == []
    assert "Traceback" not in written


async def test_no_attack_so_far_was_an_error_of_ours(world: World) -> None:
    """Last in this file: what the processes wrote while all of the above was done to them."""
    lines = [json.loads(line) for name in world.working for line in world.output(name).splitlines()]

    assert [line for line in lines if line.get("status") == 500] == []
