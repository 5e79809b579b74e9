"""Two checkouts measured in turn: `python -m tests.bench --against DIRECTORY [NAME …]`.

A machine that is shared gives one program figures a factor of two apart within a day, so only figures taken in turn can
be compared. Each checkout runs with its own interpreter, product, load generator and operations; only the measurement,
`processor.py`, is this checkout's."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.bench.processor import SCRIPTED

Figures = dict[str, Any]
NAMES = tuple(SCRIPTED)
_SCRIPT = Path(__file__).resolve().with_name("processor.py")


def in_checkout(directory: Path, name: str) -> Figures:
    """One measurement of what is checked out in `directory`. Raises CalledProcessError if it fails there."""
    python = directory / ".venv" / "bin" / "python"
    command = [str(python), "-P", str(_SCRIPT), name]
    done = subprocess.run(command, cwd=directory, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def compare(theirs: Path, name: str, pairs: int) -> Figures:
    """`pairs` measurements of each checkout, in turn and in changing order: all of them, and ratios of the medians."""
    ours = Path(__file__).resolve().parents[2]
    taken: dict[Path, list[Figures]] = {ours: [], theirs: []}
    for pair in range(pairs):
        for directory in (theirs, ours) if pair % 2 == 0 else (ours, theirs):
            taken[directory].append(in_checkout(directory, name))
            print(f"{name} {pair + 1}/{pairs} {directory}: {json.dumps(taken[directory][-1])}", file=sys.stderr)
    figures = [key for key, value in taken[ours][0].items() if isinstance(value, int | float)]
    medians = {key: [statistics.median(run[key] for run in taken[side]) for side in (theirs, ours)] for key in figures}
    return {
        "pairs": pairs,
        "theirs": taken[theirs],
        "ours": taken[ours],
        "medians": {key: {"theirs": before, "ours": after} for key, (before, after) in medians.items()},
        "ours_to_theirs": {key: round(after / before, 3) for key, (before, after) in medians.items() if before},
    }
