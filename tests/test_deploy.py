"""What `deploy/` says agrees with the product, and with itself. No container and no unit is started here.

The two gateways and two workers of `compose.yaml` are run in `tests/journey/test_two_gateways.py`.
"""

import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from configparser import RawConfigParser
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from gateway import db, parts, server, settings
from gateway.app import create_app
from gateway.cli import COMMANDS
from gateway.settings import PREFIX, Settings

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: Mapping[str, Mapping[str, Any]] = COMPOSE["services"]
PRODUCT = {name: service for name, service in SERVICES.items() if service["image"].startswith("onestop:")}
GATEWAYS = {name: service for name, service in PRODUCT.items() if service["command"] == ["serve"]}
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
VERSION = re.compile(r":v?\d+\.\d+(\.\d+)?(-[a-z]+)*$|@sha256:[0-9a-f]{64}$")
STOP_SECONDS = max(server.STOP_SECONDS_MAX, parts.STOP_SECONDS_MAX)


def environment_of(service: Mapping[str, Any]) -> dict[str, str]:
    """The environment that Compose gives a container of this service."""
    lines = [line for path in service["env_file"] for line in (DEPLOY / path).read_text().splitlines()]
    given = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    given.update(service.get("environment", {}))
    return given


def settings_of(service: Mapping[str, Any]) -> Settings:
    return settings.load(environment_of(service))


def seconds(text: str) -> int:
    return int(text.removesuffix("s"))


# The image


def test_images_are_pinned_to_a_version() -> None:
    from_dockerfile = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)

    for image in [*from_dockerfile, *(service["image"] for service in SERVICES.values())]:
        assert VERSION.search(image), image


def test_image_has_the_version_of_the_product() -> None:
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version is not None

    assert {service["image"] for service in PRODUCT.values()} == {f"onestop:{version[1]}"}
    assert f"onestop:{version[1]}" in DOCKERFILE


def test_image_runs_as_a_user_of_its_own() -> None:
    [final] = DOCKERFILE.split("\nFROM ")[2:]
    [user] = re.findall(r"^USER (\d+):(\d+)$", final, re.MULTILINE)

    assert 0 not in map(int, user)
    assert final.index("USER") < final.index("ENTRYPOINT")
    assert not any("user" in service or service.get("privileged") for service in PRODUCT.values())


def test_every_package_of_the_image_is_checked_by_its_hash() -> None:
    for install in re.findall(r"^RUN .*\"install\".*$", DOCKERFILE, re.MULTILINE):
        assert "--require-hashes" in install or {'"--no-deps"', '"--no-index"'} <= set(
            re.findall(r'"--[a-z-]+"', install)
        )


def test_image_is_made_from_what_the_wheel_needs_and_nothing_else() -> None:
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    allowed = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    packages = {"src", "services", "adapters", "consent"}
    files = {"pyproject.toml", "README.md", "LICENSE", "requirements.lock", "deploy/healthy.py"}

    assert "*" in ignored
    assert allowed == packages | files
    assert all((ROOT / path).exists() for path in allowed)


class _Answer(http.server.BaseHTTPRequestHandler):
    """Answers like a gateway that serves one host name."""

    def do_GET(self) -> None:
        seen = self.path, self.headers["Host"]
        self.send_response(200 if seen == ("/health/live", "onestop.example") else 421)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing is written."""


@pytest.fixture
def answering() -> Iterator[int]:
    """The port of such a server."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Answer) as made:
        threading.Thread(target=made.serve_forever).start()
        yield made.server_port
        made.shutdown()


@pytest.mark.parametrize(
    ("public_url", "status"), [("https://onestop.example", 0), ("https://other.example", 1)]
)
def test_health_check_tells_a_gateway_that_answers_from_one_that_does_not(
    answering: int, public_url: str, status: int
) -> None:
    environment = {"ONESTOP_PUBLIC_URL": public_url, "ONESTOP_BIND_PORT": str(answering)}
    done = subprocess.run(
        [sys.executable, DEPLOY / "healthy.py"], env=environment, capture_output=True, timeout=30, check=False
    )

    assert done.returncode == status, done.stderr
    assert done.stderr == b""


def test_paths_asked_for_health_exist() -> None:
    paths = {route.path for route in create_app(Settings()).routes}
    asked = re.findall(r"health_uri (\S+)", (DEPLOY / "Caddyfile").read_text())
    asked += re.findall(r'^GATEWAY_PATH = "(.+)"', (DEPLOY / "healthy.py").read_text(), re.MULTILINE)

    assert len(asked) == 2
    assert set(asked) <= paths


# Compose


def test_every_command_of_a_container_exists() -> None:
    last = re.findall(r"^CMD (\[.+\])$", DOCKERFILE, re.MULTILINE)[-1]
    commands = [json.loads(last), *(service["command"] for service in PRODUCT.values())]

    assert {command[0] for command in commands} <= set(COMMANDS)
    assert all(len(command) == 1 for command in commands)


def test_two_gateways_and_two_workers_share_everything_but_a_port() -> None:
    [worker] = [service for service in PRODUCT.values() if service["command"] == ["worker"]]
    ports = [settings_of(gateway).bind_port for gateway in GATEWAYS.values()]
    loaded = {
        msgspec.structs.replace(settings_of(service), bind_port=1)
        for service in [*GATEWAYS.values(), worker, SERVICES["migrate"], SERVICES["sandbox"]]
    }

    assert len(set(ports)) == 2
    assert worker["deploy"]["replicas"] == 2
    assert len(loaded) == 1
    assert not loaded.pop().runs_worker
    assert all(gateway["volumes"] == worker["volumes"] for gateway in GATEWAYS.values())


def test_the_door_leads_to_both_gateways_under_the_public_address() -> None:
    door = (DEPLOY / "Caddyfile").read_text()
    [upstreams] = re.findall(r"reverse_proxy (.+) \{$", door, re.MULTILINE)
    given = environment_of(SERVICES["door"])
    ports = [settings_of(gateway).bind_port for gateway in GATEWAYS.values()]

    assert upstreams.split() == [f"127.0.0.1:{port}" for port in ports]
    assert given["ONESTOP_PUBLIC_URL"] == f"http://{given['DOOR_HOST']}"
    assert set(re.findall(r"\{\$(\w+)\}", door)) == {"ONESTOP_PUBLIC_URL", "DOOR_HOST"}
    for port in SERVICES["door"]["ports"]:
        assert port.startswith("127.0.0.1:")


def test_sandboxes_are_asked_for_by_name_and_see_no_key() -> None:
    sandbox = SERVICES["sandbox"]

    assert sandbox["profiles"] == ["sandbox"]
    assert not any("profiles" in service for name, service in SERVICES.items() if name != "sandbox")
    assert not any(volume.startswith("keys:") for volume in sandbox["volumes"])
    for service in SERVICES.values():
        needs = service.get("depends_on", {}).get("sandbox")
        assert needs is None or needs["required"] is False


def test_containers_may_do_no_more_than_they_need() -> None:
    for name, service in PRODUCT.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["read_only"] is True, name
    for name in ("database", "second-store"):
        assert SERVICES[name]["network_mode"] == "none"
        assert "listen_addresses=" in SERVICES[name]["command"]


def test_every_volume_is_declared_and_every_wait_has_its_bound() -> None:
    named = {volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}

    assert {volume for volume in named if not volume.startswith(".")} == set(COMPOSE["volumes"])
    for name, service in PRODUCT.items():
        assert seconds(service["stop_grace_period"]) > STOP_SECONDS, name
    for name, service in SERVICES.items():
        assert service["logging"]["options"]["max-file"], name


def test_the_databases_have_connections_for_every_process() -> None:
    processes = sum(service.get("deploy", {}).get("replicas", 1) for service in PRODUCT.values())
    most = processes * (db.POOL_SIZE + db.POOL_OVERFLOW + 1)  # one more listens for hints

    for name in ("database", "second-store"):
        [given] = [word for word in SERVICES[name]["command"] if word.startswith("max_connections=")]
        assert int(given.split("=")[1]) > most


# Settings


def test_every_variable_that_is_named_is_a_setting() -> None:
    known = {f"{PREFIX}{field.name.upper()}" for field in msgspec.structs.fields(Settings)}
    for path in [path for path in DEPLOY.rglob("*") if path.is_file()]:
        assert set(re.findall(r"ONESTOP_[A-Z_]+", path.read_text())) <= known, path.name


def test_installations_do_not_share_the_name_of_their_log() -> None:
    names = [
        found[1]
        for path in (DEPLOY / "settings").glob("*.env")
        if (found := re.search(r"^ONESTOP_LOG_ORIGIN=(.+)$", path.read_text(), re.MULTILINE))
    ]

    assert len(names) == len(set(names))


# Units


class _Unit(RawConfigParser):
    """A unit file. A setting may come twice, which is why the last one is kept."""

    def __init__(self, path: Path) -> None:
        super().__init__(strict=False, interpolation=None)
        self.read(path)

    def optionxform(self, optionstr: str) -> str:
        """Names of settings are as they are written."""
        return optionstr


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_unit_runs_a_command_that_exists_with_little_power(path: Path) -> None:
    service = _Unit(path)["Service"]
    program, command = service["ExecStart"].split()

    assert program == "/opt/onestop/bin/onestop"
    assert command in COMMANDS
    assert service["User"] == "onestop"
    assert service["EnvironmentFile"] == "/etc/onestop/onestop.env"
    assert service["CapabilityBoundingSet"] == ""
    assert service["NoNewPrivileges"] == "yes"
    assert service["ProtectSystem"] == "strict"
    assert service["StateDirectoryMode"] == "0700"


def test_units_write_only_where_the_settings_of_an_office_lead() -> None:
    office = settings.load(environment_of({"env_file": ["settings/office.env"]}))

    assert not office.runs_worker
    assert {path.stem for path in UNITS} == {"onestop-gateway", "onestop-worker", "onestop-migrate"}
    for path in UNITS:
        assert office.key_folder.parent == Path("/var/lib") / _Unit(path)["Service"]["StateDirectory"]


@pytest.mark.parametrize("name", ["gateway", "worker"])
def test_unit_lets_a_process_finish_what_it_began(name: str) -> None:
    service = _Unit(DEPLOY / "systemd" / f"onestop-{name}.service")["Service"]

    assert service["KillMode"] == "mixed"  # a second SIGTERM would end a gateway's requests in flight
    assert int(service["TimeoutStopSec"]) > STOP_SECONDS
    assert service["Restart"] == "always"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="this machine has no systemd-analyze")
@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_systemd_understands_the_unit(path: Path, tmp_path: Path) -> None:
    """The program is looked for by systemd, which is why a copy of the unit names one that is here."""
    copy = tmp_path / path.name
    copy.write_text(path.read_text().replace("/opt/onestop/bin/onestop", sys.executable))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(copy)],
        env={"PATH": os.environ["PATH"], "SYSTEMD_LOG_LEVEL": "warning"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    about_it = [line for line in done.stderr.splitlines() if path.name in line]

    assert done.returncode == 0, done.stderr
    assert about_it == []
