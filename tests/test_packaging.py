"""What the repository promises about how it is installed."""

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LOCKS = ("requirements.lock", "requirements-dev.lock")
PIN = re.compile(r"([a-z0-9][a-z0-9._-]*)==([^\s;]+)(?: ; [^\\]+)? \\")
HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}(?: \\)?")


def pins(lock: str) -> dict[str, str]:
    lines = (ROOT / lock).read_text().splitlines()
    return {found[1]: found[2] for line in lines if (found := PIN.fullmatch(line))}


def required(names: list[str]) -> set[str]:
    found = {re.split(r"[\[<>=~! ]", name)[0].lower() for name in names}
    return {re.sub(r"[-_.]+", "-", name) for name in found}


@pytest.mark.parametrize("name", ["adapters", "consent", "gateway", "services"])
def test_import_name_is_ours_alone(name: str) -> None:
    assert set(packages_distributions().get(name, [])) <= {"onestop"}  # empty where it is editable


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_pins_every_file_by_hash_and_names_no_index(lock: str) -> None:
    for line in (ROOT / lock).read_text().splitlines():
        assert PIN.fullmatch(line) or HASH.fullmatch(line), line


def test_lock_covers_every_requirement() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = project["dependency-groups"]
    development = [name for name in groups["dev"] if isinstance(name, str)]

    assert required(project["project"]["dependencies"] + groups["build"]) <= set(pins("requirements.lock"))
    assert required(development) <= set(pins("requirements-dev.lock"))


def test_both_locks_agree() -> None:
    product, development = pins("requirements.lock"), pins("requirements-dev.lock")

    assert product.items() <= development.items()


def test_no_package_of_tests_shadows_the_product() -> None:
    """`tests/consent/__init__.py` would make pytest take that folder for the package `consent`."""
    assert not list((ROOT / "tests").rglob("__init__.py"))


def test_continuous_integration_runs_what_developers_run() -> None:
    script = ROOT / ".ci" / "run"

    assert script.stat().st_mode & 0o111
    assert script.read_text().splitlines()[-1] == "make test"


def test_wheel_carries_all_that_it_needs(tmp_path: Path) -> None:
    """Migrations, manifests, editions, templates: a command run from the wheel finds each of them."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=120)
    [wheel] = tmp_path.glob("*.whl")
    installed = tmp_path / "installed"
    zipfile.ZipFile(wheel).extractall(installed)
    probe = (
        "import gateway, pathlib, sys\n"
        "from adapters.registry import kinds\n"
        "from services.catalog import catalog, schema_document\n"
        "import datetime\n"
        "assert pathlib.Path(gateway.__file__).is_relative_to(sys.argv[1]), gateway.__file__\n"
        "assert schema_document('gold_card', datetime.date(2026, 1, 1)).edition\n"
        "print(len(kinds()), len(catalog()))\n"
    )
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(installed)}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    found = run("-c", probe, str(installed))
    migrated = run("-m", "gateway.cli", "migrate")

    assert found.returncode == 0, found.stderr
    assert migrated.returncode == 0, migrated.stderr
    assert "0002_issued_document" in migrated.stdout
    assert {path.name.split(".")[0] for path in installed.iterdir()} == {
        "adapters", "consent", "gateway", "services", "onestop-0",
    }  # fmt: skip
