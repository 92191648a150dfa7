"""Forms: one typed struct is the JSON Schema, the validator and the type that rules work on.

`Form` takes a frozen msgspec struct. Its JSON Schema (2020-12) refuses unknown members; labels and help in
both languages come from a `Layout`, which is dated data beside the service. Validation is done by the
schema, because it reports all problems at once where decoding stops at the first; decoding comes after.

What a person sends is read strictly first: bounded size and depth, no duplicate members (the last would win
in silence), no NaN, no broken Unicode. A finding names a place and a rule and never repeats what was sent.

A finding is an *error* (the document is not even a draft: unknown member, wrong type, too long), *incomplete*
(a draft may be saved with it, but not submitted) or a *warning* (the person may go on).
"""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, Generic, Literal, TypeVar

import jsonschema_rs
import msgspec

from services.errors import InvalidInput, Problem
from services.text import Text

BYTES_MAX = 64 * 1024
DEPTH_MAX = 8
FINDINGS_MAX = 100
_NAME_CHARACTERS_MAX = 64

# Where the decoder's message says it stopped: "... - at `$.employment[0].from_on`".
_PLACE = re.compile(r"at `\$([^`]*)`$")
_STEP = re.compile(r"[^.\[\]]+")

Severity = Literal["error", "incomplete", "warning"]

_TEXTS: dict[str, tuple[str, Text]] = {
    "type": ("wrong_type", Text("資料型別不正確", "this is not of the right type")),
    "additionalProperties": ("unknown_member", Text("無此欄位", "there is no such field")),
    "required": ("required", Text("此欄位必填", "this field is required")),
    "minLength": ("too_short", Text("至少須 {limit} 個字元", "at least {limit} characters are needed")),
    "maxLength": ("too_long", Text("不得超過 {limit} 個字元", "at most {limit} characters are allowed")),
    "minItems": ("too_few", Text("至少須 {limit} 項", "at least {limit} entries are needed")),
    "maxItems": ("too_many", Text("不得超過 {limit} 項", "at most {limit} entries are allowed")),
    "minimum": ("too_small", Text("不得小於 {limit}", "this must be {limit} or more")),
    "maximum": ("too_large", Text("不得大於 {limit}", "this must be {limit} or less")),
    "enum": ("not_an_option", Text("不在選項之內", "this is not one of the options")),
    "format": ("wrong_format", Text("格式不正確：{format}", "this is not in the format of a {format}")),
    "pattern": ("wrong_format", Text("格式不正確", "this does not have the expected form")),
}
_OTHER = ("invalid", Text("內容不正確", "this is not valid"))
_ERRORS = frozenset({"wrong_type", "unknown_member", "too_long", "too_many", "invalid"})

_UNREADABLE = {
    "too_large": Text(f"不得超過 {BYTES_MAX} 位元組", f"at most {BYTES_MAX} bytes are allowed"),
    "too_deep": Text(
        f"巢狀不得超過 {DEPTH_MAX} 層", f"the content must not be nested over {DEPTH_MAX} levels"
    ),
    "duplicate_member": Text("欄位重複", "a member is given twice"),
    "not_json": Text("不是有效的 JSON", "this is not valid JSON"),
}


class Finding(Problem, frozen=True, kw_only=True):
    """A problem with its weight and, where a rule of law is behind it, the article."""

    severity: Severity = "incomplete"
    article: str = ""


class Condition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Holds when the member at the pointer has one of these values or, with none named, when it is there."""

    pointer: str
    one_of: tuple[str | int | bool, ...] = ()

    def holds(self, document: object) -> bool:
        """Whether it holds in a document, which may be incomplete."""
        value = member(document, self.pointer)
        return value in self.one_of if self.one_of else value is not None


class Field(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How one member is shown; `*` in the pointer stands for any entry of a list.

    `options` names an option list of the edition, `prefill` where a first value may come from.
    """

    pointer: str
    label: Text
    help: Text = Text("", "")
    options: str = ""
    shown_when: Condition | None = None
    prefill: str = ""


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One page of the form."""

    id: str
    title: Text
    fields: tuple[Field, ...]


class Layout(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The pages of a form, in their order."""

    steps: tuple[Step, ...]

    @property
    def fields(self) -> tuple[Field, ...]:
        """All fields of all pages."""
        return tuple(field for step in self.steps for field in step.fields)


class _Unreadable(ValueError):
    """The bytes are not a document; the argument is the code."""


def read(raw: bytes) -> Any:
    """The JSON document in these bytes, read strictly. Raises InvalidInput."""
    try:
        if len(raw) > BYTES_MAX:
            raise _Unreadable("too_large")
        _check_depth(raw)
        document = json.loads(raw.decode(), object_pairs_hook=_members, parse_constant=_no_constant)
        json.dumps(document, ensure_ascii=False).encode()  # a lone surrogate fails here
    except _Unreadable as error:
        code = str(error)
    except (ValueError, RecursionError):
        code = "not_json"
    else:
        return document
    text = _UNREADABLE[code]
    raise InvalidInput(
        [Finding(pointer="", code=code, detail_zh=text.zh, detail_en=text.en, severity="error")]
    )


def _check_depth(raw: bytes) -> None:
    """Count brackets outside strings before any parser recurses."""
    depth, in_string, escaped = 0, False, False
    for byte in raw:
        if in_string:
            in_string = escaped or byte != 0x22
            escaped = not escaped and byte == 0x5C
        elif byte == 0x22:
            in_string = True
        elif byte in b"[{":
            depth += 1
            if depth > DEPTH_MAX:
                raise _Unreadable("too_deep")
        elif byte in b"]}":
            depth -= 1


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _Unreadable("duplicate_member")
    return members


def _no_constant(name: str) -> None:
    raise _Unreadable("not_json")


def member(document: object, pointer: str) -> Any:
    """The value at a JSON pointer of plain member names, None where there is none."""
    value = document
    for name in pointer.split("/")[1:]:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def pointer_of(path: Sequence[str | int]) -> str:
    """A JSON pointer (RFC 6901); names that a sender made up are cut to a bounded length."""
    names = (str(name)[:_NAME_CHARACTERS_MAX] for name in path)
    return "".join("/" + name.replace("~", "~0").replace("/", "~1") for name in names)


T = TypeVar("T", bound=msgspec.Struct)


class Form(Generic[T]):
    """The form of a service: its schema, what is wrong with a document, and the typed form."""

    def __init__(self, struct: type[T]) -> None:
        self._struct = struct
        definitions = msgspec.json.schema(struct)
        self._schema = _inlined(definitions, definitions["$defs"])
        self._validator = jsonschema_rs.Draft202012Validator(
            self._schema, validate_formats=True, offline=True
        )

    def schema(self, layout: Layout) -> dict[str, Any]:
        """The JSON Schema with labels: `title` and `description` in Chinese, both again in `x-en`."""
        labels = {field.pointer: field for field in layout.fields}
        labelled: dict[str, Any] = _labelled(self._schema, "", labels)
        return {"$schema": "https://json-schema.org/draft/2020-12/schema", **labelled}

    @property
    def pointers(self) -> frozenset[str]:
        """Pointers of all members that hold a value, `*` for any entry of a list."""
        return frozenset(_leaves(self._schema, ""))

    def findings(self, document: object) -> list[Finding]:
        """All that is wrong with a document, at most 100, in the order of the form."""
        found: dict[tuple[str, str], Finding] = {}
        for error in self._validator.iter_errors(document):
            for finding in _of(error):
                found.setdefault((finding.pointer, finding.code), finding)
                if len(found) >= FINDINGS_MAX:
                    return list(found.values())
        return list(found.values()) or self._undecodable(document)

    def decode(self, document: object) -> T:
        """The typed form of a complete document. Raises InvalidInput with every finding."""
        findings = self.findings(document)
        if findings:
            raise InvalidInput(findings)
        return msgspec.convert(document, self._struct, strict=True)

    def _undecodable(self, document: object) -> list[Finding]:
        """What keeps a document that fits the schema from being decoded: 3.0 for 3, the date 0000-01-01.

        It is found here and not when decoding, so that a draft with it can be shown and mended.
        """
        try:
            msgspec.convert(document, self._struct, strict=True)
        except msgspec.ValidationError as error:
            place = _PLACE.search(str(error))
            steps = _STEP.findall(place[1]) if place else []
            return [_finding(pointer_of(steps), "convert", {}, "incomplete")]
        return []


def problems(form: Form[Any], raw: bytes | object) -> list[Finding]:
    """All that is wrong with what was sent: bytes are read strictly first, a document is taken as it is."""
    try:
        document = read(raw) if isinstance(raw, bytes) else raw
    except InvalidInput as unreadable:
        return [finding for finding in unreadable.problems if isinstance(finding, Finding)]
    return form.findings(document)


def blocking(findings: Sequence[Finding], *, draft: bool) -> list[Finding]:
    """Those findings with which a draft cannot be saved or, without `draft`, an application not be filed."""
    severities = {"error"} if draft else {"error", "incomplete"}
    return [finding for finding in findings if finding.severity in severities]


def _of(error: jsonschema_rs.ValidationError) -> Iterator[Finding]:
    path, facts = error.instance_path, error.kind.as_dict()
    keyword = error.kind.name
    if keyword == "required":
        yield _finding(pointer_of([*path, facts["property"]]), keyword, facts)
    elif keyword == "additionalProperties":
        for name in facts["unexpected"]:
            yield _finding(pointer_of([*path, name]), keyword, facts)
    elif error.instance == "":
        # A field that was left empty is missing, whatever form it should have had.
        yield _finding(pointer_of(path), "required", facts)
    else:
        yield _finding(pointer_of(path), keyword, facts)


def _finding(pointer: str, keyword: str, facts: dict[str, Any], severity: Severity | None = None) -> Finding:
    code, text = _TEXTS.get(keyword, _OTHER)
    if severity is None:
        severity = "error" if code in _ERRORS else "incomplete"
    said = text.format(limit=facts.get("limit", ""), format=facts.get("format", ""))
    return Finding(pointer=pointer, code=code, detail_zh=said.zh, detail_en=said.en, severity=severity)


def _inlined(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema without references (a form's structs do not recurse) and without Python's names and docs."""
    if "$ref" in schema:
        return _inlined(definitions[schema["$ref"].removeprefix("#/$defs/")], definitions)
    inlined = {key: value for key, value in schema.items() if key not in {"title", "description", "$defs"}}
    if "properties" in schema:
        inlined["properties"] = {
            name: _inlined(value, definitions) for name, value in schema["properties"].items()
        }
    if "items" in schema:
        inlined["items"] = _inlined(schema["items"], definitions)
    return inlined


def _labelled(schema: dict[str, Any], pointer: str, labels: dict[str, Field]) -> dict[str, Any]:
    labelled = dict(schema)
    if pointer in labels:
        field = labels[pointer]
        labelled |= {"title": field.label.zh, "x-en": {"title": field.label.en}}
        if field.help.zh:
            labelled |= {"description": field.help.zh}
            labelled["x-en"] = {**labelled["x-en"], "description": field.help.en}
    if "properties" in schema:
        labelled["properties"] = {
            name: _labelled(value, f"{pointer}/{name}", labels)
            for name, value in schema["properties"].items()
        }
    if "items" in schema:
        labelled["items"] = _labelled(schema["items"], f"{pointer}/*", labels)
    return labelled


def _leaves(schema: dict[str, Any], pointer: str) -> Iterator[str]:
    if "properties" in schema:
        for name, value in schema["properties"].items():
            yield from _leaves(value, f"{pointer}/{name}")
    elif "items" in schema:
        yield from _leaves(schema["items"], f"{pointer}/*")
    else:
        yield pointer
