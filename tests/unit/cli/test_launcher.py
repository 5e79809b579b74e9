"""The installed `tongjian` command runs the product, whatever lies in the directory where it is typed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_modules_in_the_current_directory_are_not_run(tmp_path: Path) -> None:
    (tmp_path / "cli").mkdir()
    for module in ("cli/__init__.py", "cli/main.py", "click.py", "json.py"):
        (tmp_path / module).write_text("raise SystemExit('a stranger ran')\n")
    command = Path(sys.executable).parent / "tongjian"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [command, "--help"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "localnet" in done.stdout
