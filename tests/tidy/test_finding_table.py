"""docs/operators.md has every finding of the doctor and of /readyz, with its remedy."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from common.node.diagnosis.catalogue import CATALOGUE, OF_CHANGES, OF_DATA, OF_NETWORKS

ROOT = Path(__file__).parents[2]


def test_the_table_of_findings_is_what_its_generator_writes() -> None:
    result = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "make-finding-table"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr


def test_codes_are_snake_case_and_every_finding_has_a_remedy() -> None:
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", code) for code in CATALOGUE)
    assert all(kind.meaning and kind.remedy for kind in CATALOGUE.values())


def test_a_code_stands_once_in_the_catalogue() -> None:
    assert len(CATALOGUE) == len(OF_NETWORKS) + len(OF_CHANGES) + len(OF_DATA)
