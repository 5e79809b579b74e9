"""Run the transcripts: `python -m tests.scenarios [--write] [NAME …]`. Without `--write`, show what would change."""

from __future__ import annotations

import argparse
import difflib
import sys
from pathlib import Path

from tests.scenarios.transcript import Transcript

FOLDER = Path(__file__).parent / "transcripts"


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.scenarios", description=__doc__)
    parser.add_argument("--write", action="store_true", help="rewrite the logs in the files")
    parser.add_argument("names", nargs="*", help="files without .txt; all if none is named")
    arguments = parser.parse_args()
    changed = 0
    for path in sorted(FOLDER.glob("*.txt")):
        if arguments.names and path.stem not in arguments.names:
            continue
        before = path.read_text(encoding="utf-8")
        after = Transcript().run(before)
        if after == before:
            continue
        changed += 1
        lines = difflib.unified_diff(before.splitlines(), after.splitlines(), path.stem, "now", lineterm="")
        print("\n".join(lines))
        if arguments.write:
            path.write_text(after, encoding="utf-8")
    return 1 if changed and not arguments.write else 0


if __name__ == "__main__":
    sys.exit(main())
