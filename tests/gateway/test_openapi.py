"""The documents in `openapi/` say what the code does: no more, no less."""

from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from gateway import openapi
from gateway.app import create_app
from gateway.settings import Settings

FOLDER = Path(__file__).parents[2] / "openapi"
DOCUMENTS = openapi.documents()
# For operators: described in docs/, not part of anybody's interface.
PAGES = {"/", "/cases", "/cases/{case_id}"}  # for browsers
UNDOCUMENTED = ("/health", "/schema", "/metrics")


def test_checked_in_documents_are_the_generated_ones() -> None:
    checked_in = {str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*.yaml")}

    assert checked_in == set(DOCUMENTS), "run 'make openapi'"
    for name, document in DOCUMENTS.items():
        assert (FOLDER / name).read_text(encoding="utf-8") == openapi.render(document), "run 'make openapi'"


def test_every_route_stands_in_exactly_one_document() -> None:
    paths = [path for name in openapi.AUDIENCES for path in DOCUMENTS[f"{name}.yaml"]["paths"]]
    routes = {
        route.path_format
        for route in create_app(Settings()).routes
        if not route.path_format.startswith(UNDOCUMENTED) and route.path_format not in PAGES
    }

    assert len(paths) == len(set(paths))
    assert set(paths) == routes


def test_writing_takes_away_what_is_no_document_any_more(tmp_path: Path) -> None:
    (tmp_path / "agencies").mkdir()
    (tmp_path / "agencies" / "gone.yaml").write_text("openapi: 3.1.0\n")

    openapi.write(tmp_path)

    assert not (tmp_path / "agencies" / "gone.yaml").exists()
    assert (tmp_path / "citizen.yaml").is_file()


@pytest.mark.parametrize("name", sorted(DOCUMENTS))
def test_every_reference_leads_to_a_valid_schema(name: str) -> None:
    document = yaml.safe_load(openapi.render(DOCUMENTS[name]))

    assert document["openapi"].startswith("3.1")
    for reference in references_of(document):
        target = document
        for step in reference.removeprefix("#/").split("/"):
            target = target[step]
        if "/schemas/" in reference:
            jsonschema_rs.validator_for({**target, "components": document["components"]})


@pytest.mark.parametrize("name", sorted(openapi.AUDIENCES))
def test_errors_are_problems_and_unknown_members_are_refused(name: str) -> None:
    document = DOCUMENTS[f"{name}.yaml"]

    for item in document["paths"].values():
        for operation in item.values():
            assert "application/problem+json" in operation["responses"]["default"]["content"]
            for schema in body_schemas(operation, document):
                assert schema["additionalProperties"] is False


def body_schemas(operation: dict[str, Any], document: dict[str, Any]) -> list[dict[str, Any]]:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    reference = content.get("schema", {}).get("$ref", "").removeprefix(openapi.REFERENCE)
    return [document["components"]["schemas"][reference]] if reference else []


def references_of(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*map(references_of, value.values()))
    return set().union(*map(references_of, value)) if isinstance(value, list) else set()
