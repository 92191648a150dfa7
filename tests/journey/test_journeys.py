"""Each way through the service, over HTTP from login to its end, by the edition of its day."""

import datetime as dt
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from gateway.applicant import Applicant
from tests.journey import desks, steps
from tests.journey.world import World

TODAY = dt.date(2022, 3, 1)
PASSPORT = {
    "number": "C0SAMPLE7",
    "nationality": "DEU",
    "type": "ordinary",
    "issued_on": "2018-01-15",
    "expires_on": "2028-01-14",
}
SHOWN = {"passport_number": "C0SAMPLE7", "place": "mission"}
SECONDS_MAX = 60.0  # a way has many steps; a bound, not a measure
ABROAD = {"status": "abroad"}
DOCUMENTS = {**steps.UPLOADS, "employment_certificate": steps.PDF}
INSPECTION = "Passport Inspection at the Bureau of Consular Affairs or Overseas Missions of R.O.C. (Taiwan)"


@pytest.fixture
async def bruno(world: World) -> AsyncIterator[Applicant]:
    """Bruno, logged in, on a day under the edition of 2021."""
    await world.clear_faults()
    await desks.go_to(world, TODAY)
    async with world.applicant() as person:
        await person.log_in("bruno")
        yield person


def visit(day: dt.date) -> dict[str, str]:
    """A stay without a visa, begun shortly before."""
    return {
        "status": "visa_exempt",
        "entered_on": str(day - dt.timedelta(days=10)),
        "expires_on": str(day + dt.timedelta(days=80)),
    }


async def filed(person: Applicant, **changes: Any) -> dict[str, Any]:
    """A filed application whose fee is to be paid."""
    more = changes.pop("documents", {})
    case = await steps.draft(person, passport=PASSPORT, **changes)
    case = await steps.uploaded(person, case, **{**DOCUMENTS, **more})
    case = await person.act(case, "submit")
    return await person.wait_for(case, {"fee": lambda fee: bool(fee and fee["pay_url"])})


async def paid(person: Applicant, **changes: Any) -> dict[str, Any]:
    """A filed application whose fee has arrived."""
    case = await filed(person, **changes)
    await person.pay(case)
    return await person.wait_for(case, {"fee": lambda fee: bool(fee and fee["paid"])})


async def labels(person: Applicant, case: Mapping[str, Any]) -> list[str]:
    """The words of the states that the case went through."""
    timeline = (await person.get(f"/api/v1/cases/{case['case_id']}/timeline")).json()
    return [entry["label"] for entry in timeline["entries"] if entry["type"] == "state_changed"]


def permits(case: Mapping[str, Any]) -> list[str]:
    """Status of the permits: work, visa, residence, re-entry."""
    given = case["decision"]["permits"]
    names = ("work_permit", "resident_visa", "alien_resident_certificate", "re_entry_permit")
    return [given[name]["status"] for name in names]


def due(case: Mapping[str, Any]) -> dict[str, Any]:
    """The periods of a case by name."""
    return {item["duty"]: item for item in case["due_dates"]}


async def test_from_abroad_a_certificate_is_exchanged_for_the_card_after_entry(
    world: World, bruno: Applicant
) -> None:
    case = await paid(bruno, stay=ABROAD)
    case = await bruno.wait_for(case, {"service_state": "inspection"}, seconds=SECONDS_MAX)
    periods = due(case)
    elsewhere = await desks.appear(world, case, "boca", "inspection", {**SHOWN, "place": "bureau"})
    inspected = await desks.appear(world, case, "boca", "inspection", SHOWN)
    approved = await bruno.wait_for(case, {"state": "approved"}, seconds=SECONDS_MAX)
    certificate = approved["decision"]["certificate"]["number"]
    late = {"certificate": certificate, "entered_on": str(TODAY - dt.timedelta(days=31))}
    refused = await desks.appear(world, case, "nia", "exchange", late)
    in_time = {"certificate": certificate, "entered_on": str(TODAY - dt.timedelta(days=30))}
    exchanged = await desks.appear(world, case, "nia", "exchange", in_time)
    case = await bruno.wait_for(case, {"state": "completed", "open_calls": 0}, seconds=SECONDS_MAX)

    assert periods["inspection"]["due_on"] == "2022-09-01"
    assert not periods["review"]["running"]
    assert (elsewhere, inspected, refused, exchanged) == (409, 204, 409, 204)
    assert approved["decision"]["card"] == {}
    assert permits(approved) == permits(case) == ["granted"] * 4
    assert approved["decision"]["permits"]["work_permit"]["valid_from"] is None
    assert case["decision"]["permits"]["work_permit"]["valid_from"] == "2022-03-02"
    assert case["decision"]["card"]["valid_to"] == "2025-03-01"
    assert len(case["outcome"]) == 2
    seen = await labels(bruno, case)
    assert seen.index(INSPECTION) > seen.index("Review by the Workforce Development Agency")
    assert seen[-2:] == ["Approved", "Card collected"]
    assert steps.twice(await world.effects()) == []


async def test_passport_that_is_not_inspected_within_six_months_dismisses_the_case(
    world: World, bruno: Applicant
) -> None:
    case = await paid(bruno, stay=ABROAD)
    case = await bruno.wait_for(case, {"service_state": "inspection"}, seconds=SECONDS_MAX)
    await desks.go_to(world, dt.date(2022, 9, 2))

    case = await bruno.wait_for(case, {"state": "dismissed", "open_calls": 0}, seconds=SECONDS_MAX)

    assert case["decision"]["article"] == "許可辦法 §§2 III, 4 II"
    assert case["decision"]["remedy"]["days"] == 30


async def test_first_edition_inspects_in_taiwan_too_and_grants_the_visa(
    world: World, bruno: Applicant
) -> None:
    day = dt.date(2020, 12, 14)
    await desks.go_to(world, day)
    case = await paid(bruno, stay=visit(day))
    case = await bruno.wait_for(case, {"service_state": "inspection"}, seconds=SECONDS_MAX)
    assert await desks.appear(world, case, "boca", "inspection", {**SHOWN, "place": "bureau"}) == 204
    periods = due(case)
    case = await bruno.wait_for(case, {"state": "approved", "open_calls": 0}, seconds=SECONDS_MAX)

    assert (case["edition"], case["fee"]["amount_ntd"]) == ("2018-02-08", 6500)
    assert periods["inspection"]["due_on"] == "2021-01-13"
    assert permits(case) == ["granted"] * 4
    assert case["decision"]["card"]["valid_from"] == "2020-12-15"
    seen = await labels(bruno, case)
    assert seen.index(INSPECTION) < seen.index("Review by the Bureau of Consular Affairs")


async def test_second_edition_spares_who_is_in_taiwan_both_inspection_and_visa(
    world: World, bruno: Applicant
) -> None:
    day = dt.date(2021, 12, 14)
    await desks.go_to(world, day)
    case = await paid(bruno, stay=visit(day))
    case = await bruno.wait_for(case, {"state": "approved", "open_calls": 0}, seconds=SECONDS_MAX)

    assert (case["edition"], case["fee"]["amount_ntd"]) == ("2021-10-25", 5700)
    assert permits(case) == ["granted", "exempt", "granted", "granted"]
    assert INSPECTION not in await labels(bruno, case)


async def test_last_days_of_the_first_edition_pay_by_the_next_fee_standard(
    world: World, bruno: Applicant
) -> None:
    day = dt.date(2021, 10, 23)
    await desks.go_to(world, day)

    case = await filed(bruno, stay=visit(day))

    assert (case["edition"], case["fee"]["amount_ntd"]) == ("2018-02-08", 5700)


async def test_refusal_names_its_ground_and_remedy(bruno: Applicant) -> None:
    poor = {"field": "economy", "clause": "salary", "monthly_salary_ntd": 159_999}
    case = await paid(bruno, stay=ABROAD, qualification=poor)

    case = await bruno.wait_for(case, {"state": "refused", "open_calls": 0}, seconds=SECONDS_MAX)

    assert "threshold" in case["decision"]["ground"]
    assert case["decision"]["article"].endswith("§5")
    assert case["decision"]["remedy"]["kind"] == "administrative_appeal"
    assert INSPECTION not in await labels(bruno, case)


async def test_hong_kong_resident_is_not_inspected_and_resides_by_another_act(
    world: World, bruno: Applicant
) -> None:
    case = await paid(
        bruno,
        stay=ABROAD,
        person__category="hong_kong_resident",
        person__chinese_name="樣大文",
        passport__nationality="CHN",
        documents={"hk_macau_identity": steps.PDF},
    )
    case = await bruno.wait_for(case, {"state": "approved"}, seconds=SECONDS_MAX)
    shown = {"certificate": case["decision"]["certificate"]["number"], "entered_on": str(TODAY)}
    assert await desks.appear(world, case, "nia", "exchange", shown) == 204
    case = await bruno.wait_for(case, {"state": "completed", "open_calls": 0}, seconds=SECONDS_MAX)

    assert case["fee"]["amount_ntd"] == 3100
    assert permits(case) == ["granted", "not_applicable", "replaced_by", "granted"]
    assert {INSPECTION, "Review by the Bureau of Consular Affairs"}.isdisjoint(await labels(bruno, case))


async def test_new_passport_at_the_inspection_sends_the_case_back_to_be_corrected(
    world: World, bruno: Applicant
) -> None:
    case = await paid(bruno, stay=ABROAD)
    case = await bruno.wait_for(case, {"service_state": "inspection"}, seconds=SECONDS_MAX)
    renewed = {**SHOWN, "passport_number": "C0SAMPLE8"}
    assert await desks.appear(world, case, "boca", "inspection", renewed) == 204
    case = await bruno.wait_for(case, {"state": "waiting_for_applicant"}, seconds=SECONDS_MAX)
    asked = case["supplement"]
    corrected = {**case["form"], "passport": {**PASSPORT, "number": "C0SAMPLE8"}}
    case = await bruno.save_form(case, corrected)
    case = await bruno.upload(case, "passport", steps.document(steps.PDF), steps.PDF)
    case = await bruno.act(case, "supplement")
    assert await desks.appear(world, case, "boca", "inspection", renewed) == 204
    case = await bruno.wait_for(case, {"state": "approved"}, seconds=SECONDS_MAX)

    assert (asked["requested_by"], asked["notified_by"]) == ("boca", "nia")
    assert case["supplements"] == 1
    assert not [item for item in case["due_dates"] if item["duty"] in {"inspection", "supplement"}]
