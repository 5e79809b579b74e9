"""Every decision in docs/adr follows the template of docs/adr/README.md."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DECISIONS = sorted((Path(__file__).parents[2] / "docs" / "adr").glob("[0-9]*.md"))
SECTIONS = ["Context", "Decision", "Alternatives", "Measured", "Consequences"]
DEMANDED = {"Context", "Decision", "Consequences"}


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.stem)
def test_a_decision_follows_the_template(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert re.match(rf"# {path.name[:4]}: \S.*\n\n\*\*Status\*\*: \S", text), "title and status"
    sections = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert set(sections) >= DEMANDED, "sections that each decision has"
    assert sections == [name for name in SECTIONS if name in sections], "sections in the order of the template"


def test_numbers_of_decisions_are_given_once() -> None:
    numbers = [path.name[:4] for path in DECISIONS]
    assert len(numbers) == len(set(numbers))
