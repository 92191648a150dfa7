"""`onestop demo`: what a newcomer runs first."""

import asyncio
import json
import socket
from pathlib import Path

import jsonschema_rs
import pypdf
import pytest

from tests.journey.world import World

SCHEMA = Path(__file__).parent.parent / "schemas" / "summary.schema.json"


@pytest.fixture
def idle_world(tmp_path: Path) -> World:
    """An installation of which nothing runs."""
    return World(tmp_path, f"sqlite:///{tmp_path}/onestop.sqlite", f"sqlite:///{tmp_path}/second.sqlite")


async def test_demo_holds_all_its_checks_and_writes_the_summary(idle_world: World) -> None:
    done = await asyncio.to_thread(
        idle_world.command, "demo", "--once", "--sandbox-port", str(idle_world.sandbox_port)
    )

    assert done.returncode == 0, done.stdout + done.stderr
    output = idle_world.folder / "demo-output"
    summary = json.loads((output / "summary.json").read_bytes())
    jsonschema_rs.validate(json.loads(SCHEMA.read_bytes()), summary)
    assert summary["ok"]
    assert summary["services"]["gold_card"]["state"] == "approved"
    assert summary["log"]["size"] > 20
    [name] = summary["services"]["gold_card"]["documents"]
    assert len(pypdf.PdfReader(output / name).pages) == 1


async def test_demo_refuses_a_port_that_is_taken(idle_world: World) -> None:
    with socket.create_server(("127.0.0.1", idle_world.sandbox_port)):
        done = await asyncio.to_thread(
            idle_world.command, "demo", "--once", "--sandbox-port", str(idle_world.sandbox_port)
        )

    assert done.returncode != 0
    assert done.stderr.strip().endswith("is taken: is another demo or gateway running?")
