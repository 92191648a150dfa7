"""Attacks on a whole installation by its applicants and over the wire; those by agencies stand beside it."""

import asyncio
import json
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import select, update

from consent.store import lawful_basis
from gateway.applicant import Applicant
from gateway.db import SqlDatabase
from gateway.demo import FORM
from tests.journey import steps
from tests.journey.world import World

# Another person's, as the sandbox register of residence knows it.
ANOTHERS = {
    "passport__number": "L00000019",
    "passport__nationality": "DEU",
    "person__date_of_birth": "1979-11-03",
}
UPLOADED_ARC = {"number": "A900000016", "expires_on": "2031-01-01", "address": "1 Example Road"}


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


# What comes over the wire and is no request.

CHUNKED = b"POST /agency/v1/callbacks HTTP/1.1\r\n%bTransfer-Encoding: chunked\r\n\r\n"
PHOTO = b"PUT /api/v1/cases/01a20560-3f20-7873-8cd4-93e3352fcb20/documents/photo HTTP/1.1\r\n%b"
LOGOUT = b"POST /logout HTTP/1.1\r\n%b"
PIECES = {
    "chunk of negative size": CHUNKED + b"-2\r\n{}\r\n",
    "chunk beyond all size": CHUNKED + b"ffffffffffffffffff\r\n",
    "body cut off": b"POST /agency/v1/callbacks HTTP/1.1\r\n%bContent-Length: 100\r\n\r\n{",
    "upload cut off": PHOTO + b"Cookie: onestop_session=a\r\nContent-Length: 99999999\r\n\r\nx",
    "two lengths": LOGOUT + b"Content-Length: 0\r\nContent-Length: 5\r\n\r\nGET /",
    "length and chunks": LOGOUT + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "another's name": b"GET /login HTTP/1.1\r\n%bHost: evil.example\r\n\r\n",
    "bytes in the target": b"GET /\xff HTTP/1.1\r\n%b\r\n",
}


@pytest.mark.parametrize("piece", PIECES)
async def test_piece_of_a_request_gets_a_refusal_or_nothing(world: World, piece: str) -> None:
    address = world.url.removeprefix("http://")
    host, _, port = address.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(PIECES[piece] % f"Host: {address}\r\n".encode())
    writer.write_eof()

    async with asyncio.timeout(20):
        answer = await reader.read()
    writer.close()

    assert answer == b"" or answer.startswith(b"HTTP/1.1 4"), answer[:200]
    assert answer.count(b"HTTP/1.1 ") <= 1


# What is kept and what is written down.


async def test_nothing_personal_stands_in_logs_or_in_clear_in_the_database(
    world: World, ada: Applicant
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
