"""One application from login to the notice of its result, and what can be said of it afterwards."""

import asyncio
import base64
import hashlib
import io
import sqlite3
from pathlib import Path

import httpx
import pypdf
import pytest
from rich.console import Console
from sqlalchemy import update

from consent import store as consent_store
from gateway import demo
from gateway.db import SqlDatabase
from tests.journey import steps
from tests.journey.world import World


async def test_application_in_taiwan_ends_with_four_permits_in_one_decision(own_world: World) -> None:
    report = demo.Report(Console(quiet=True))
    async with own_world.applicant() as ada:
        case = await demo.gold_card_in_taiwan(ada, report, own_world.sandbox_url)
        [notice] = case["outcome"]
        pdf = await ada.get(notice["href"])
        part = await ada.get(notice["href"], Range="bytes=0-4")
        timeline = (await ada.get(f"/api/v1/cases/{case['case_id']}/timeline")).json()

    assert [check["name"] for check in report.checks if not check["ok"]] == []
    permits = {name: permit["status"] for name, permit in case["decision"]["permits"].items()}
    assert permits == {
        "work_permit": "granted",
        "resident_visa": "exempt",
        "alien_resident_certificate": "granted",
        "re_entry_permit": "granted",
    }
    text = pypdf.PdfReader(io.BytesIO(pdf.content)).pages[0].extract_text()
    assert case["case_number"] in text
    assert "核准" in text
    assert (part.status_code, part.content) == (206, b"%PDF-")
    labels = [entry["label"] for entry in timeline["entries"] if entry["type"] == "state_changed"]
    assert labels[-1] == "Approved"
    assert "Review by the Workforce Development Agency" in labels
    assert steps.twice(await own_world.effects()) == []
    await _audit_finds_a_changed_byte(own_world)


async def _audit_finds_a_changed_byte(world: World) -> None:
    sound = await asyncio.to_thread(world.command, "audit", "verify")
    assert sound.returncode == 0, sound.stderr
    await _change_one_byte(world, idx=7)

    spoilt = await asyncio.to_thread(world.command, "audit", "verify")

    assert spoilt.returncode != 0
    assert "index 7" in spoilt.stderr


async def _change_one_byte(world: World, idx: int) -> None:
    database = SqlDatabase(world.database_url)
    entry = consent_store.log_entry
    async with database.write() as conn:
        leaf = (await conn.execute(entry.select().where(entry.c.idx == idx))).one().leaf
        spoilt = leaf.replace(b'"hour":"20', b'"hour":"21', 1)
        assert spoilt != leaf
        await conn.execute(update(entry).where(entry.c.idx == idx).values(leaf=spoilt))
    await database.aclose()


async def test_database_files_hold_no_personal_value_in_clear(world: World) -> None:
    if not world.on_sqlite:
        pytest.skip("the files of PostgreSQL belong to its own user; what is stored is the same")
    async with world.applicant() as ada:
        await ada.log_in("ada")
        case = await steps.paid(ada)
        await ada.wait_for(case, {"state": "approved", "open_calls": 0})

    content = _content(world.folder, "onestop.sqlite*")
    personal = [
        "EXAMPLE", "X12345678", "1988-02-29", "ada@example.org", "Sample Street", "範例路", "A900000016",
        "範例文化", "Artistic director",
    ]  # fmt: skip
    assert sqlite3.connect(f"{world.folder}/onestop.sqlite").execute(
        "SELECT count(*) FROM case_event"
    ).fetchone() > (0,)
    assert [value for value in personal if value.encode() in content] == []


def _content(folder: Path, pattern: str) -> bytes:
    return b"".join(path.read_bytes() for path in folder.glob(pattern))


async def test_log_lines_hold_no_personal_value(world: World) -> None:
    async with world.applicant() as ada:
        await ada.log_in("ada")
        await steps.filed(ada)

    written = _content(world.folder, "*.log")
    assert b"route" in written
    assert [v for v in (b"X12345678", b"ada@example.org", b"1988-02-29", b"EXAMPLE") if v in written] == []


async def test_each_due_date_explains_itself(world: World) -> None:
    async with world.applicant() as ada:
        await ada.log_in("ada")
        case = await steps.paid(ada, certificate=False)
        case = await ada.wait_for(case, {"state": "waiting_for_applicant"})

    due = {item["duty"]: item for item in case["due_dates"]}
    assert set(due) == {"review", "review_target", "supplement"}
    assert due["review_target"]["due_on"] < due["review"]["due_on"]
    assert all(item["explanation"] for item in due.values())
    assert not due["review"]["running"]
    assert due["supplement"]["due_on"] == case["supplement"]["due_on"]


async def test_supplement_that_is_not_answered_in_time_dismisses_the_case(own_world: World) -> None:
    async with own_world.applicant() as ada:
        await ada.log_in("ada")
        case = await steps.paid(ada, certificate=False)
        case = await ada.wait_for(case, {"state": "waiting_for_applicant"})
        await own_world.move_legal_clock(45)

        case = await ada.wait_for(case, {"state": "dismissed", "open_calls": 0})
        late = await ada.post(f"/api/v1/cases/{case['case_id']}/supplement", If_Match='"v1"')

    assert case["decision"]["article"]
    assert case["decision"]["remedy"]["days"] == 30
    assert late.status_code == 409


async def test_notice_that_was_shown_can_be_shown_again(world: World) -> None:
    async with world.applicant() as ada:
        await ada.log_in("ada")
        case = await steps.draft(ada)
        [shown] = (await ada.notices(case))["consents"]

        again = (await ada.get(f"/api/v1/notices/{shown['notice_sha256']}")).json()
        unknown = await ada.get(f"/api/v1/notices/{'0' * 64}")

    content = base64.b64decode(again["content_base64"])
    assert hashlib.sha256(content).hexdigest() == shown["notice_sha256"]
    assert again["content"] == shown["content"]
    assert unknown.status_code == 404


async def test_notices_can_still_be_served_after_the_decision(world: World) -> None:
    """The contact is registered late: slower than the whole review, so that its basis must outlast it."""
    await world.fault(agency="notify", operation="contact", kind="5xx", count=5)
    async with world.applicant() as ada:
        await ada.log_in("ada")
        case = await steps.paid(ada)
        case = await ada.wait_for(case, {"state": "approved"}, seconds=60)
        case = await ada.wait_for(case, {"open_calls": 0}, seconds=120)
        bases = (await ada.get("/api/v1/consents")).json()["bases"]
        timeline = (await ada.get(f"/api/v1/cases/{case['case_id']}/timeline")).json()["entries"]

    mine = {
        b["purpose"]: b["state"] for b in bases if b["case_id"] == case["case_id"] and not b["withdrawable"]
    }
    assert mine["gold_card.notification"] == "in_force"
    assert mine["gold_card.review"] == "ended"
    assert "call_failed" not in {entry["type"] for entry in timeline}


async def test_withdrawn_application_gets_no_further_call(world: World) -> None:
    async with world.applicant() as ada:
        await ada.log_in("ada")
        case = await steps.paid(ada, certificate=False)
        case = await ada.wait_for(case, {"state": "waiting_for_applicant"})

        case = await ada.act(case, "withdraw")
        case = await ada.wait_for(case, {"state": "withdrawn", "open_calls": 0})
        bases = (await ada.get("/api/v1/consents")).json()["bases"]

    mine = [
        basis for basis in bases if (basis["case_id"], basis["kind"]) == (case["case_id"], "statutory_duty")
    ]
    assert case["decision"]["outcome"] == "withdrawn"
    assert {basis["state"] for basis in mine} == {"ended"}


async def test_health_tells_when_the_gateway_may_be_used(world: World) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        ready = await http.get(f"{world.url}/health/ready")

    assert ready.status_code == 200
