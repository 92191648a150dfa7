"""What a person sends is read strictly, and everything wrong with it is told at once."""

import contextlib
import datetime as dt
import json
from typing import Annotated

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, Meta, UnsetType

from services.errors import InvalidInput
from services.forms import (
    BYTES_MAX,
    DEPTH_MAX,
    FINDINGS_MAX,
    Condition,
    Field,
    Form,
    Layout,
    Step,
    blocking,
    problems,
    read,
)
from services.text import Text


class Animal(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    name: Annotated[str, Meta(min_length=1, max_length=10, pattern="^[A-Z]+$")]
    born_on: dt.date
    legs: Annotated[int, Meta(ge=0, le=8)] = 4


class Farm(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    best: Animal
    others: Annotated[tuple[Animal, ...], Meta(max_length=3)] = ()
    second: Animal | UnsetType = UNSET


FORM = Form(Farm)
GOOD = {"best": {"name": "BELLA", "born_on": "2020-02-29"}}


def told(document: object) -> set[tuple[str, str]]:
    """Places and codes of what is wrong."""
    return {(finding.pointer, finding.code) for finding in FORM.findings(document)}


def test_a_good_document_becomes_the_typed_form() -> None:
    form = FORM.decode(read(json.dumps(GOOD).encode()))

    assert form == Farm(best=Animal(name="BELLA", born_on=dt.date(2020, 2, 29)))


def test_everything_wrong_is_told_at_once_with_its_place() -> None:
    document = {
        "best": {"name": "bella", "born_on": "2021-02-29", "legs": 9, "wings~/": 2},
        "others": [{}, {"name": "X" * 11, "born_on": 3}],
        "second": None,
        "tractor": True,
    }

    assert told(document) == {
        ("/best/name", "wrong_format"),
        ("/best/born_on", "wrong_format"),
        ("/best/legs", "too_large"),
        ("/best/wings~0~1", "unknown_member"),
        ("/others/0/name", "required"),
        ("/others/0/born_on", "required"),
        ("/others/1/name", "too_long"),
        ("/others/1/born_on", "wrong_type"),
        ("/second", "wrong_type"),
        ("/tractor", "unknown_member"),
    }


def test_findings_never_repeat_what_was_sent() -> None:
    secret = "S3CRET"
    document = {"best": {"name": secret, "born_on": secret, "legs": secret}, "others": secret}

    findings = FORM.findings(document)

    assert len(findings) == 4
    assert secret not in repr(findings)
    assert all(finding.detail_zh and finding.detail_en for finding in findings)


def test_a_draft_may_lack_members_but_not_have_foreign_ones() -> None:
    findings = FORM.findings({"best": {"name": ""}, "tractor": 1})

    assert {(f.pointer, f.code) for f in blocking(findings, draft=True)} == {("/tractor", "unknown_member")}
    assert {(f.pointer, f.code) for f in blocking(findings, draft=False)} == {
        ("/tractor", "unknown_member"),
        ("/best/name", "required"),
        ("/best/born_on", "required"),
    }


def test_an_incomplete_form_is_not_decoded() -> None:
    with pytest.raises(InvalidInput) as refused:
        FORM.decode({})

    assert [problem.pointer for problem in refused.value.problems] == ["/best"]


def test_a_value_that_only_the_type_refuses_is_a_problem_and_no_crash() -> None:
    with pytest.raises(InvalidInput):
        FORM.decode({"best": {"name": "BELLA", "born_on": "0000-01-01"}})


def test_a_flood_of_problems_is_cut() -> None:
    flood = {f"x{n}": n for n in range(5_000)}

    assert len(FORM.findings(flood)) == FINDINGS_MAX


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "not_json"),
        (b"{", "not_json"),
        (b'{"best": NaN}', "not_json"),
        (b'{"best": -Infinity}', "not_json"),
        (b"\xff\xfe{}", "not_json"),
        (b'{"best": "\\ud800"}', "not_json"),
        (b'{"best": ' + b"9" * 5_000 + b"}", "not_json"),
        (b'{"best": 1, "best": 2}', "duplicate_member"),
        (b'{"best": {"name": "A", "n\\u0061me": "B"}}', "duplicate_member"),
        (b"[" * 100_000, "too_large"),
        (b"[" * (DEPTH_MAX + 1) + b"]" * (DEPTH_MAX + 1), "too_deep"),
        (b'{"\\"[":' * (DEPTH_MAX + 1) + b"1" + b"}" * (DEPTH_MAX + 1), "too_deep"),
        (b'"' + b"x" * BYTES_MAX + b'"', "too_large"),
    ],
)
def test_bytes_that_are_no_plain_document_are_refused_before_anything_else(raw: bytes, code: str) -> None:
    [finding] = problems(FORM, raw)

    assert (finding.pointer, finding.code, finding.severity) == ("", code, "error")


def test_brackets_within_text_are_no_depth() -> None:
    assert read(json.dumps({"a": '\\"[[[[[[[[[[[[[[[' + '"'}).encode())


@given(st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.sampled_from(["best", "others", "second", "name", "born_on", "legs", "x"]), inner),
    max_leaves=12,
))  # fmt: skip
def test_any_document_is_either_decoded_or_told_what_is_wrong(document: object) -> None:
    with contextlib.suppress(InvalidInput):
        assert isinstance(FORM.decode(document), Farm)


@given(st.binary(max_size=60))
def test_any_bytes_are_either_read_or_refused(raw: bytes) -> None:
    with contextlib.suppress(InvalidInput):
        assert read(raw) == json.loads(raw)


def test_labels_stand_in_the_schema_in_both_languages() -> None:
    name = Field(pointer="/others/*/name", label=Text("名", "Name"), help=Text("全名", "In full"))
    layout = Layout(steps=(Step(id="one", title=Text("一", "One"), fields=(name,)),))

    schema = FORM.schema(layout)

    labelled = schema["properties"]["others"]["items"]["properties"]["name"]
    assert (labelled["title"], labelled["x-en"]["title"]) == ("名", "Name")
    assert (labelled["description"], labelled["x-en"]["description"]) == ("全名", "In full")
    assert schema["additionalProperties"] is False
    assert "title" not in schema["properties"]["best"]["properties"]["name"]


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        (Condition("/best/legs", (4,)), True),
        (Condition("/best/legs", (2,)), False),
        (Condition("/best"), True),
        (Condition("/second"), False),
        (Condition("/best/legs/toes", (1,)), False),
    ],
)
def test_a_condition_reads_a_document_that_may_be_incomplete(condition: Condition, holds: bool) -> None:
    assert condition.holds({"best": {"legs": 4}}) is holds
