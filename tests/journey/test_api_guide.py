"""The walk of docs/api-guide.md, block by block, against a whole installation."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.journey.world import World

GUIDE = Path(__file__).parents[2] / "docs" / "api-guide.md"
BLOCK = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)
WALK_SECONDS_MAX = 120


@pytest.mark.skipif(
    not all(shutil.which(program) for program in ("bash", "curl", "jq")),
    reason="the guide's walk needs bash, curl and jq, which the product does not",
)
def test_walk_of_the_guide_ends_with_the_outcome(world: World) -> None:
    script = "\n".join(BLOCK.findall(GUIDE.read_text()))
    for documented, here in (
        ("http://127.0.0.1:8000", world.url),
        ("http://127.0.0.1:8101", world.environment["ONESTOP_OIDC_ISSUER"]),
        (".venv/bin/python", sys.executable),
    ):
        assert documented in script
        script = script.replace(documented, here)

    done = subprocess.run(
        ["bash", "-c", script],
        cwd=world.folder,
        capture_output=True,
        text=True,
        timeout=WALK_SECONDS_MAX,
        check=False,
    )

    assert done.returncode == 0, done.stderr[-2000:]
    assert '"/colour"' in done.stdout
    assert '"work_permit"' in done.stdout
    assert "%PDF-" in done.stdout
    assert '"outcome_issued"' in done.stdout
