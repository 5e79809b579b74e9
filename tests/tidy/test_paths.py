"""Files of the product that documents name exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
CODE = re.compile(r"`[^`]*`")
MARKER = re.compile(r"^(?:[-*]|[0-9]+\.) ")
NAMED = re.compile(r"`((?:common|business_chain|custody_chain|crosslink|cli|tests|tools)/[a-zA-Z0-9_/.-]+\.[a-z]+)`")


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_that_a_document_names_exist(path: Path) -> None:
    gone = [name for name in NAMED.findall(path.read_text(encoding="utf-8")) if not (ROOT / name).exists()]
    assert gone == []


def test_prose_is_wrapped() -> None:
    """100 characters a line, but for tables, headings, and lines whose only blanks stand in code."""
    long = []
    for path in [
        ROOT / "README.md",
        *sorted((ROOT / "docs").glob("*.md")),
        *sorted((ROOT / "docs" / "adr").glob("*.md")),
    ]:
        fenced = False
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            text = line.strip()
            fenced ^= text.startswith("```")
            prose = not fenced and not text.startswith(("|", "#"))
            if prose and len(line) > 100 and " " in MARKER.sub("", CODE.sub("", text)):
                long.append(f"{path.name}:{number}")
    assert long == []
