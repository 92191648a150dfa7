"""The application of `cases.yaml`, whole or changed, and the edition it is for."""

import copy
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any

import pytest
import yaml

from services.gold_card.edition import Edition, editions

Change = Callable[..., dict[str, Any]]


@pytest.fixture
def changed() -> Change:
    """Makes the application with members changed by pointer; None takes a member out."""
    cases = yaml.safe_load(files("services.gold_card").joinpath("cases.yaml").read_text("utf-8"))

    def change(changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
        document: dict[str, Any] = copy.deepcopy(cases["application"])
        for pointer, value in (changes or {}).items():
            *parents, name = pointer.split("/")[1:]
            part = document
            for parent in parents:
                part = part[parent]
            if value is None:
                part.pop(name)
            else:
                part[name] = value
        return document

    return change


@pytest.fixture
def edition() -> Edition:
    """The edition of 2021-10-25."""
    return editions()["2021-10-25"]


@pytest.fixture
def first() -> Edition:
    """The edition of 2018-02-08."""
    return editions()["2018-02-08"]


@pytest.fixture(params=list(editions()))
def each(request: pytest.FixtureRequest) -> Edition:
    """Every edition in turn."""
    return editions()[request.param]
