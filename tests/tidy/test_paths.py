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
