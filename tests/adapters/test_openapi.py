"""The generated contracts: every operation is there, and real messages are valid by the schemas."""

from typing import Any

import jsonschema_rs
import msgspec
import pytest

from adapters.contract import Reply, ReplyStatus, Request
from adapters.openapi import document
from adapters.registry import kinds, operations_of
from consent.ids import uuid7

KINDS = sorted(kinds())


def validator(kind: str, schema: str) -> jsonschema_rs.Validator:
    """A validator of one of the document's schemas."""
    components = document(kind)["components"]
    return jsonschema_rs.validator_for({"$ref": f"#/components/schemas/{schema}", "components": components})


def references_of(value: Any) -> set[str]:
    """All `$ref`s in a document."""
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*map(references_of, value.values()))
    if isinstance(value, list):
        return set().union(*map(references_of, value))
    return set()


@pytest.mark.parametrize("kind", KINDS)
def test_each_operation_can_be_made_asked_about_and_cancelled(kind: str) -> None:
    paths = document(kind)["paths"]

    assert set(paths) == {
        f"/operations/{name}{suffix}"
        for name in operations_of(kind)
        for suffix in ("", "/{call}", "/{call}/cancel")
    }


@pytest.mark.parametrize("kind", KINDS)
def test_every_reference_leads_somewhere(kind: str) -> None:
    whole = document(kind)

    for reference in references_of(whole):
        target = whole
        for step in reference.removeprefix("#/").split("/"):
            target = target[step]
        assert target


@pytest.mark.parametrize("kind", KINDS)
def test_no_schema_admits_unknown_members(kind: str) -> None:
    schemas = document(kind)["components"]["schemas"]
    objects = {name: schema for name, schema in schemas.items() if schema.get("type") == "object"}

    assert {name for name, schema in objects.items() if schema.get("additionalProperties") is not False} <= {
        "Problem"
    }


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_document_is_made_each_time(kind: str) -> None:
    first, second = (msgspec.json.encode(document(kind)) for _ in range(2))

    assert first == second


def test_our_requests_and_replies_are_valid() -> None:
    request = Request(
        call=uuid7(),
        case="115000000019",
        purpose="gold_card",
        filed_at="",
        callback="https://gateway.example/agency/v1/callbacks",
        data=msgspec.Raw(b'{"template":"received","language":"en","link":"https://gateway.example"}'),
    )
    reply = Reply(call=request.call, status=ReplyStatus.ANSWERED, data=msgspec.Raw(b'{"reference":"N-1"}'))

    validator("notify", "SendCall").validate(msgspec.json.decode(msgspec.json.encode(request)))
    validator("notify", "SendReply").validate(msgspec.json.decode(msgspec.json.encode(reply)))


@pytest.mark.parametrize(
    "change", [{"data": {}}, {"surplus": 1}, {"call": 7}, {"data": {"reference": "N-1", "surplus": 1}}]
)
def test_other_replies_are_not(change: dict[str, Any]) -> None:
    reply = {"call": str(uuid7()), "status": "answered", "data": {"reference": "N-1"}} | change

    assert not validator("notify", "SendReply").is_valid(reply)


def test_an_acceptance_carries_no_data() -> None:
    assert validator("notify", "SendReply").is_valid({"call": str(uuid7()), "status": "accepted"})
