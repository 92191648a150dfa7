"""Manifests, quality files and deployment files: the real ones hold, and each fault stops the start."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from adapters import registry
from adapters.contract import Operation, OperationKind
from adapters.errors import Misconfigured
from adapters.manifest import QUALITY_RULES, load_deployments, read_manifest, read_quality

KINDS = sorted(registry.kinds())
ADAPTERS = Path(registry.__file__).parent
PIN = "A" * 43

MANIFEST: dict[str, Any] = {
    "id": "nia",
    "owner": "somebody",
    "law": ["some law §1"],
    "title": {"zh-TW": "署", "en": "Agency"},
    "operations": {"data": ["residence"], "control": ["notice"]},
    "limits": {
        "timeout_seconds": 10,
        "concurrency_max": 4,
        "answer_bytes_max": 65536,
        "requests_per_second": 10,
    },
    "instances": [{"name": "nia", "title": {"zh-TW": "署", "en": "Agency"}}],
}


class Nothing(msgspec.Struct):
    """A wire struct of no interest."""


def operation(name: str, kind: OperationKind) -> Operation:
    """An operation of which only name and kind matter."""
    return Operation(name=name, kind=kind, resource=name, request=Nothing, answer=Nothing)


OPERATIONS = {
    "residence": operation("residence", OperationKind.DATA),
    "notice": operation("notice", OperationKind.CONTROL),
}


def toml(value: dict[str, Any]) -> bytes:
    """A TOML file; inline tables are JSON with `=` for `:`, which is all that we need of the language."""

    def inline(item: Any) -> str:
        if isinstance(item, dict):
            return "{" + ", ".join(f"{inline(key)} = {inline(part)}" for key, part in item.items()) + "}"
        if isinstance(item, list | tuple):
            return "[" + ", ".join(map(inline, item)) + "]"
        return msgspec.json.encode(item).decode()

    return "\n".join(f"{inline(key)} = {inline(item)}" for key, item in value.items()).encode()


def instances(*names: str) -> list[dict[str, Any]]:
    """Instances of these names."""
    return [{"name": name, "title": MANIFEST["title"]} for name in names]


class TestManifest:
    def test_every_folder_with_an_adapter_has_a_manifest(self) -> None:
        assert sorted(path.parent.name for path in ADAPTERS.glob("*/adapter.py")) == KINDS

    def test_the_only_instance_of_its_kinds_name_is_called_by_the_kind(self) -> None:
        manifest = read_manifest(toml(MANIFEST), "nia", OPERATIONS)

        assert list(manifest.agencies) == ["nia"]

    @pytest.mark.parametrize("names", [("moc",), ("moc", "moe"), ("nia", "moe")])
    def test_other_instances_are_called_by_kind_and_instance(self, names: tuple[str, ...]) -> None:
        content = toml(MANIFEST | {"instances": instances(*names)})

        assert list(read_manifest(content, "nia", OPERATIONS).agencies) == [f"nia:{name}" for name in names]

    def test_field_authorities_are_instances_of_one_kind(self) -> None:
        names = registry.kinds()["field_authority"].agencies

        assert {"field_authority:moc", "field_authority:nstc", "field_authority:fsc"} < names.keys()

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"id": "wda"}, "'wda' is not the name of its folder"),
            ({"owner": ""}, "owner"),
            ({"law": []}, "law"),
            ({"title": {"en": "Agency"}}, "zh-TW"),
            ({"surplus": 1}, "surplus"),
            ({"instances": []}, "instances"),
            ({"instances": instances("moc", "moc")}, "named twice"),
            ({"instances": instances("MOC")}, "name"),
            ({"operations": {"data": [], "control": ["notice"]}}, "none here and residence in the adapter"),
            ({"operations": {"data": ["residence", "notice"], "control": []}}, "data operations are notice"),
            ({"operations": {"data": ["residence"], "control": ["notice", "more"]}}, "control operations"),
            ({"limits": MANIFEST["limits"] | {"timeout_seconds": 0}}, "timeout_seconds"),
            ({"limits": MANIFEST["limits"] | {"timeout_seconds": 61}}, "timeout_seconds"),
            ({"limits": MANIFEST["limits"] | {"concurrency_max": 0}}, "concurrency_max"),
            ({"limits": MANIFEST["limits"] | {"answer_bytes_max": 2**40}}, "answer_bytes_max"),
        ],
    )
    def test_a_fault_is_told_in_one_sentence_with_its_place(self, change: dict[str, Any], words: str) -> None:
        with pytest.raises(Misconfigured) as fault:
            read_manifest(toml(MANIFEST | change), "nia", OPERATIONS)

        assert str(fault.value).startswith("adapters/nia/manifest.toml: ")
        assert words in str(fault.value)
        assert "\n" not in str(fault.value)

    @pytest.mark.parametrize("content", [b"= 1", b"\xff", b"x = " + b"[" * 100_000, b"#" * 300_000])
    def test_a_file_that_is_no_toml(self, content: bytes) -> None:
        with pytest.raises(Misconfigured):
            read_manifest(content, "nia", OPERATIONS)


class TestQuality:
    @pytest.mark.parametrize("kind", KINDS)
    def test_every_kind_says_where_it_stands_with_every_rule(self, kind: str) -> None:
        quality = read_quality((ADAPTERS / kind / "quality.toml").read_bytes(), kind)

        assert quality.keys() == QUALITY_RULES.keys()

    @pytest.mark.parametrize("kind", KINDS)
    def test_rule_strict_wire(self, kind: str) -> None:
        for operation_ in registry.operations_of(kind).values():
            for shape in (operation_.request, operation_.answer):
                assert shape.__struct_config__.frozen
                assert shape.__struct_config__.forbid_unknown_fields

    @pytest.mark.parametrize("kind", KINDS)
    def test_rule_cited_ground(self, kind: str) -> None:
        for operation_ in registry.operations_of(kind).values():
            assert bool(operation_.ground) == (operation_.kind is OperationKind.CONTROL)

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"sandbox": {"status": "exempt"}}, "exempt without a reason"),
            ({"sandbox": {"status": "todo", "reason": " "}}, "todo without a reason"),
            ({"sandbox": {"status": "maybe"}}, "maybe"),
            ({"a-rule-of-my-own": {"status": "done"}}, "a-rule-of-my-own"),
        ],
    )
    def test_a_fault_is_told(self, change: dict[str, Any], words: str) -> None:
        quality = {rule: {"status": "done"} for rule in QUALITY_RULES}

        with pytest.raises(Misconfigured) as fault:
            read_quality(toml(quality | change), "nia")

        assert words in str(fault.value)

    def test_a_rule_left_out_is_told(self) -> None:
        with pytest.raises(Misconfigured):
            read_quality(b"", "nia")


def deployment(**changes: Any) -> dict[str, Any]:
    """One agency's deployment."""
    good = {
        "endpoint": "https://nia.example/onestop",
        "jwks_url": "https://nia.example/jwks.json",
        "thumbprints": [PIN],
    }
    return good | changes


class TestDeployments:
    def write(self, folder: Path, agencies: dict[str, Any]) -> Path:
        path = folder / "agencies.toml"
        path.write_bytes(toml({"agencies": agencies}))
        return path

    def test_names_with_a_colon_and_plain_http_on_this_machine(self, tmp_path: Path) -> None:
        local = deployment(endpoint="http://127.0.0.1:8100/field_authority/moc")
        path = self.write(tmp_path, {"field_authority:moc": local, "nia": deployment()})

        deployments = load_deployments(path)

        assert deployments["field_authority:moc"].endpoint == "http://127.0.0.1:8100/field_authority/moc"
        assert deployments["nia"].thumbprints == (PIN,)

    @pytest.mark.parametrize(
        "address",
        [
            "http://nia.example",
            "http://127.0.0.1.nia.example",
            "http://2130706433",
            "ftp://nia.example",
            "file:///etc/passwd",
            "nia.example",
            "",
            "https://",
            "https://user:word@nia.example",
            "https://nia.example/",
            "https://nia.example?x=1",
            "https://nia.example#x",
            "https://nia.example:99999",
            "https://nia.example/a b",
            "https://nia.example/名",
            "https://[::1",
            "https://nia.example/" + "a" * 500,
        ],
    )
    @pytest.mark.parametrize("member", ["endpoint", "jwks_url"])
    def test_addresses_that_we_do_not_call(self, tmp_path: Path, member: str, address: str) -> None:
        path = self.write(tmp_path, {"nia": deployment(**{member: address})})

        with pytest.raises(Misconfigured, match=f"the {member} of 'nia'"):
            load_deployments(path)

    @pytest.mark.parametrize(
        "change",
        [{"thumbprints": []}, {"thumbprints": ["short"]}, {"thumbprints": PIN}, {"surplus": 1}],
    )
    def test_keys_are_pinned(self, tmp_path: Path, change: dict[str, Any]) -> None:
        with pytest.raises(Misconfigured):
            load_deployments(self.write(tmp_path, {"nia": deployment(**change)}))

    def test_two_agencies_are_not_one_audience(self, tmp_path: Path) -> None:
        with pytest.raises(Misconfigured, match="same endpoint"):
            load_deployments(self.write(tmp_path, {"nia": deployment(), "wda": deployment()}))

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(Misconfigured, match="cannot be read"):
            load_deployments(tmp_path / "none.toml")
