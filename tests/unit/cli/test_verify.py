"""Evidence as users save it, and the query log of regulators, from the command line."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from custody_chain.audit_log import FIRST_PREVIOUS
from tests.support.evidence import evidence_case
from tests.unit.cli.commands import run

CASE = evidence_case()


@pytest.fixture
def trust(tmp_path: Path) -> Path:
    file = tmp_path / "trust.json"
    file.write_bytes(CASE.trust.encode())
    return file


def test_a_whole_answer_is_verified_by_its_evidence_and_says_so(tmp_path: Path, trust: Path) -> None:
    alone, answer = tmp_path / "alone.json", tmp_path / "answer.json"
    alone.write_text(json.dumps(CASE.evidence.to_json()))
    answer.write_text(
        json.dumps({"as_of_ms": 1, "data": {"quantity": 7}, "evidence": CASE.evidence.to_json()}, indent=2)
    )
    bare, wrapped = (run("verify", file, "--trust", trust) for file in (alone, answer))
    assert (bare.exit_code, wrapped.exit_code) == (0, 0), wrapped.output
    assert wrapped.stdout == bare.stdout
    assert "only `evidence`" in wrapped.stderr
    answer.write_text(json.dumps({"data": {}}))
    assert run("verify", answer, "--trust", trust).exit_code == 1


def test_the_query_log_is_checked_by_a_command(tmp_path: Path) -> None:
    file, previous, lines = tmp_path / "queries.jsonl", FIRST_PREVIOUS, []
    for number in range(3):
        lines.append(json.dumps({"sequence": number, "previous": previous}))
        previous = hashlib.sha256(lines[-1].encode()).hexdigest()
    file.write_text("\n".join(lines) + "\n")
    whole = run("node", "query-log", file, "--json")
    assert json.loads(whole.stdout) == {"lines": 3, "torn": 0, "last_hash": previous}
    file.write_text("\n".join(lines[1:]) + "\n")
    assert run("node", "query-log", file).stderr.startswith("error: query_log_broken: ")
    first = hashlib.sha256(lines[0].encode()).hexdigest()
    assert run("node", "query-log", file, "--previous", first).exit_code == 0
