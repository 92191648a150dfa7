"""The command line as an operator meets it: real processes, one sentence for an error, statuses that tell."""

import importlib
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from gateway.cli import COMMANDS, main

ONESTOP = Path(sys.executable).with_name("onestop")
SECONDS_MAX = 60


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Settings of a laptop, in a folder of the test's own."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    agencies = tmp_path / "var" / "sandbox" / "agencies.toml"
    agencies.parent.mkdir(parents=True)
    agencies.write_text("[agencies]\n")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ONESTOP_")}
    return kept | {
        "PWD": str(tmp_path),
        "ONESTOP_BIND_PORT": port,
        "ONESTOP_PUBLIC_URL": f"http://127.0.0.1:{port}",
    }


def run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ONESTOP, *arguments],
        cwd=environment["PWD"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
    )


@contextmanager
def running(environment: dict[str, str], *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that runs until the block ends, and is ready when it begins."""
    with (Path(environment["PWD"]) / "log").open("wb") as log:
        process = subprocess.Popen([ONESTOP, *arguments], cwd=environment["PWD"], env=environment, stderr=log)
    try:
        wait_for(lambda: status_of(environment, "/health/ready") == 200)
        yield process
    finally:
        process.kill()
        process.wait(SECONDS_MAX)


def status_of(environment: dict[str, str], path: str) -> int | None:
    """Status of a GET; None while nobody listens."""
    try:
        with urllib.request.urlopen(environment["ONESTOP_PUBLIC_URL"] + path, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


def started(environment: dict[str, str]) -> list[int]:
    """Processes that a supervisor has started so far, by its log."""
    text = (Path(environment["PWD"]) / "log").read_text()
    return [
        int(number) for number in re.findall('"process":([0-9]+),"event":"gateway process started"', text)
    ]


def wait_for(condition: Callable[[], object]) -> None:
    give_up_at = time.monotonic() + SECONDS_MAX
    while not condition():
        assert time.monotonic() < give_up_at
        time.sleep(0.1)


def assert_one_sentence(finished: subprocess.CompletedProcess[str], *words: str) -> None:
    assert finished.returncode == 1
    assert re.fullmatch(r"Error: [^\n]+\.\n", finished.stderr), finished.stderr
    for word in words:
        assert word in finished.stderr


def leaves() -> Iterator[list[str]]:
    """Every command that does something, by the words that call it."""
    for name, place in COMMANDS.items():
        module, _, attribute = place.partition(":")
        command = getattr(importlib.import_module(module), attribute)
        yield from (
            ([name, child] for child in command.commands) if isinstance(command, click.Group) else [[name]]
        )


@pytest.mark.parametrize("command", leaves(), ids=" ".join)
def test_command_explains_itself_with_an_example(command: Sequence[str]) -> None:
    shown = CliRunner().invoke(main, [*command, "--help"])

    assert shown.exit_code == 0
    assert f"onestop {' '.join(command)}" in shown.output.partition("Example:")[2]


@pytest.mark.parametrize("command", [["serve"], ["audit", "verify"]])
def test_bad_setting_is_one_sentence(environment: dict[str, str], command: Sequence[str]) -> None:
    environment["ONESTOP_DATABASE_URL"] = "mysql://me:hunter2@db/onestop"

    finished = run(environment, *command)

    assert_one_sentence(finished, "ONESTOP_DATABASE_URL", "mysql")
    assert "hunter2" not in finished.stderr


@pytest.mark.parametrize("command", [["worker"], ["audit", "verify"]])
def test_database_without_tables_is_one_sentence(environment: dict[str, str], command: Sequence[str]) -> None:
    assert_one_sentence(run(environment, *command), "onestop migrate")


def test_unreachable_database_is_one_sentence_without_its_password(environment: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment["ONESTOP_DATABASE_URL"] = f"postgresql://me:hunter2@127.0.0.1:{port}/onestop"
    environment["ONESTOP_SECOND_STORE_URL"] = f"postgresql://me:hunter2@127.0.0.1:{port}/second"

    finished = run(environment, "migrate")

    assert_one_sentence(finished, "database")
    assert "hunter2" not in finished.stderr


def test_address_in_use_is_one_sentence(environment: dict[str, str]) -> None:
    run(environment, "migrate")
    with socket.create_server(("127.0.0.1", int(environment["ONESTOP_BIND_PORT"]))):
        finished = run(environment, "serve")

    assert_one_sentence(finished, environment["ONESTOP_BIND_PORT"])


def test_migrate_may_be_repeated(environment: dict[str, str]) -> None:
    for _ in range(2):
        finished = run(environment, "migrate")
        assert (finished.returncode, finished.stderr) == (0, "")


def test_served_gateway_stops_gracefully_and_keeps_no_port(environment: dict[str, str]) -> None:
    run(environment, "migrate")
    with running(environment, "serve") as process:
        process.send_signal(signal.SIGTERM)
        draining = status_of(environment, "/health/ready")

        assert process.wait(SECONDS_MAX) == 0
    assert draining == 503
    assert status_of(environment, "/health/live") is None


def test_dead_gateway_process_is_replaced_and_all_stop_together(environment: dict[str, str]) -> None:
    run(environment, "migrate")
    with running(environment, "serve", "--workers", "2") as process:
        os.kill(started(environment)[0], signal.SIGKILL)
        wait_for(lambda: len(started(environment)) == 3)
        wait_for(lambda: status_of(environment, "/health/ready") == 200)
        process.send_signal(signal.SIGTERM)

        assert process.wait(SECONDS_MAX) == 0
    assert status_of(environment, "/health/live") is None


def test_gateway_processes_end_with_their_supervisor(environment: dict[str, str]) -> None:
    run(environment, "migrate")
    with running(environment, "serve", "--workers", "2") as process:
        process.kill()
        process.wait(SECONDS_MAX)
        wait_for(lambda: status_of(environment, "/health/live") is None)


def test_audit_says_where_a_changed_byte_is(environment: dict[str, str]) -> None:
    run(environment, "migrate")
    with running(environment, "serve"):
        pass
    database = sqlite3.connect(Path(environment["PWD"]) / "var" / "onestop.sqlite")
    assert run(environment, "audit", "verify").returncode == 0

    with database:
        database.execute("INSERT INTO log_entry (idx, event_id, leaf) VALUES (0, ?, ?)", ("0" * 32, b"x"))
    database.close()

    assert_one_sentence(run(environment, "audit", "verify"), "does not verify")


def test_doctor_names_each_fault(environment: dict[str, str]) -> None:
    run(environment, "migrate")
    keys = Path(environment["PWD"]) / "var" / "keys"
    keys.mkdir(mode=0o755)

    finished = run(environment, "doctor")

    assert finished.returncode == 1
    assert re.search("^ok     database: ", finished.stdout, re.MULTILINE)
    assert re.search("^FAULT  keys: .*755", finished.stdout, re.MULTILINE)
    assert "checks failed" in finished.stderr


def test_worker_stops_when_told(environment: dict[str, str]) -> None:
    run(environment, "migrate")
    with subprocess.Popen(
        [ONESTOP, "worker"], cwd=environment["PWD"], env=environment, stderr=subprocess.PIPE
    ) as process:
        assert process.stderr is not None
        assert b"worker started" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)

        assert process.wait(SECONDS_MAX) == 0
