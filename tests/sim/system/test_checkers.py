"""The checkers can fail: a product that is broken on purpose is found out, each time by the rule that it breaks."""

from __future__ import annotations

from typing import Any

import pytest

import custody_chain.anchoring
from business_chain.balances import Holding
from business_chain.ledger import Ledger
from business_chain.movement import AffectedHolder
from common.core.validators import ValidatorSet
from common.node.logic.node import Node
from common.node.logic.node_status import TransactionState
from common.node.service import NodeService
from common.node.store.memory_store import MemoryStore
from common.node.store.vote_log import VoteLog
from custody_chain.ingest import USABLE
from tests.sim.checkers import Violation
from tests.sim.system import faults, release
from tests.sim.system.disk import SimulatedStore
from tests.sim.system.options import KINDS, SystemOptions, draw_options, with_overrides
from tests.sim.system.shrink import shrink
from tests.sim.system.simulation import SystemSimulation
from tests.support.changed import replace


def scenario(seed: int, *kinds: str) -> SystemOptions:
    """A small system with these faults."""
    return SystemOptions(
        seed=seed, markets=(("beijing", 4),), custody=1, kinds=kinds, transactions=4, heal_ms=2_500, relays=1
    )


def found(seeds: int, *kinds: str) -> list[str]:
    """What the first seeds break."""
    broken = []
    for seed in range(seeds):
        try:
            SystemSimulation(seed, options=scenario(seed, *kinds)).run()
        except Violation as violation:
            broken.append(str(violation))
    return broken


def test_a_sound_system_breaks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(2, "power") == []
    monkeypatch.setattr(faults, "_spans", lambda *_: [(at, at + 50) for at in range(100, 2_400, 170)])
    assert found(4, "power", "starve") == []


def test_s1_votes_that_are_not_kept_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Power fails all the time, so that somebody is hit between a vote and the block."""
    monkeypatch.setattr(VoteLog, "append", lambda self, records: None)
    monkeypatch.setattr(faults, "_spans", lambda *_: [(at, at + 50) for at in range(100, 2_400, 170)])
    assert any(
        "abstaining" in text or "votes twice" in text or "accuses" in text for text in found(4, "power", "starve")
    )


def test_s1_blocks_that_are_not_kept_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that says "synced" and is not: every node loses power, and with it what a client was told is final."""
    write = MemoryStore.write
    monkeypatch.setattr(SimulatedStore, "write", lambda self, batch, sync: write(self, batch, False))
    monkeypatch.setattr(faults, "_victims", lambda simulation, random: simulation.machines)
    assert found(4, "power")


def test_shares_out_of_nothing_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """All nodes agree on it, and every replay gives the same: only the model tells."""
    move = Ledger.move

    def generous(self: Ledger, movement: Any, holder: AffectedHolder, after: Holding, **more: Any) -> None:
        gift = 1 if after.figures.available > holder.before.figures.available > 0 else 0
        given = Holding((after.balances[0].with_held(gift), *after.balances[1:])) if gift else after
        move(self, movement, holder, given, **more)

    monkeypatch.setattr(Ledger, "move", generous)
    assert any("the register holds" in text for text in found(4))


def test_r6_snapshots_that_custody_does_not_take_in_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    ingest = custody_chain.anchoring.ingest  # type: ignore[attr-defined]

    def forgetful(records: Any, moment: Any, time_ms: int, data: bytes) -> str:
        return USABLE if b'"registration.transfer"' in data else ingest(records, moment, time_ms, data)

    monkeypatch.setattr(custody_chain.anchoring, "ingest", forgetful)
    assert any("positions in beijing" in text for text in found(4))


def test_c7_a_quorum_that_is_one_short_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    quorum = ValidatorSet.quorum.fget  # type: ignore[attr-defined]
    assert quorum is not None
    monkeypatch.setattr(ValidatorSet, "quorum", property(lambda self: max(1, quorum(self) - 1)))
    assert any("certificate that does not hold" in text for text in found(2))


def test_c19_a_node_that_goes_on_under_unknown_rules_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Governors are all hasty, so that old releases meet blocks of the new version."""
    monkeypatch.setattr(release, "HASTY", 1.0)
    assert found(4, "upgrade") == []
    monkeypatch.setattr(Node, "_halts_before", lambda self, height: False)
    assert any("rules that its release does not know" in text for text in found(4, "upgrade"))


def test_answers_before_a_block_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that says "applied" as soon as it has heard of a transaction."""
    state_of, submit = NodeService.transaction_state, NodeService.submit

    def hasty(state: TransactionState) -> TransactionState:
        return replace(state, status="applied", height=1, index=0) if state.status == "pending" else state

    monkeypatch.setattr(NodeService, "transaction_state", lambda self, tx_id: hasty(state_of(self, tx_id)))
    monkeypatch.setattr(NodeService, "submit", lambda self, envelope: hasty(submit(self, envelope)))
    assert any("has lost" in text or "another fate" in text for text in found(2))


def test_a_failing_scenario_is_reduced_to_what_it_needs() -> None:
    """Something that breaks with power cuts alone is told by a command line that says so."""

    def fails(options: SystemOptions) -> str | None:
        return "lost power" if "power" in options.kinds and options.custody >= 4 else None

    drawn = with_overrides(draw_options(5), {"faults": "all", "custody": 10, "markets": "7,4", "heal_ms": 4_000})
    reduced = shrink(drawn, fails)
    assert reduced is not None
    smallest, why = reduced
    assert (smallest.kinds, smallest.custody, smallest.markets) == (("power",), 4, (("beijing", 1),))
    assert (smallest.transactions, smallest.heal_ms <= 900, smallest.relays, why) == (0, True, 1, "lost power")
    assert "--faults power" in smallest.command()
    assert shrink(replace(drawn, kinds=()), fails) is None


def test_a_command_line_gives_the_scenario_back() -> None:
    for seed in range(20):
        drawn = draw_options(seed)
        assert drawn.command() == f"python -m tests.sim --layer system --seed {seed}"
        changed = replace(drawn, kinds=KINDS[:2], markets=(("beijing", 5),), custody=7, transactions=1)
        overrides = {name.replace("-", "_"): value for name, value in changed.overrides(drawn).items()}
        assert with_overrides(drawn, overrides) == changed
