"""docs/errors.md lists every code that a client can meet."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from common.core import errors
from common.node.http.problems import EDGE_CODES, STATUS_OF_KIND, status_of

ROOT = Path(__file__).parents[2]


def test_the_error_table_is_what_its_generator_writes() -> None:
    result = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "make-error-table"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr


def test_every_kind_of_refusal_has_one_status() -> None:
    kinds = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, errors.Rejected)]
    for kind in kinds:
        if kind is not errors.Rejected:
            assert status_of(kind("x", "y")) in STATUS_OF_KIND.values()
    assert status_of(errors.CertificateInvalid("x", "y")) == 400
    assert sorted(STATUS_OF_KIND.values()) == [400, 401, 403, 404, 409, 410, 413, 422, 429, 503]


def test_codes_are_snake_case() -> None:
    text = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    codes = re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)
    assert len(codes) > 200
    assert set(EDGE_CODES) <= set(codes)
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", code) for code in codes)
