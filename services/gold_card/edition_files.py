"""The files of the editions, as plain members.

An edition that is `like` another (said in its `edition.toml`) states only what differs, so that the difference
is what one reads: tables are laid over the other's member by member, entries of a list over those with the same
`id`, and `without` names entries by list and id that it does not have. A file that it lacks is the other's.
"""

from collections.abc import Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

import msgspec


def ids() -> list[str]:
    """The ids of all editions, in no order."""
    return [folder.name for folder in _folder().iterdir() if folder.is_dir()]


def content(edition_id: str, name: str) -> dict[str, Any]:
    """What the file `name`.toml of an edition says, with what it leaves to the edition it is like."""
    own = _file(edition_id, name)
    like = _file(edition_id, "edition").get("like")
    return own if like is None else _laid_over(content(like, name), own)


def _folder() -> Traversable:
    return files("services.gold_card").joinpath("editions")


def _file(edition_id: str, name: str) -> dict[str, Any]:
    """A file as it is; empty where the edition has none of this name."""
    path = _folder().joinpath(edition_id, f"{name}.toml")
    return msgspec.toml.decode(path.read_bytes(), type=dict[str, Any]) if path.is_file() else {}


def _laid_over(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    stated = {name: value for name, value in own.items() if name not in {"like", "without"}}
    merged = {**base, **{name: _over(base.get(name), value) for name, value in stated.items()}}
    for name, absent in own.get("without", {}).items():
        merged[name] = [entry for entry in merged[name] if entry["id"] not in absent]
    return merged


def _over(base: Any, own: Any) -> Any:
    """Tables member by member, lists of tables with an id entry by entry; anything else as a whole."""
    if isinstance(base, dict) and isinstance(own, dict):
        return {**base, **own}
    if isinstance(base, list) and base and isinstance(base[0], dict) and "id" in base[0]:
        entries = {entry["id"]: entry for entry in base}
        for entry in own:
            entries[entry["id"]] = {**entries.get(entry["id"], {}), **entry}
        return list(entries.values())
    return own
