"""Cases: their numbers, and how a history makes them what they are."""

import datetime as dt
import json
from pathlib import Path
from typing import Any, get_args
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent.ids import shard_of, uuid7
from services import events as ev
from services.case import At, Case, evolve, is_number, new_number
from services.events import State

NOW = dt.datetime(2021, 12, 1, 17, 0, tzinfo=dt.UTC)
AT = At(machine=NOW, legal=NOW)


def draft() -> Case:
    return Case(case_id=uuid7(), number="110000000019", service="gold_card", applicant="alice")


def test_legal_date_is_the_one_in_taiwan() -> None:
    assert AT.legal_date == dt.date(2021, 12, 2)


def test_case_number_has_roc_year_and_check_digit() -> None:
    number = new_number(dt.date(2021, 12, 2))

    assert number[:3] == "110"
    assert is_number(number)


@given(st.integers(0, 10), st.integers(1, 9))
def test_one_changed_digit_breaks_a_case_number(position: int, added: int) -> None:
    number = new_number(dt.date(2026, 1, 1))
    digit = (int(number[position]) + added) % 10

    assert not is_number(number[:position] + str(digit) + number[position + 1 :])


@pytest.mark.parametrize(
    "text", ["", "11000000001", "1100000000190", "11000000001a", "１１００００００００１９"]
)
def test_text_of_another_form_is_no_case_number(text: str) -> None:
    assert not is_number(text)


def test_new_document_replaces_the_one_in_its_slot() -> None:
    case = draft()
    for size in (1, 2):
        document = ev.Document(
            document_id=uuid7(), slot="photo", media_type="image/png", size=size, sha256="00"
        )
        case = evolve(case, ev.DocumentAdded(document=document), AT)

    assert [document.size for document in case.documents] == [2]
    assert case.version == 2


def test_submission_freezes_the_form() -> None:
    case = evolve(draft(), ev.FormSaved(form={"a": 1}), AT)
    case = evolve(case, ev.Submitted(edition="2021-10-25", form_sha256="00"), AT)
    case = evolve(case, ev.FormSaved(form={"a": 2}), AT)

    assert case.filed_form == {"a": 1}
    assert case.form == {"a": 2}


def test_suspension_ends_where_the_duty_resumes() -> None:
    case = evolve(draft(), ev.DutyStarted(duty="review", started_on=dt.date(2021, 12, 2)), AT)
    case = evolve(case, ev.DutySuspended(duty="review", on=dt.date(2021, 12, 6), reason="supplement"), AT)
    case = evolve(case, ev.DutyResumed(duty="review", on=dt.date(2021, 12, 9)), AT)

    [rest] = case.duties[0].suspensions
    assert (rest.on, rest.until) == (dt.date(2021, 12, 6), dt.date(2021, 12, 9))


def test_events_read_back_as_they_were_written() -> None:
    event = ev.StateChanged(service_state="final_review", state=State.IN_REVIEW)

    assert ev.decode(ev.encode(event), 1) == event


def test_event_of_a_later_version_is_refused() -> None:
    with pytest.raises(ValueError, match="newer"):
        ev.decode(b"{}", ev.VERSION + 1)


# One event of each type, as version 1 stored it. Never edited: a new version gets a file of its own.
GOLDEN_V1 = json.loads((Path(__file__).parent / "golden" / "events-v1.json").read_bytes())


@pytest.mark.parametrize("stored", GOLDEN_V1, ids=lambda stored: stored["type"])
def test_stored_events_of_version_1_stay_readable(stored: dict[str, Any]) -> None:
    event = ev.decode(json.dumps(stored).encode(), 1)

    assert ev.type_of(event) == stored["type"]
    assert json.loads(ev.encode(event)) == stored


def test_golden_file_holds_every_type_of_event() -> None:
    assert [stored["type"] for stored in GOLDEN_V1] == [
        str(kind.__struct_config__.tag) for kind in get_args(ev.CaseEvent)
    ]


def test_shard_follows_from_the_id_alone() -> None:
    assert (
        shard_of(UUID(int=0))
        == 0x374708FFF7719DD5979EC875D56CD2286F6D3CF7EC317A3B25632AAB28EC37BB >> 240 & 1023
    )


def test_uuid7_sorts_by_time_and_carries_version_and_variant() -> None:
    first, second = uuid7(), uuid7()

    assert first.version == 7
    assert first.variant == "specified in RFC 4122"
    assert first.int >> 80 <= second.int >> 80
