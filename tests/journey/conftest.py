"""Whole installations for the tests of this folder."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from gateway.applicant import Applicant
from tests.conftest import Cluster
from tests.journey.world import World


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """An installation that the tests of a module share, once on each database."""
    folder = tmp_path_factory.mktemp("world")
    if request.param == "sqlite":
        made = World(folder, f"sqlite:///{folder}/onestop.sqlite", f"sqlite:///{folder}/second.sqlite")
    else:
        cluster: Cluster = request.getfixturevalue("postgres")
        made = World(folder, cluster.create_database(), cluster.create_database())
    yield from _running(made, workers=1)


@pytest.fixture(params=["sqlite", "postgresql"])
def own_world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """An installation that one test may break, once on each database; two workers on PostgreSQL."""
    if request.param == "sqlite":
        made = World(tmp_path, f"sqlite:///{tmp_path}/onestop.sqlite", f"sqlite:///{tmp_path}/second.sqlite")
    else:
        cluster: Cluster = request.getfixturevalue("postgres")
        made = World(tmp_path, cluster.create_database(), cluster.create_database())
    yield from _running(made, workers=2)


@pytest.fixture
async def ada(world: World) -> AsyncIterator[Applicant]:
    """Ada, logged in; the sandboxes behave until the test tells them otherwise."""
    await world.clear_faults()
    async with world.applicant() as person:
        await person.log_in("ada")
        yield person


def _running(world: World, workers: int) -> Iterator[World]:
    try:
        world.start(workers)
        yield world
    finally:
        world.stop()
