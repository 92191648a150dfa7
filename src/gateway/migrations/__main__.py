"""Writes a new revision: `python -m gateway.migrations 0002_what_it_does`, in a checkout."""

import asyncio
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from gateway import migrations
from gateway.db import SqlDatabase

NAME = re.compile("[0-9]{4}_[a-z0-9_]{1,27}")


async def main(name: str) -> None:
    """Compare the declared tables with a new database at the newest revision, write the difference."""
    folder = Path(__file__).parent / "versions"
    with tempfile.TemporaryDirectory() as scratch:
        database = SqlDatabase(f"sqlite:///{scratch}/scratch.sqlite")
        if any(folder.glob("[0-9]*.py")):
            await migrations.upgrade(database)
        await migrations.write_revision(database, name, folder)
        await database.aclose()
    written = folder / f"{name}.py"
    lines = written.read_text().splitlines(keepends=True)
    written.write_text("".join(line for line in lines if "# ###" not in line))
    await asyncio.to_thread(
        subprocess.run, [sys.executable, "-m", "ruff", "format", str(written)], check=True
    )


if __name__ == "__main__":
    if len(sys.argv) != 2 or not NAME.fullmatch(sys.argv[1]):
        sys.exit("usage: python -m gateway.migrations NNNN_name   (at most 32 characters)")
    asyncio.run(main(sys.argv[1]))
