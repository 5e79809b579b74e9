"""Twins by enumeration: a sample here, all of it with `make sim-twins`. Enough twins fork, and are named (C20)."""

from __future__ import annotations

from itertools import product

import pytest

from common.core.suite import ED25519_SHA256
from crosslink.lightclient.client_state import ClientState
from crosslink.lightclient.pbft.messages import HeaderMessage
from crosslink.lightclient.pbft.trust import PBFT_CLIENT_TYPE, root_document
from crosslink.lightclient.trust_root import TrustRoot
from crosslink.lightclient.verify import verify_misbehaviour
from tests.sim.checkers import culprits, least_quorum
from tests.sim.toys import GENESIS_ID, GENESIS_TIME_MS, NETWORK, validator_set
from tests.sim.twins.enumerate import FAMILIES, Family, enumerate_all, sample
from tests.sim.twins.schedules import Enumeration
from tests.sim.twins.world import Round, TwinsWorld


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_c20_one_twin_of_four_neither_forks_nor_stalls_the_rest(family: Family) -> None:
    tally = sample(family, 400)
    assert tally.run == 400
    assert tally.settled_early < tally.run, "some schedules need healing"


def test_short_schedules_completely() -> None:
    """Two rounds: what the enumeration covers is what Burnside's lemma counts."""
    family = Family("two rounds", 2, cut_commits=False)
    tally = enumerate_all(family, 1)
    assert tally.covered == Enumeration(cut_commits=False).count(2) == 218
    assert 0 < tally.run < tally.covered


def halves_apart(size: int) -> list[Round]:
    """Every first round in which 2q-n twins stand in two components, one half here and one there."""
    twins = 2 * least_quorum(size) - size
    correct = range(2 * twins, size + twins)
    found = []
    for sides in product((0, 1), repeat=len(correct)):
        parts = tuple(
            tuple(2 * at + side for at in range(twins))
            + tuple(process for process, place in zip(correct, sides, strict=True) if place == side)
            for side in (0, 1)
        )
        found += [Round(leader, parts) for leader in range(size)]
    return found


@pytest.mark.parametrize("size", [4, 5, 6, 7])
def test_c20_enough_twins_fork_exactly_where_a_twin_leads_two_quorums(size: int) -> None:
    """The checker can fail; and in every fork the votes on the wire name the twins, all of them and nobody else."""
    quorum, forks = least_quorum(size), 0
    twins = 2 * quorum - size
    for item in halves_apart(size):
        world = TwinsWorld(size, twins, (item,))
        world.run_schedule()
        has_quorums = all(len(part) >= quorum for part in item.components)
        assert (len(world.decisions) == 2) == (has_quorums and item.leader < twins)
        if len(world.decisions) == 2:
            forks += 1
            assert set(culprits(world.heard, tuple(range(size)))) == set(range(twins))
    assert forks


@pytest.mark.parametrize("size", [4, 5, 7])
def test_c20_the_forks_certificates_convict_the_twins_before_the_light_client(size: int) -> None:
    """What a relay brings to the custody chain: two certificates of one height, and the names of who signed both."""
    suite = ED25519_SHA256
    twins = 2 * least_quorum(size) - size
    item = next(
        item
        for item in halves_apart(size)
        if item.leader == 0 and all(len(p) >= least_quorum(size) for p in item.components)
    )
    world = TwinsWorld(size, twins, (item,), suite)
    world.run_schedule()
    first, second = (process.committed for process in (world.correct[0], world.correct[-1]))
    assert first is not None
    assert second is not None
    validators = validator_set(tuple(range(size)), suite)  # type: ignore[arg-type]
    root = TrustRoot(
        network=NETWORK, client_type=PBFT_CLIENT_TYPE, genesis_id=GENESIS_ID, trust=root_document(suite, validators)
    )
    state = ClientState.from_root(root, established_ms=GENESIS_TIME_MS)
    headers = [
        HeaderMessage(suite=suite, header=block.header, certificate=held).encode() for block, held in (first, second)
    ]
    found = verify_misbehaviour(state, *headers, now_ms=GENESIS_TIME_MS + 1000)
    assert tuple(culprit.name for culprit in found.culprits) == tuple(f"node-{number}" for number in range(twins))


def test_the_world_is_deterministic() -> None:
    enumeration = Enumeration(cut_commits=True)
    prefix = (17, 90, 3)
    runs = [TwinsWorld(4, 1, enumeration.schedule(prefix)) for _ in range(2)]
    assert runs[0].run_schedule() == runs[1].run_schedule()
    assert runs[0].heard == runs[1].heard
