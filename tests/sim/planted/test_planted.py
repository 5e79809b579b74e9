"""A fixed sample of the planted bugs is caught; all of them can be planted; `make sim-bugs` hunts them all."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sim.planted.bug import BUGS, Bug, Rotten, planted, resolve, substitute
from tests.sim.planted.hunt import CATALOGUES, LAYERS, hunt, outcome_of

SAMPLE = (
    "quorum-one-too-low",
    "prepared-certificate-dropped",
    "vote-sent-before-it-is-durable",
    "own-vote-repeated-with-another-value",
    "timer-without-effect",
    "missing-bodies-never-fetched",
    "rejected-transaction-keeps-its-writes",
    "blocks-taken-without-certificate",
    "anchors-over-a-gap",
    "misbehaviour-does-not-freeze",
    "transfer-credits-without-debit",
)


@pytest.mark.parametrize("name", SAMPLE)
def test_a_planted_bug_is_caught(name: str) -> None:
    finding = hunt(BUGS[name])
    assert finding.seed is not None, f"{name} escaped {LAYERS[finding.layer].most_seeds} seeds"


@pytest.mark.parametrize("layer", LAYERS)
def test_without_a_bug_nothing_is_caught(layer: str) -> None:
    for seed in range(1, 5):
        assert outcome_of(layer, seed) is None, f"{layer} seed {seed}"


@pytest.mark.parametrize("name", BUGS)
def test_every_bug_can_be_planted_and_leaves_no_trace(name: str) -> None:
    """Targets exist and take what their substitutes take, so that no bug rots."""
    found = BUGS[name]
    before = [resolve(target)[2] for target in found.targets]
    with planted(found):
        assert all(resolve(target)[2] is not was for target, was in zip(found.targets, before, strict=True))
    assert [resolve(target)[2] for target in found.targets] == before


def test_there_are_enough_bugs_of_both_kinds() -> None:
    assert len(CATALOGUES) == 3
    assert len(BUGS) >= 80
    assert {found.kind for found in BUGS.values()} == {"safety", "liveness"}
    assert {found.layer for found in BUGS.values()} == set(LAYERS)


def test_a_bug_whose_target_has_moved_is_rotten() -> None:
    def with_more(original: Any) -> Any:
        return lambda self, validators, more: None

    for target in ("common.core.validators:ValidatorSet.majority", "common.core.nowhere:f"):
        with pytest.raises(Rotten):
            resolve(target)
    with pytest.raises(Rotten):
        substitute("common.core.validators:ValidatorSet.index_of", with_more)
    gone = Bug("gone", "safety", "replica", ("common.core.merkle:no_root",), with_more, "gone")
    with pytest.raises(Rotten), planted(gone):
        pass
