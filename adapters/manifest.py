"""What an agency kind is, and where its instances live: two files that are checked before they are believed.

`adapters/<kind>/manifest.toml` travels with the code: who looks after the adapter, on which law the agency
acts, its instances, which operations carry personal data, and the limits of every request to it. It is
checked against the folder it stands in and against the operations of its adapter.

`quality.toml` beside it says of every rule of `QUALITY_RULES` whether it is done, still to do, or exempt, and
why. The deployment file belongs to one environment: endpoint and pinned keys of each instance.
"""

import ipaddress
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal, TypeVar
from urllib.parse import urlsplit

import msgspec

from adapters.contract import Operation, OperationKind
from adapters.errors import Misconfigured

T = TypeVar("T")
FILE_BYTES_MAX = 256 * 1024
Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=400)]
Thumbprint = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{43}$")]

QUALITY_RULES: Mapping[str, str] = {
    "strict-wire": "every request and answer is a frozen struct that refuses unknown members",
    "least-data": "each data operation carries only fields that its law names",
    "cited-ground": "each control operation and the manifest cite the law they rest on",
    "sandbox": "a sandbox serves the whole contract and passes the contract suite",
    "both-languages": "titles are given in zh-TW and in English",
    "real-interface": "the wire format was compared with the agency's published interface",
}


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of the structs read from a file: unknown members are refused."""


class Title(_Strict, frozen=True):
    """A name that people read."""

    zh_tw: Text = msgspec.field(name="zh-TW")
    en: Text


class Instance(_Strict, frozen=True):
    """One agency of the kind."""

    name: Name
    title: Title


class OperationNames(_Strict, frozen=True):
    """Which operations carry personal data, and which do not."""

    data: tuple[Name, ...]
    control: tuple[Name, ...]


class Limits(_Strict, frozen=True):
    """The bounds of every request to one instance.

    `timeout_seconds` is for the whole exchange; `concurrency_max` counts exchanges at once;
    `answer_bytes_max` counts raw bytes.
    """

    timeout_seconds: Annotated[float, msgspec.Meta(gt=0, le=60)]
    concurrency_max: Annotated[int, msgspec.Meta(ge=1, le=256)]
    answer_bytes_max: Annotated[int, msgspec.Meta(ge=1024, le=16 * 1024 * 1024)]
    requests_per_second: Annotated[float, msgspec.Meta(gt=0, le=10_000)]


class Manifest(_Strict, frozen=True):
    """One agency kind; see the module."""

    id: Name
    owner: Text
    law: Annotated[tuple[Text, ...], msgspec.Meta(min_length=1)]
    title: Title
    instances: Annotated[tuple[Instance, ...], msgspec.Meta(min_length=1, max_length=1000)]
    operations: OperationNames
    limits: Limits

    @property
    def agencies(self) -> Mapping[str, Instance]:
        """Instances by agency name: the kind's own name for its only instance, else `kind:instance`."""
        if [instance.name for instance in self.instances] == [self.id]:
            return {self.id: self.instances[0]}
        return {f"{self.id}:{instance.name}": instance for instance in self.instances}


class Quality(_Strict, frozen=True):
    """Where one adapter stands with one rule; `reason` is required unless it is done."""

    status: Literal["done", "todo", "exempt"]
    reason: str = ""


class Deployment(_Strict, frozen=True):
    """Where one instance lives in this environment.

    `endpoint` is also its audience in tokens. Of the keys under `jwks_url` only those whose RFC 7638
    thumbprints are pinned here are believed.
    """

    endpoint: str
    jwks_url: str
    thumbprints: Annotated[tuple[Thumbprint, ...], msgspec.Meta(min_length=1, max_length=16)]


class _Deployments(_Strict, frozen=True):
    agencies: dict[str, Deployment]


def read_manifest(content: bytes, folder: str, operations: Mapping[str, Operation]) -> Manifest:
    """The manifest of the kind in `folder`, whose adapter has these operations. Raises Misconfigured."""
    where = f"adapters/{folder}/manifest.toml"
    manifest = _decode(content, Manifest, where)
    if manifest.id != folder:
        raise Misconfigured(f"{where}: its id '{manifest.id}' is not the name of its folder")
    if len(manifest.agencies) != len(manifest.instances):
        raise Misconfigured(f"{where}: an instance is named twice")
    declared = {
        OperationKind.DATA: manifest.operations.data,
        OperationKind.CONTROL: manifest.operations.control,
    }
    for kind, names in declared.items():
        actual = sorted(name for name, operation in operations.items() if operation.kind is kind)
        if sorted(names) != actual:
            raise Misconfigured(
                f"{where}: {kind} operations are {_listed(names)} here and {_listed(actual)} in the adapter"
            )
    return manifest


def read_quality(content: bytes, folder: str) -> Mapping[str, Quality]:
    """Where the kind stands with every quality rule. Raises Misconfigured."""
    where = f"adapters/{folder}/quality.toml"
    quality = _decode(content, dict[str, Quality], where)
    if quality.keys() != QUALITY_RULES.keys():
        raise Misconfigured(f"{where}: it lists {_listed(quality)} instead of {_listed(QUALITY_RULES)}")
    for rule, standing in quality.items():
        if standing.status != "done" and not standing.reason.strip():
            raise Misconfigured(f"{where}: '{rule}' is {standing.status} without a reason")
    return quality


def load_deployments(path: Path) -> Mapping[str, Deployment]:
    """The deployments of an environment by agency name. Raises Misconfigured."""
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise Misconfigured(f"{path}: the deployment file cannot be read ({error.strerror})") from error
    deployments = _decode(content, _Deployments, str(path)).agencies
    for name, deployment in deployments.items():
        for member in ("endpoint", "jwks_url"):
            fault = _fault_of_address(getattr(deployment, member))
            if fault:
                raise Misconfigured(f"{path}: the {member} of '{name}' {fault}")
    if len({deployment.endpoint for deployment in deployments.values()}) != len(deployments):
        raise Misconfigured(f"{path}: two agencies have the same endpoint, so that a token would fit both")
    return deployments


def _fault_of_address(address: str) -> str:
    """What is wrong with an address that we are to call; empty when nothing is."""
    if not re.fullmatch(r"[!-~]{1,500}", address):
        return "is not a printable ASCII address of at most 500 characters"
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname or "", parts.port  # reading the port checks it
    except ValueError:
        return "is not an address"
    if parts.scheme not in {"http", "https"} or not host:
        return "does not begin with https:// and a host"
    if parts.scheme == "http" and not _is_loopback(host):
        return "is plain http to another machine; only https leaves this one"
    if "@" in parts.netloc or parts.query or parts.fragment or address.endswith("/"):
        return "has a user, a query, a fragment or a slash at its end"
    return ""


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _decode(content: bytes, kind: type[T], where: str) -> T:
    if len(content) > FILE_BYTES_MAX:
        raise Misconfigured(f"{where}: the file is larger than {FILE_BYTES_MAX} bytes")
    try:
        return msgspec.toml.decode(content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Misconfigured(f"{where}: {error}") from error


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
