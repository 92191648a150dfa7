"""The catalogue: which services there are, found and checked; what each of them asks, shows and costs.

A service is a folder with a `service.toml`; the folder's name is its id. Found once, checked before it is
believed: an unknown agency or a purpose without a bound stops the start. What a service's page needs comes
from the service's own module `description`, loaded by name, so that no service is known here.
"""

import datetime as dt
import importlib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Annotated, Any

import msgspec

from consent.errors import CeilingExceeded
from consent.model import BasisKind, LawfulBasis
from services.errors import ServiceNotFound
from services.forms import Layout
from services.text import Text

Bound = Annotated[int, msgspec.Meta(ge=1, le=10_000)]
Identifier = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_]{1,39}$")]


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of what is read from a `service.toml`."""


class Purpose(_Strict, frozen=True, kw_only=True):
    """The most that may be asked for one purpose: fields, days of validity, calls, days of keeping."""

    code: str
    text: Text
    kinds: tuple[BasisKind, ...]
    fields_max: Bound
    valid_days_max: Bound
    uses_max: Bound
    keep_days_max: Bound

    def check(self, basis: LawfulBasis) -> None:
        """Raise CeilingExceeded, with the pointer of the member at fault, when a basis asks for more."""
        if basis.kind not in self.kinds:
            raise CeilingExceeded("/kind", "the purpose does not allow this kind of basis")
        if basis.expires_at - basis.not_before > dt.timedelta(days=self.valid_days_max):
            raise CeilingExceeded("/expires_at", f"at most {self.valid_days_max} days are allowed")
        for n, grant in enumerate(basis.grants):
            if len(grant.fields) > self.fields_max:
                raise CeilingExceeded(f"/grants/{n}/fields", f"at most {self.fields_max} fields are allowed")
            if grant.max_uses is None or grant.max_uses > self.uses_max:
                raise CeilingExceeded(f"/grants/{n}/max_uses", f"at most {self.uses_max} uses are allowed")


class ServiceInfo(_Strict, frozen=True, kw_only=True):
    """A service as the catalogue knows it."""

    id: Identifier
    title: Text
    summary: Text
    owner: Annotated[str, msgspec.Meta(min_length=1)]
    law: tuple[str, ...]
    agencies: tuple[str, ...]
    purposes: tuple[Purpose, ...]

    def purpose(self, code: str) -> Purpose:
        """A purpose of the service. Raises KeyError."""
        for purpose in self.purposes:
            if purpose.code == code:
                return purpose
        raise KeyError(code)


class Choice(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One value of an option list; `title` is absent where every platform knows the word (countries).

    `under` names the value of another list that this one belongs to (a clause of a field).
    """

    value: str | int
    title: Text | None = None
    under: str = ""
    open: bool = True


class NeededDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A document that the law asks for, and how it is got (`bytes_max` in bytes, 0 where none is uploaded)."""

    slot: str
    title: Text
    how: tuple[str, ...]
    article: str
    optional: bool
    required_when: dict[str, Any] | None
    fetched_from: str
    media_types: tuple[str, ...]
    bytes_max: int
    needs_translation: bool


class ServiceDescription(msgspec.Struct, frozen=True, kw_only=True):
    """All that a client needs to show a service: `form` is a JSON Schema, notices by id and language."""

    id: str
    title: Text
    summary: Text
    edition: str
    effective_from: dt.date
    verified_until: dt.date
    warnings: tuple[Text, ...]
    form: dict[str, Any]
    layout: Layout
    options: dict[str, tuple[Choice, ...]]
    documents: tuple[NeededDocument, ...]
    notices: dict[str, dict[str, dict[str, Any]]]
    fees: Any
    periods: tuple[dict[str, Any], ...]
    states: dict[str, Text]


@cache
def catalog() -> Mapping[str, ServiceInfo]:
    """All services by id. Raises ValueError, naming the folder, when one is not in order."""
    folders = [folder for folder in files("services").iterdir() if folder.joinpath("service.toml").is_file()]
    return {
        folder.name: _checked(folder.name, folder.joinpath("service.toml").read_bytes())
        for folder in sorted(folders, key=lambda folder: folder.name)
    }


def service_info(service_id: str) -> ServiceInfo:
    """A service. Raises ServiceNotFound."""
    try:
        return catalog()[service_id]
    except KeyError:
        raise ServiceNotFound("there is no such service") from None


def schema_document(service_id: str, legal_date: dt.date, edition_id: str = "") -> ServiceDescription:
    """What `/api/v1/services/{id}` answers, for an edition or else for the one in force on a day.

    Raises ServiceNotFound, or NotAllowed when there is no such edition.
    """
    info = service_info(service_id)
    module = importlib.import_module(f"services.{info.id}.description")
    described: ServiceDescription = module.describe(info, legal_date, edition_id)
    return described


def _checked(folder: str, raw: bytes) -> ServiceInfo:
    try:
        info = msgspec.toml.decode(raw, type=ServiceInfo)
    except msgspec.DecodeError as error:
        raise ValueError(f"services/{folder}/service.toml: {error}") from error
    if info.id != folder:
        raise ValueError(f"services/{folder}/service.toml: the id must be the folder's name")
    for agency in info.agencies:
        if not files("adapters").joinpath(agency, "adapter.py").is_file():
            raise ValueError(f"services/{folder}/service.toml: there is no agency kind '{agency}'")
    codes = [purpose.code for purpose in info.purposes]
    if len(set(codes)) != len(codes) or not all(code.startswith(f"{folder}.") for code in codes):
        raise ValueError(
            f"services/{folder}/service.toml: purpose codes must be unique and begin with '{folder}.'"
        )
    return info
