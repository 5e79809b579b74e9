"""The table of attack coverage cannot rot: every test and every check exists, and a sample is proven each time. That
no attack is left out: tests/tidy/test_citations.py. `make attack-coverage` proves all."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.attacks.__main__ import prove_all
from tests.attacks.plugin import changed_source, is_constant, named_function
from tests.attacks.table import ROOT, names_of_tests, read_coverage

COVERAGE = read_coverage()
SAMPLE = ("C3", "C7", "E4", "N4", "R6", "S2")
"""One or two entries of each kind of attack: quick tests of the pure layers."""


@pytest.mark.parametrize("file", sorted({entry.test.partition("::")[0] for entry in COVERAGE.entry}))
def test_every_named_test_exists_and_carries_the_id(file: str) -> None:
    existing = names_of_tests(ROOT / file)
    for entry in COVERAGE.entry:
        path, _, name = entry.test.partition("::")
        if path == file:
            assert name in existing, entry.test
            assert f"_{entry.id.lower()}_" in name, f"{name} does not carry {entry.id}"


@pytest.mark.parametrize("module", sorted({entry.check.partition(":")[0] for entry in COVERAGE.entry}))
def test_every_check_exists_in_the_product(module: str) -> None:
    for entry in COVERAGE.entry:
        if entry.check.startswith(f"{module}:") and not is_constant(entry.check):
            changed_source(named_function(entry.check), entry.find, entry.put)


def test_no_entry_is_there_twice() -> None:
    counted = Counter((entry.id, entry.test, entry.check, entry.find) for entry in COVERAGE.entry)
    assert [entry for entry, count in counted.items() if count > 1] == []


def test_a_sample_of_tests_fails_without_its_check() -> None:
    entries = [next(entry for entry in COVERAGE.entry if entry.id == attack) for attack in SAMPLE]
    assert [(verdict.entry.label, verdict.trouble) for verdict in prove_all(entries, 2) if verdict.trouble] == []
