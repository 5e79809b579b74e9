"""The table of attack coverage cannot rot: every test and every check exists, and a sample is proven each time. That
no attack is left out: tests/tidy/test_citations.py. `make attack-coverage` proves all."""

from __future__ import annotations

import importlib
from collections import Counter

import msgspec
import pytest

from tests.attacks.__main__ import prove_all
from tests.attacks.fault import FAULTS
from tests.attacks.table import ROOT, Entry, names_of_tests, read_coverage
from tests.attacks.taking_out import is_constant, named_function, without_refusal

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


@pytest.mark.parametrize("entry", COVERAGE.entry, ids=lambda entry: entry.label)
def test_what_is_taken_out_exists_in_the_product(entry: Entry) -> None:
    """Each entry says in one way what is taken out, and it is there."""
    ways = [entry.fault, entry.refusal, entry.silent, entry.answer is not msgspec.UNSET]
    assert sum(map(bool, ways)) == 1
    targets = [target for target, _ in FAULTS[entry.fault]] if entry.fault else [entry.check]
    for target in targets:
        if is_constant(target):
            assert hasattr(importlib.import_module(target.partition(":")[0]), target.partition(":")[2])
        elif entry.refusal:
            without_refusal(named_function(target), entry.refusal)
        else:
            named_function(target)


def test_no_fault_is_left_over() -> None:
    assert set(FAULTS) == {entry.fault for entry in COVERAGE.entry} - {""}


def test_no_entry_is_there_twice() -> None:
    counted = Counter((entry.id, entry.test, str(entry.change)) for entry in COVERAGE.entry)
    assert [entry for entry, count in counted.items() if count > 1] == []


def test_a_sample_of_tests_fails_without_its_check() -> None:
    entries = [next(entry for entry in COVERAGE.entry if entry.id == attack) for attack in SAMPLE]
    assert [(verdict.entry.label, verdict.trouble) for verdict in prove_all(entries, 2) if verdict.trouble] == []
