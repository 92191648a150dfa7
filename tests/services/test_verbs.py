"""What an applicant may do, when, and with which version; and that refused acts change nothing."""

import asyncio

import msgspec
import pytest

from adapters.vocabulary import SupplementItem
from consent import bases
from consent.ids import uuid7
from consent.model import BasisState
from services import events as ev
from services import verbs
from services.case import Case
from services.errors import CaseNotFound, InvalidInput, NotAllowed, StaleVersion, UnsupportedMedia
from services.events import State
from tests.services import applications as steps
from tests.services.fakes import Office, check_history

ITEM = SupplementItem(
    kind="supplement", target="document:employment_certificate", reason_zh="請補", reason_en="add it"
)
PHONE = SupplementItem(kind="correction", target="/contact/phone", reason_zh="請改", reason_en="mend it")


@pytest.fixture
def office(office: Office) -> Office:
    """The office with the reactions of the Gold Card itself."""
    return office.with_gold_card()


async def asked(office: Office, *items: SupplementItem) -> Case:
    """A filed and paid application that waits for a supplement."""
    case = await steps.filed(office)
    assert case.submitted_at is not None
    await office.advance(case, ev.FeePaid(payment="P1", amount_ntd=1, paid_at=case.submitted_at))
    requested = ev.SupplementRequested(
        requested_by="nia",
        operation="information_check",
        notified_by="nia",
        items=items,
        due_on=case.submitted_at.date(),
    )
    return await office.advance(case, requested, ev.SupplementNotified(reference="N1"))


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("verb", verbs.ALLOWED)
def test_each_verb_is_allowed_in_its_states_and_says_why_not_in_others(verb: str, state: State) -> None:
    case = Case(case_id=uuid7(), number="110000000019", service="gold_card", applicant="alice", state=state)

    refusal = verbs.why_not(verb, case)

    if state in verbs.ALLOWED[verb]:
        assert refusal is None
    else:
        assert refusal is not None
        assert refusal.verb == verb
        assert state in refusal.why_en


async def test_a_complete_draft_can_be_filed_and_pins_its_edition(office: Office) -> None:
    case = await steps.filed(office)

    assert case.state is State.WAITING_FOR_PAYMENT
    assert case.edition
    assert case.filed_form == case.form
    async with office.database.read() as conn:
        held = await bases.of_case(conn, office.vault, case.case_id)
    assert {stored.basis.state for stored in held} == {BasisState.RECORDED}
    await check_history(office, case)


async def test_an_incomplete_draft_is_not_filed_and_all_problems_are_told_at_once(office: Office) -> None:
    case = await office.open_case()

    with pytest.raises(InvalidInput) as refused:
        await steps.submit(office, case)

    assert len(refused.value.problems) > 3
    assert await office.case(case) == case
    async with office.database.read() as conn:
        assert await bases.of_case(conn, office.vault, case.case_id) == []


async def test_a_form_of_another_shape_is_not_saved(office: Office) -> None:
    case = await office.open_case()

    with pytest.raises(InvalidInput) as refused:
        await steps.save(office, case, {"passport": {"number": ["X"]}, "role": "admin"})

    assert {problem.pointer for problem in refused.value.problems} >= {"/passport/number", "/role"}
    assert await office.case(case) == case


async def test_an_act_on_an_older_version_is_refused(office: Office) -> None:
    case = await steps.filled(office)
    old = case.version - 1

    for act in (
        steps.save(office, case, steps.form(), version=old),
        steps.upload(office, case, "passport", version=old),
        steps.submit(office, case, version=old),
    ):
        with pytest.raises(StaleVersion) as refused:
            await act
        assert refused.value.expected == case.version

    assert await office.case(case) == case


async def test_of_two_saves_from_one_version_one_is_refused(office: Office) -> None:
    case = await office.open_case()

    results = await asyncio.gather(
        *(steps.save(office, case, steps.form(), version=0) for _ in range(5)), return_exceptions=True
    )

    assert sum(isinstance(result, Case) for result in results) == 1
    assert sum(isinstance(result, StaleVersion) for result in results) == 4
    assert (await office.case(case)).version == 1


async def test_of_two_filings_at_once_one_is_refused(office: Office) -> None:
    case = await steps.filled(office)

    results = await asyncio.gather(
        steps.submit(office, case, version=case.version),
        steps.submit(office, case, version=case.version),
        return_exceptions=True,
    )

    assert sorted(type(result).__name__ for result in results) == ["Case", "NotAllowed"]
    ordered = [event for event in await office.events(case) if isinstance(event, ev.FeeOrdered)]
    assert len(ordered) == 1


async def test_a_filed_application_cannot_be_changed(office: Office) -> None:
    case = await steps.filed(office)

    for act in (
        steps.save(office, case, steps.form()),
        steps.upload(office, case, "passport"),
        steps.submit(office, case),
        steps.supplement(office, case),
    ):
        with pytest.raises(NotAllowed):
            await act

    assert await office.case(case) == case


async def test_a_document_goes_into_a_slot_the_edition_knows_and_is_of_its_type(office: Office) -> None:
    case = await office.open_case()

    with pytest.raises(CaseNotFound):
        await steps.upload(office, case, "diary")
    with pytest.raises(UnsupportedMedia):
        await steps.upload(office, case, "passport", b"<html><script>")
    case = await steps.upload(office, case, "passport", steps.PDF)

    kept = case.document_in("passport")
    assert kept is not None
    assert (kept.media_type, kept.size) == ("application/pdf", len(steps.PDF))


async def test_a_withdrawn_application_ends_its_bases_and_takes_no_more(office: Office) -> None:
    case = await steps.withdraw(office, await steps.filed(office))

    assert case.state is State.WITHDRAWN
    async with office.database.read() as conn:
        held = await bases.of_case(conn, office.vault, case.case_id)
    assert {stored.basis.state for stored in held} == {BasisState.ENDED}
    with pytest.raises(NotAllowed):
        await steps.withdraw(office, case)
    await check_history(office, case)


async def test_while_a_supplement_is_open_only_what_it_names_can_change(office: Office) -> None:
    case = await asked(office, PHONE)
    contact = {**case.form["contact"], "phone": "+886 2 1111 1111"}

    with pytest.raises(InvalidInput) as refused:
        await steps.save(office, case, {**case.form, "contact": {**contact, "email": "other@example.org"}})
    assert {problem.pointer for problem in refused.value.problems} == {"/contact/email"}
    with pytest.raises(InvalidInput):
        await steps.upload(office, case, "passport")
    changed = await steps.save(office, case, {**case.form, "contact": contact})

    assert changed.form["contact"]["phone"] == "+886 2 1111 1111"
    assert changed.filed_form == case.filed_form


async def test_a_supplement_is_handed_in_once_it_is_whole(office: Office) -> None:
    case = await asked(office, ITEM)
    with pytest.raises(InvalidInput) as refused:
        await steps.supplement(office, case)
    assert [problem.pointer for problem in refused.value.problems] == ["document:employment_certificate"]

    case = await steps.upload(office, case, "employment_certificate")
    case = await steps.supplement(office, case)

    assert case.state is State.IN_REVIEW
    assert case.supplement is None
    with pytest.raises(NotAllowed):
        await steps.supplement(office, case)
    await check_history(office, case)


async def test_a_supplement_that_nobody_notified_cannot_be_answered(office: Office) -> None:
    case = await asked(office, ITEM)
    notified = case.supplement
    assert notified is not None
    again = ev.SupplementRequested(
        requested_by="wda",
        operation="qualification_review",
        notified_by="nia",
        items=(ITEM,),
        due_on=notified.due_on,
    )
    case = await office.advance(case, again)

    with pytest.raises(NotAllowed):
        await steps.supplement(office, case)


def test_the_hash_of_a_form_does_not_hang_on_the_order_of_its_members() -> None:
    form = steps.form()
    turned = dict(reversed(form.items()))

    assert verbs.form_sha256(form) == verbs.form_sha256(turned)
    assert verbs.form_sha256(form) != verbs.form_sha256({**form, "card": {}})
    assert msgspec.json.encode(form) != msgspec.json.encode(turned)
