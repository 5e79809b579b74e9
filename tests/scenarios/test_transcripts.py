"""Every transcript still says what happens."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scenarios.transcript import Transcript

FOLDER = Path(__file__).parent / "transcripts"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.txt")), ids=lambda path: path.stem)
def test_transcript(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert Transcript().run(text) == text, "read the difference, then: python -m tests.scenarios --write"


def test_there_are_transcripts() -> None:
    assert len(list(FOLDER.glob("*.txt"))) >= 10
