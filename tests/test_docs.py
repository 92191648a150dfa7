"""The documents describe what is there: settings, decisions, files that are linked."""

import re
from pathlib import Path

import msgspec
import pytest

from gateway import settings
from gateway.settings import Settings

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    page
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("consent/*.md")]
    if ".venv" not in page.parts
)
LINK = re.compile(r"\]\(([^)#\s]+)")
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
