"""Writes `openapi/`: what citizens' front ends, agencies and third parties call, and what agencies implement.

The documents are generated from the routes and the wire structs and checked in, so that a change of an
interface shows as a change of these files; a test compares them. Run by `make openapi` in a checkout.

What the framework generates is mended in three points: every error is a problem document, a request's unknown
members are refused, and a document holds the schemas that it refers to and no others.
"""

import inspect
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import yaml
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler

from adapters import openapi as agency_contract
from adapters.registry import kinds
from gateway.app import create_app
from gateway.problems import MEDIA_TYPE, Problem
from gateway.settings import Settings

FOLDER = Path("openapi")
REFERENCE = "#/components/schemas/"


class Audience(NamedTuple):
    """Who a document is for: which routes it holds, and what all of them have in common."""

    title: str
    description: str
    prefixes: tuple[str, ...]


AUDIENCES: Mapping[str, Audience] = {
    "citizen": Audience(
        "onestop for citizens",
        "What the portal calls. A session cookie says who asks; a change needs the session's CSRF token in "
        "`X-CSRF-Token`, a POST that creates or moves something an `Idempotency-Key`, a change of something "
        "editable its ETag in `If-Match`. Texts are in zh-TW, or in English by `Accept-Language`.",
        ("/api/v1", "/login", "/logout"),
    ),
    "agency": Audience(
        "onestop for agency systems",
        "What agencies call. Every request is signed (RFC 9421) with a key that is registered for the agency, "
        "over method, URL and content digest; every request may be repeated.",
        ("/agency/v1",),
    ),
    "oauth": Audience(
        "onestop for verifiers of its tokens",
        "Public keys and status lists. Open to anyone.",
        ("/oauth",),
    ),
    "verify": Audience(
        "onestop for whoever was shown a document",
        "Whether a document is genuine and still holds, and the keys to verify it offline. Open to anyone.",
        ("/verify", "/.well-known"),
    ),
}


def documents() -> dict[str, dict[str, Any]]:
    """All documents by file name within the folder."""
    app = create_app(Settings())
    found = {f"{name}.yaml": _document(app, audience) for name, audience in AUDIENCES.items()}
    return found | {f"agencies/{kind}.yaml": agency_contract.document(kind) for kind in kinds()}


def render(document: Mapping[str, Any]) -> str:
    """A document as YAML, the same for the same document."""
    plain = msgspec.to_builtins(document)
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=110)


def write(folder: Path) -> None:
    """Write all documents, and take away what is none any more."""
    files = documents()
    for known in folder.rglob("*.yaml"):
        if str(known.relative_to(folder)) not in files:
            known.unlink()
    for name, document in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(render(document), encoding="utf-8")


def _document(app: Litestar, audience: Audience) -> dict[str, Any]:
    whole = app.openapi_schema.to_schema()
    paths = {path: item for path, item in whole["paths"].items() if path.startswith(audience.prefixes)}
    for item in paths.values():
        for operation in item.values():
            _mend(operation)
    schemas = whole["components"]["schemas"] | _strict_schemas(app) | _schemas_of(Problem)
    return {
        "openapi": whole["openapi"],
        "info": {
            "title": audience.title,
            "description": audience.description,
            "version": whole["info"]["version"],
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {"schemas": _referred_to(paths, schemas)},
    }


def _mend(operation: dict[str, Any]) -> None:
    """Replace the framework's own form of an error by ours."""
    operation["responses"].pop("400", None)
    operation["responses"]["default"] = {
        "description": "A problem document (RFC 9457); with 422, `errors` lists all that is wrong.",
        "content": {MEDIA_TYPE: {"schema": {"$ref": REFERENCE + "Problem"}}},
    }


def _strict_schemas(app: Litestar) -> dict[str, Any]:
    """Schemas of all request bodies, from the structs themselves: the framework's own leave out strictness."""
    schemas: dict[str, Any] = {}
    for route in app.routes:
        for handler in getattr(route, "route_handlers", []):
            if isinstance(handler, HTTPRouteHandler):
                field = handler.parsed_fn_signature.parameters.get("data")
                if field is not None and inspect.isclass(field.annotation):
                    schemas |= _schemas_of(field.annotation)
    return schemas


def _schemas_of(type_: type) -> dict[str, Any]:
    _, schemas = msgspec.json.schema_components([type_], ref_template=REFERENCE + "{name}")
    return schemas


def _referred_to(paths: Mapping[str, Any], schemas: Mapping[str, Any]) -> dict[str, Any]:
    """The schemas that the paths refer to, and those that these refer to."""
    found: dict[str, Any] = {}
    waiting = list(_references(paths))
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = schemas[name]
            waiting.extend(_references(schemas[name]))
    return dict(sorted(found.items()))


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        if isinstance(reference := value.get("$ref"), str):
            yield reference.removeprefix(REFERENCE)
        for member in value.values():
            yield from _references(member)
    elif isinstance(value, list):
        for member in value:
            yield from _references(member)


if __name__ == "__main__":
    if not FOLDER.is_dir():
        sys.exit("openapi/ is not here: run this in the checkout's own folder")
    write(FOLDER)
