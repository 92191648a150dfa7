"""Attacks over HTTP by what is sent, and by rows written by hand: no input is an error of ours."""

import json
from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from sqlalchemy import select, update

from consent.store import lawful_basis
from gateway.demo import FORM, sample_document
from gateway.settings import Settings
from services.store import service_case
from tests.gateway.people import PROBLEM, World, is_problem, opened


@pytest.fixture
async def world(gateway_settings: Settings) -> AsyncIterator[World]:
    """Ada, Bruno and an auditor at a gateway."""
    async with opened(gateway_settings) as world:
        yield world


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

    assert "/card/validity_years" in {found["pointer"] for found in case["problems"]}


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
