"""Files of the product that documents name exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
NAMED = re.compile(r"`((?:common|business_chain|custody_chain|crosslink|cli|tests|tools)/[a-zA-Z0-9_/.-]+\.[a-z]+)`")


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_that_a_document_names_exist(path: Path) -> None:
    gone = [name for name in NAMED.findall(path.read_text(encoding="utf-8")) if not (ROOT / name).exists()]
    assert gone == []


def test_prose_of_decisions_is_wrapped() -> None:
    """100 characters a line, but for tables, code and what has no blank to break at."""
    long = []
    for path in sorted((ROOT / "docs" / "adr").glob("0*.md")):
        fenced = False
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            fenced ^= line.lstrip().startswith("```")
            prose = not fenced and not line.lstrip().startswith(("|", "#")) and "](" not in line and "`" not in line
            if prose and len(line) > 100:
                long.append(f"{path.name}:{number}")
    assert long == []
