"""The OpenAPI 3.1 document of an agency kind, made from its operations: what that agency is to implement.

The document is generated, never written: the wire structs are the source, and a test compares the checked-in
copy with this. A request is the contract's `Request` with `data` of the operation's own shape; likewise a
`Reply`. `data` is open in replies on the wire, since over-delivery is dropped and logged, not refused; the
document still states the exact shape, so that a conforming agency delivers nothing beyond it.
"""

import inspect
from collections.abc import Iterable
from typing import Any

import msgspec

from adapters.contract import Operation, Reply, Request
from adapters.registry import kinds, operations_of

OPENAPI_VERSION = "3.1.0"
CONTRACT_VERSION = "1.0.0"
JSON = "application/json"

_HEADERS = {
    "Authorization": "`DPoP` and an access token for this agency and call alone (RFC 9068, RFC 9449).",
    "DPoP": "Proof that the sender holds the token's key (RFC 9449).",
    "Idempotency-Key": "The id of the call. The same id again has the same answer and no second effect.",
    "Content-Digest": "SHA-256 of the body (RFC 9530).",
    "Signature-Input": "ES256 over method, URL and all headers above, tag `onestop`, 60 s (RFC 9421).",
    "Signature": "See Signature-Input (RFC 9421).",
}
_FAULTS = {
    "401": "Token, proof or signature is not acceptable.",
    "403": "The token's fields or purpose do not cover the request.",
    "409": "The call was made before and cannot be made again.",
    "422": "The request is not of this form, or its call id was used with another body.",
    "429": "Too many requests; Retry-After says when to come back.",
    "503": "Out of service; Retry-After says until when.",
}


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """A problem document (RFC 9457). The last segment of `type` is the code that callers act on."""

    type: str
    title: str
    status: int
    detail: str = ""


def document(kind: str) -> dict[str, Any]:
    """The document of one agency kind as plain JSON values. Raises KeyError for an unknown kind."""
    manifest = kinds()[kind]
    operations = operations_of(kind)
    paths: dict[str, Any] = {}
    for name in sorted(operations):
        paths |= _paths(operations[name])
    whole = {
        "openapi": OPENAPI_VERSION,
        "info": {
            "title": manifest.title.en,
            "summary": manifest.title.zh_tw,
            "description": f"Law: {'; '.join(manifest.law)}.",
            "version": CONTRACT_VERSION,
        },
        "servers": [{"url": "{endpoint}", "variables": {"endpoint": {"default": "https://agency.example"}}}],
        "paths": paths,
        "components": {
            "schemas": _schemas(operations.values()),
            "parameters": _parameters(),
            "responses": {f"Fault{status}": _fault(text) for status, text in _FAULTS.items()},
        },
    }
    # Through JSON and back: plain values, no two places sharing one object (YAML would write anchors).
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(whole))
    return plain


def _paths(operation: Operation) -> dict[str, Any]:
    """Submit, query and cancel of one operation."""
    camel = _camel(operation.name)
    reply = {"content": {JSON: {"schema": _schema_ref(f"{camel}Reply")}}}
    ground = f"Ground: {operation.ground}." if operation.ground else "Takes a lawful basis."
    signed = [{"$ref": f"#/components/parameters/{name}"} for name in _HEADERS]
    call = [{"$ref": "#/components/parameters/call"}]
    faults = {status: {"$ref": f"#/components/responses/Fault{status}"} for status in _FAULTS}
    path = f"/operations/{operation.name}"
    return {
        path: {
            "post": {
                "operationId": operation.name,
                "summary": f"{operation.resource} ({operation.kind})",
                "description": ground,
                "parameters": signed,
                "requestBody": {
                    "required": True,
                    "content": {JSON: {"schema": _schema_ref(f"{camel}Call")}},
                },
                "responses": {
                    "200": {"description": "Answered.", **reply},
                    "202": {"description": "Accepted; the answer comes by callback or query.", **reply},
                    **faults,
                },
                "callbacks": {"answer": {"{$request.body#/callback}": {"post": _callback(reply)}}},
            }
        },
        f"{path}/{{call}}": {
            "get": {
                "operationId": f"{operation.name}_status",
                "summary": "What became of a call",
                "parameters": call + signed,
                "responses": {
                    "200": {"description": "The reply as it stands.", **reply},
                    "404": _fault("This call was never received, and may be sent again."),
                    **faults,
                },
            }
        },
        f"{path}/{{call}}/cancel": {
            "post": {
                "operationId": f"{operation.name}_cancel",
                "summary": "Take a call back",
                "parameters": call + signed,
                "responses": {"202": {"description": "Taken back."}, **faults, "409": _fault("Too late.")},
            }
        },
    }


def _callback(reply: dict[str, Any]) -> dict[str, Any]:
    """The agency's own request to us: the same reply, signed with one of its published keys."""
    signature = ("Content-Digest", "Signature-Input", "Signature")
    return {
        "summary": "The answer of a call that was accepted",
        "description": "Signed over @method, @target-uri and content-digest; may be sent more than once.",
        "parameters": [
            {"name": name, "in": "header", "required": True, "schema": {"type": "string"}}
            for name in signature
        ],
        "requestBody": {"required": True, **reply},
        "responses": {"2XX": {"description": "Taken."}, "401": _fault("The signature is not acceptable.")},
    }


def _schemas(operations: Iterable[Operation]) -> dict[str, Any]:
    """All shapes by name, with a call and a reply of its own for each operation."""
    shapes: list[type[msgspec.Struct]] = [Problem]
    for operation in operations:
        camel = _camel(operation.name)
        shapes.append(_envelope(f"{camel}Call", Request, operation.request))
        shapes.append(_envelope(f"{camel}Reply", Reply, operation.answer))
    _, schemas = msgspec.json.schema_components(shapes, ref_template="#/components/schemas/{name}")
    return dict(sorted(schemas.items()))


def _envelope(name: str, general: type[msgspec.Struct], data: type[msgspec.Struct]) -> type[msgspec.Struct]:
    """The general envelope with the operation's own shape as its `data`."""
    members: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    for member in msgspec.structs.fields(general):
        kind = data if member.name == "data" else member.type
        if member.required:
            members.append((member.name, kind))
        elif member.name == "data":
            members.append((member.name, kind | msgspec.UnsetType, msgspec.UNSET))
        else:
            members.append((member.name, kind, member.default))
    namespace = {"__doc__": inspect.getdoc(general)}
    return msgspec.defstruct(name, members, namespace=namespace, kw_only=True, forbid_unknown_fields=True)


def _parameters() -> dict[str, Any]:
    headers = {
        name: {
            "name": name,
            "in": "header",
            "required": True,
            "description": text,
            "schema": {"type": "string"},
        }
        for name, text in _HEADERS.items()
    }
    call = {"name": "call", "in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}}
    return {"call": call} | headers


def _fault(text: str) -> dict[str, Any]:
    return {
        "description": text,
        "content": {"application/problem+json": {"schema": _schema_ref("Problem")}},
    }


def _schema_ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _camel(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))
