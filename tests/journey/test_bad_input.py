"""Bad input has a clear error and loses nothing: over HTTP, against a whole installation."""

import asyncio
import secrets
from typing import Any

import httpx
import pytest

from gateway.applicant import Applicant
from tests.journey import steps
from tests.journey.world import World

PROBLEM = "application/problem+json"


def problem(answer: httpx.Response, status: int, slug: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith(PROBLEM)
    document: dict[str, Any] = answer.json()
    assert document["type"] == f"urn:onestop:problem:{slug}"
    return document


def pointers(document: dict[str, Any]) -> set[str]:
    return {error["pointer"] for error in document["errors"]}


async def test_all_wrong_fields_are_reported_at_once(ada: Applicant) -> None:
    case = await steps.draft(ada)
    wrong = steps.form(
        person__surname=7,
        passport__number=["X"],
        card__validity_years="three",
        contact__nickname="secret-value",
    )

    refused = await ada.put(f"/api/v1/cases/{case['case_id']}/form", case["version"], json=wrong)

    document = problem(refused, 422, "invalid-input")
    assert pointers(document) == {"/person/surname", "/passport/number", "/contact/nickname"}
    assert "secret-value" not in refused.text
    assert (await ada.case(case))["form"] == case["form"]


async def test_unknown_members_are_refused_with_their_pointers(ada: Applicant) -> None:
    case = await steps.draft(ada)
    wrong = {**steps.form(), "role": "admin", "state": "approved"}

    refused = await ada.put(f"/api/v1/cases/{case['case_id']}/form", case["version"], json=wrong)

    assert pointers(problem(refused, 422, "invalid-input")) == {"/role", "/state"}


async def test_unknown_members_of_other_bodies_are_refused_too(ada: Applicant) -> None:
    refused = await ada.post(
        "/api/v1/cases", {"service": "gold_card", "applicant": "someone", "state": "approved"}
    )

    assert pointers(problem(refused, 422, "invalid-input")) == {"/applicant", "/state"}


async def test_stale_etag_is_refused_and_the_newer_form_stays(ada: Applicant) -> None:
    case = await steps.draft(ada)
    newer = await ada.save_form(case, steps.form(contact__phone="+886 2 1111 1111"))

    refused = await ada.put(f"/api/v1/cases/{case['case_id']}/form", case["version"], json=steps.form())

    problem(refused, 412, "stale-version")
    assert (await ada.case(case))["form"] == newer["form"]


async def test_change_without_if_match_is_refused(ada: Applicant) -> None:
    case = await steps.draft(ada)

    refused = await ada.post(f"/api/v1/cases/{case['case_id']}/submit")

    problem(refused, 428, "precondition-missing")


async def test_repeated_post_with_one_key_makes_one_case(ada: Applicant) -> None:
    key = secrets.token_urlsafe()
    body = {"service": "gold_card", "language": "en"}
    before = len((await ada.get("/api/v1/cases")).json()["cases"])

    answers = await asyncio.gather(*(ada.post("/api/v1/cases", body, key=key) for _ in range(5)))

    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["case_id"] for answer in answers}) == 1
    assert sum(answer.headers.get("idempotent-replay") == "true" for answer in answers) == 4
    after = (await ada.get("/api/v1/cases")).json()["cases"]
    assert len(after) == min(before + 1, 20)


async def test_same_key_with_another_body_is_refused(ada: Applicant) -> None:
    key = secrets.token_urlsafe()
    await ada.post("/api/v1/cases", {"service": "gold_card", "language": "en"}, key=key)

    refused = await ada.post("/api/v1/cases", {"service": "gold_card", "language": "zh-TW"}, key=key)

    problem(refused, 422, "idempotency-conflict")


@pytest.mark.parametrize("key", ["", "x" * 81])
async def test_post_without_a_usable_key_is_refused(ada: Applicant, key: str) -> None:
    refused = await ada.post("/api/v1/cases", {"service": "gold_card"}, Idempotency_Key=key)

    problem(refused, 428, "precondition-missing")


async def test_oversized_upload_is_refused_and_the_former_document_stays(ada: Applicant) -> None:
    case = await steps.draft(ada)
    case = await ada.upload(case, "photo", steps.document(steps.PNG), steps.PNG)
    huge = steps.document(steps.PNG) + bytes(6 * 1024 * 1024)

    refused = await ada.put(f"/api/v1/cases/{case['case_id']}/documents/photo", case["version"], content=huge)

    problem(refused, 413, "too-large")
    assert (await ada.case(case))["documents"] == case["documents"]


@pytest.mark.parametrize(
    ("slot", "content"),
    [
        ("photo", b"%PDF-1.7\n%not a picture"),
        ("photo", b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
        ("photo", b"GIF89a" + bytes(100)),
        ("passport", b"PK\x03\x04" + bytes(100)),
        ("passport", b"MZ" + bytes(100)),
        ("passport", b"<html><script>alert(1)</script></html>"),
        ("passport", b""),
    ],
)
async def test_mistyped_upload_is_refused_whatever_it_claims_to_be(
    ada: Applicant, slot: str, content: bytes
) -> None:
    case = await steps.draft(ada)

    refused = await ada.put(
        f"/api/v1/cases/{case['case_id']}/documents/{slot}",
        case["version"],
        content=content,
        headers={"Content-Type": "image/png" if slot == "photo" else "application/pdf"},
    )

    problem(refused, 415, "unsupported-media")
    assert (await ada.case(case))["documents"] == []


async def test_slot_that_the_edition_does_not_know_is_not_found(ada: Applicant) -> None:
    case = await steps.draft(ada)

    refused = await ada.put(
        f"/api/v1/cases/{case['case_id']}/documents/tax_return",
        case["version"],
        content=steps.document(steps.PDF),
    )

    problem(refused, 404, "not-found")


async def test_incomplete_application_is_not_filed_and_says_all_that_is_missing(ada: Applicant) -> None:
    partial = {"person": {"surname": "EXAMPLE", "category": "martian"}}
    case = await ada.save_form(await ada.open_case("gold_card"), partial)

    refused = await ada.post(f"/api/v1/cases/{case['case_id']}/submit", If_Match=f'"v{case["version"]}"')

    found = pointers(problem(refused, 422, "invalid-input"))
    assert {"/passport", "/contact", "/declarations", "/person/sex", "/person/category"} <= found
    assert {"document:passport", "document:photo", "document:qualification"} <= found
    assert (await ada.case(case))["state"] == "draft"


async def test_missing_documents_are_named_before_filing(ada: Applicant) -> None:
    case = await steps.consented(ada)

    refused = await ada.post(f"/api/v1/cases/{case['case_id']}/submit", If_Match=f'"v{case["version"]}"')

    found = pointers(problem(refused, 422, "invalid-input"))
    assert found == {"document:passport", "document:photo", "document:qualification"}


async def test_another_persons_case_does_not_exist(world: World, ada: Applicant) -> None:
    case = await steps.consented(ada)
    case = await ada.upload(case, "photo", steps.document(steps.PNG), steps.PNG)
    base = f"/api/v1/cases/{case['case_id']}"
    [mine] = [
        basis for basis in (await ada.get("/api/v1/consents")).json()["bases"] if basis["state"] == "consumed"
    ][-1:]

    async with world.applicant() as bruno:
        await bruno.log_in("bruno")
        tag = f'"v{case["version"]}"'
        answers = [
            await bruno.get(base),
            await bruno.get(f"{base}/timeline"),
            await bruno.get(case["documents"][0]["href"]),
            await bruno.put(f"{base}/form", case["version"], json=steps.form()),
            await bruno.put(f"{base}/documents/photo", case["version"], content=steps.document(steps.PNG)),
            await bruno.post(f"{base}/notices"),
            await bruno.post(f"{base}/submit", If_Match=tag),
            await bruno.post(f"{base}/pay"),
            await bruno.post(f"{base}/supplement", If_Match=tag),
            await bruno.post(f"{base}/withdraw"),
            await bruno.post(f"/api/v1/consents/{mine['basis_id']}/withdraw"),
            await bruno.post(f"/api/v1/consents/{mine['basis_id']}/refuse"),
            await bruno.post(f"/api/v1/consents/{mine['basis_id']}/grant", {"notice_sha256": "0" * 64}),
        ]

    assert [answer.status_code for answer in answers] == [404] * len(answers)
    assert await ada.case(case) == case


async def test_nobody_without_a_session_sees_a_case(world: World, ada: Applicant) -> None:
    case = await steps.draft(ada)

    async with world.applicant() as nobody:
        seen = await nobody.get(f"/api/v1/cases/{case['case_id']}")

    problem(seen, 401, "not-authenticated")


async def test_change_without_the_csrf_token_is_refused(ada: Applicant) -> None:
    case = await steps.draft(ada)

    refused = await ada.post(f"/api/v1/cases/{case['case_id']}/withdraw", X_CSRF_Token="wrong")

    problem(refused, 403, "csrf-refused")
    assert (await ada.case(case))["state"] == "draft"


async def test_fee_paid_twice_moves_the_case_once_and_keeps_the_second_payment(
    world: World, ada: Applicant
) -> None:
    case = await steps.filed(ada, certificate=False)
    await ada.pay(case)
    case = await ada.wait_for(case, {"state": "waiting_for_applicant"})
    await world.fault(agency="epay", operation="pay", kind="second_payment")

    await ada.pay_again()
    case = await ada.wait_for(case, {"fee": lambda fee: fee["overpayments"] == 1})

    assert case["state"] == "waiting_for_applicant"
    timeline = (await ada.get(f"/api/v1/cases/{case['case_id']}/timeline")).json()["entries"]
    kinds = [entry["type"] for entry in timeline]
    assert kinds.count("fee_paid") == 1
    assert kinds.count("overpaid") == 1
    problem(await ada.post(f"/api/v1/cases/{case['case_id']}/pay"), 409, "not-allowed")


async def test_refused_consent_makes_no_call_and_the_upload_is_the_other_way(
    world: World, ada: Applicant
) -> None:
    case = await steps.draft(ada)
    before = await world.effects()
    [shown] = (await ada.notices(case))["consents"]

    refused = await ada.post(f"/api/v1/consents/{shown['basis']['basis_id']}/refuse")
    arc = {"number": "A800000014", "expires_on": "2031-01-01", "address": "臺北市範例路 1 號"}
    case = await ada.save_form(case, steps.form(stay__residence_record="uploaded", arc=arc))
    case = await steps.uploaded(ada, case, arc_copy=steps.PDF)
    case = await ada.act(case, "submit")

    assert refused.json()["state"] == "refused"
    assert case["state"] == "waiting_for_payment"
    assert (await world.effects())["nia"]["residence"] == before["nia"]["residence"]


async def test_consent_to_another_text_than_the_one_shown_is_refused(ada: Applicant) -> None:
    case = await steps.draft(ada)
    [shown] = (await ada.notices(case))["consents"]

    refused = await ada.post(
        f"/api/v1/consents/{shown['basis']['basis_id']}/grant", {"notice_sha256": "0" * 64}
    )

    problem(refused, 409, "not-allowed")


async def test_withdrawal_before_the_answer_withholds_it(world: World, ada: Applicant) -> None:
    case = await steps.draft(ada)
    await world.fault(agency="nia", operation="residence", kind="timeout_after_effect", delay_seconds=3)
    [shown] = (await ada.notices(case))["consents"]
    before = len((await world.effects())["nia"].get("residence", {}))
    await ada.grant(shown)
    await _more_effects_than(world, before)

    withdrawn = await ada.post(f"/api/v1/consents/{shown['basis']['basis_id']}/withdraw")
    again = await ada.post(f"/api/v1/consents/{shown['basis']['basis_id']}/withdraw")
    case = await ada.wait_for(case, {"open_calls": 0})

    assert withdrawn.json()["state"] == "withdrawn"
    assert (again.status_code, again.json()["state"]) == (200, "withdrawn")
    assert case["fetched"] == {}
    timeline = (await ada.get(f"/api/v1/cases/{case['case_id']}/timeline")).json()["entries"]
    types = [entry["type"] for entry in timeline]
    assert "call_failed" in types
    assert "call_answered" not in types


async def _more_effects_than(world: World, before: int) -> None:
    for _ in range(200):
        if len((await world.effects())["nia"].get("residence", {})) > before:
            return
        await asyncio.sleep(0.1)
    raise AssertionError("the agency was not called within 20 s")


async def test_surplus_members_of_an_answer_are_dropped(world: World, ada: Applicant) -> None:
    await world.fault(agency="nia", operation="residence", kind="surplus")

    case = await steps.consented(ada)

    assert set(case["fetched"]["nia.residence"]) == {"arc"}
    assert set(case["fetched"]["nia.residence"]["arc"]) == {"number", "expires_on", "address"}


async def test_answer_of_another_shape_is_not_taken_for_an_empty_one(world: World, ada: Applicant) -> None:
    await world.fault(agency="nia", operation="residence", kind="wrong_schema")
    case = await steps.draft(ada)
    [shown] = (await ada.notices(case))["consents"]
    await ada.grant(shown)

    case = await ada.wait_for(case, {"open_calls": 0})

    assert case["fetched"] == {}
    assert len(await _dead_calls(world, case)) == 1


@pytest.mark.parametrize("kind", ["malformed", "huge_body", "gzip_bomb", "redirect"])
async def test_answer_that_is_not_the_contract_ends_the_call_and_loses_nothing(
    world: World, ada: Applicant, kind: str
) -> None:
    await world.fault(agency="nia", operation="residence", kind=kind)
    case = await steps.draft(ada)
    [shown] = (await ada.notices(case))["consents"]
    await ada.grant(shown)

    case = await ada.wait_for(case, {"open_calls": 0})
    [call_id] = await _dead_calls(world, case)
    retried = await asyncio.to_thread(
        world.command, "call", "retry", call_id, "--by", "lin", "--reason", "the agency mended it"
    )

    assert retried.returncode == 0, retried.stderr
    case = await ada.wait_for(case, {"fetched": lambda fetched: "nia.residence" in fetched})
    assert case["form"] == steps.form()


async def _dead_calls(world: World, case: dict[str, Any]) -> list[str]:
    """Ids of a case's dead calls, as the operator is told of them."""
    listed = await asyncio.to_thread(world.command, "call", "list")
    lines = [line for line in listed.stdout.splitlines() if case["case_number"] in line]
    return [line.split()[0] for line in lines if " dead " in line]


async def test_forged_callback_is_refused_and_the_true_one_counts(world: World, ada: Applicant) -> None:
    await world.fault(agency="nia", operation="information_check", kind="forged_callback")

    case = await steps.paid(ada)
    case = await ada.wait_for(case, {"state": "approved", "open_calls": 0})

    assert '"route":"/agency/v1/callbacks","status":401' in world.output("serve")


@pytest.mark.parametrize("kind", ["duplicate_callback", "early_callback", "lost_callback"])
async def test_callback_that_comes_twice_early_or_never_moves_the_case_once(
    world: World, ada: Applicant, kind: str
) -> None:
    await world.fault(agency="nia", operation="information_check", kind=kind)

    case = await steps.paid(ada)
    case = await ada.wait_for(case, {"state": "approved", "open_calls": 0}, seconds=30)

    timeline = (await ada.get(f"/api/v1/cases/{case['case_id']}/timeline")).json()["entries"]
    states = [entry["label"] for entry in timeline if entry["type"] == "state_changed"]
    assert len(states) == len(set(states)) + states.count("Review by the Workforce Development Agency") - 1
    assert steps.twice(await world.effects()) == []


async def test_unsigned_callback_is_refused(world: World) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        refused = await http.post(
            f"{world.url}/agency/v1/callbacks",
            json={"call": "01a20560-3f20-7873-8cd4-93e3352fcb20", "status": "answered", "data": {}},
        )

    problem(refused, 401, "signature-refused")


async def test_change_beyond_an_open_supplement_is_refused(ada: Applicant) -> None:
    case = await steps.paid(ada, certificate=False)
    case = await ada.wait_for(case, {"state": "waiting_for_applicant"})

    form = await ada.put(
        f"/api/v1/cases/{case['case_id']}/form",
        case["version"],
        json=steps.form(passport__number="Y99999999"),
    )
    photo = await ada.put(
        f"/api/v1/cases/{case['case_id']}/documents/photo",
        case["version"],
        content=steps.document(steps.PNG),
    )
    empty = await ada.post(f"/api/v1/cases/{case['case_id']}/supplement", If_Match=f'"v{case["version"]}"')

    assert pointers(problem(form, 422, "invalid-input")) == {"/passport/number"}
    assert pointers(problem(photo, 422, "invalid-input")) == {"document:photo"}
    assert pointers(problem(empty, 422, "invalid-input")) == {"document:employment_certificate"}


async def test_quote_reports_all_wrong_facts_at_once(world: World) -> None:
    async with httpx.AsyncClient(base_url=world.url, trust_env=False) as http:
        refused = await http.post(
            "/api/v1/services/gold_card/quote", json={"category": "x", "validity_years": 9}
        )
        quoted = await http.post(
            "/api/v1/services/gold_card/quote",
            json={
                "category": "foreign_national",
                "nationality": "GBR",
                "stay": "arc",
                "validity_years": 3,
                "legal_date": "2021-12-01",
            },
        )

    assert pointers(problem(refused, 422, "invalid-input")) == {
        "/category", "/validity_years", "/nationality", "/stay",
    }  # fmt: skip
    assert quoted.json()["total_ntd"] == 3500
