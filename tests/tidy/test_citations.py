"""What comments, docstrings, tests and documents cite by number stands in docs/rules.md and docs/attacks.md."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks.table import ATTACKS, read_coverage

ROOT = Path(__file__).resolve().parents[2]
RULES = (ROOT / "docs" / "rules.md").read_text(encoding="utf-8")
ONE = r"(?:{0})(?:(?:, | and |, and | or | to |–|-)(?:{0}))*"
CITED = {
    "rule": re.compile(r"\b[Rr]ules?\s+(" + ONE.format(r"\d+") + r")\b(?! (?:of|bytes|blocks))"),
    "decision": re.compile(r"\bdecisions?\s+(" + ONE.format(r"\d+") + r")\b"),
    "attack": re.compile(r"\battacks?\s+(" + ONE.format(r"[CENRSWVP]\d+") + r")\b"),
}


def numbered(text: str) -> list[int]:
    """The numbers of a document's items."""
    return [int(number) for number in re.findall(r"^(\d+)\. ", text, re.M)]


def known() -> dict[str, set[str]]:
    """What may be cited."""
    rules, _, decisions = RULES.partition("## Decisions")
    return {
        "rule": {str(number) for number in numbered(rules)},
        "decision": {str(number) for number in numbered(decisions)},
        "attack": set(ATTACKS),
    }


def citations(text: str) -> Iterator[tuple[str, str]]:
    """Kind and number of each citation."""
    text = re.sub(r"\s*\n[ #/*]*", " ", text)
    for kind, pattern in CITED.items():
        for found in pattern.findall(text):
            yield from ((kind, item) for item in re.findall(r"[CENRSWVP]?\d+", found))


def files() -> list[str]:
    listed = subprocess.run(["git", "ls-files", "*.py", "*.md", "*.toml"], cwd=ROOT, capture_output=True, check=True)
    return listed.stdout.decode().split()


def test_rules_and_decisions_are_numbered_without_gaps() -> None:
    rules, _, decisions = RULES.partition("## Decisions")
    for part in (rules, decisions):
        assert numbered(part) == list(range(1, len(numbered(part)) + 1))


def test_whatever_is_cited_exists() -> None:
    may_be_cited = known()
    unknown = {
        f"{file}: {kind} {item}"
        for file in files()
        if (ROOT / file).is_file()
        for kind, item in citations((ROOT / file).read_text(encoding="utf-8"))
        if item not in may_be_cited[kind]
    }
    assert sorted(unknown) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(protocol rules 4, 5 and 14)", [("rule", "4"), ("rule", "5"), ("rule", "14")]),
        ("a comment (attacks C1,\n    # C99)", [("attack", "C1"), ("attack", "C99")]),
        ("(decision 26), with", [("decision", "26")]),
    ],
)
def test_citations_are_found(text: str, expected: list[tuple[str, str]]) -> None:
    assert list(citations(text)) == expected


def test_an_attack_is_covered_where_the_table_says_so() -> None:
    """Every attack has a state; `covered` ones have entries in the coverage table, and no others have."""
    entries = {entry.id for entry in read_coverage().entry}
    assert {attack.state for attack in ATTACKS.values()} <= {"covered", "planned"}
    assert {name for name, attack in ATTACKS.items() if attack.state == "covered"} == entries
