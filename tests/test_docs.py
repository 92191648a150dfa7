"""The documents describe what is there: settings, decisions, files, tests and commands that they name."""

import re
from pathlib import Path

import click
import msgspec
import pytest

from gateway import settings
from gateway.cli import main
from gateway.settings import Settings

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    page
    for page in [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("consent/*.md"),
        *ROOT.glob("deploy/*.md"),
    ]
    if ".venv" not in page.parts
)
GUIDES = [page for page in PAGES if page.parent.name != "adr"]  # a decision also names what was not taken
LINK = re.compile(r"\]\(([^)#\s]+)")
CODE = re.compile(r"^```.*?^```|`[^`\n]+`|^ {4}[^\n]+$", re.MULTILINE | re.DOTALL)
QUOTED_PATH = re.compile(
    r"`((?:src|services|adapters|consent|openapi|deploy|docs|tests)/[\w./-]*)(?:::(\w+))?`"
)
COMMAND = re.compile(r"\bonestop((?: [a-z]+)+)([^\n`#&]*)")
ADR_PARTS = ["## Context", "## Decision", "## What we gave up"]


def test_every_setting_has_a_section_with_its_default_and_no_other_has() -> None:
    text = (ROOT / "docs" / "settings.md").read_text()
    sections = dict(re.findall(r"^### (ONESTOP_[A-Z_]+)\n(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL))
    fields = {f"ONESTOP_{field.name.upper()}": field for field in msgspec.structs.fields(Settings)}

    assert sections.keys() == fields.keys()
    for name, section in sections.items():
        assert "Default:" in section
        if fields[name].default is not None:
            assert f"`{fields[name].default}`" in section


@pytest.mark.parametrize("path", sorted((ROOT / "deploy" / "settings").glob("*.env")), ids=lambda p: p.stem)
def test_example_of_settings_is_accepted_and_holds_no_secret(path: Path) -> None:
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    environment = dict(line.split("=", 1) for line in lines)

    settings.load(environment)
    for value in environment.values():
        assert not re.search("://[^/@]*:[^/@]*@", value)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_files_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text()):
        if "://" not in target and not target.startswith("mailto:"):
            assert (page.parent / target).exists(), target


def test_decisions_are_numbered_without_gaps_and_have_all_parts() -> None:
    pages = sorted((ROOT / "docs" / "adr").glob("*.md"))

    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    for page in pages:
        text = page.read_text()
        assert text.startswith(f"# {int(page.name[:4])}. ")
        assert [line for line in text.splitlines() if line.startswith("## ")] == ADR_PARTS


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_and_tests_that_are_named_exist(page: Path) -> None:
    for path, test in QUOTED_PATH.findall(page.read_text()):
        assert (ROOT / path).exists(), path
        if test:
            assert f"def {test}(" in (ROOT / path).read_text(), f"{path}::{test}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_that_are_named_exist_with_their_options(page: Path) -> None:
    for code in CODE.findall(page.read_text()):
        for words, rest in COMMAND.findall(code):
            command: click.Command = main
            for word in words.split():
                if not isinstance(command, click.Group):
                    break  # an argument
                found = command.get_command(click.Context(command), word)
                assert found is not None, f"onestop{words}"
                command = found
            options = {option for parameter in command.params for option in parameter.opts}
            assert set(re.findall(r"--[a-z-]+", rest)) <= options, f"onestop{words}{rest}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_make_targets_that_are_named_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for code in CODE.findall(page.read_text()):
        assert set(re.findall(r"\bmake ([a-z]+)\b", code)) <= targets, code
