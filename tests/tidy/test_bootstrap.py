"""`make install` with an interpreter of the user's choice."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_make_hands_the_users_choice_of_interpreter_on(tmp_path: Path) -> None:
    """`PYTHON=… make` must reach tools/bootstrap; a make variable of the same name would shadow it."""
    old = tmp_path / "python-old"
    old.write_text("#!/bin/sh\n[ \"$1\" = --version ] && echo 'Python 2.7.18' && exit 0\nexit 1\n")
    old.chmod(0o755)
    result = subprocess.run(
        ["make", "install", f"VENV={tmp_path / 'venv'}"],
        cwd=ROOT,
        env={**os.environ, "PYTHON": str(old)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode != 0
    assert f"{old} is: Python 2.7.18" in result.stderr
    assert "PYTHON=/path/to/python" in result.stderr
