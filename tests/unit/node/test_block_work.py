"""Queued work: bounded in every block, shared by lanes, resumed, seen in blocks and receipts, and due by itself."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.chain import work
from common.chain.application import BlockContext, Outcome, OverlayView, StateView
from common.chain.governed_parameters import PARAMETERS_KEY
from common.chain.work import DONE, Budget, Item
from common.core.codec import canonical_json
from common.core.errors import InvariantBroken
from common.core.genesis import Genesis
from common.core.receipt import receipt_root
from common.core.snapshot import snapshot_root
from common.core.transaction import SignedTransaction
from common.model.object_header import CREATE, build_snapshot
from common.node.logic.execution.executor import BlockInvalid
from common.node.store.chain_check import check_content
from tests.support.dict_state import DictState
from tests.support.refusals import refused
from tests.unit.node.bus import Bus, names_of, tips
from tests.unit.node.solo import Solo
from tests.unit.node.toy import SUITE, ToyApplication, make_envelope, make_genesis, transfer

UNITS = 4


class WorkingApplication(ToyApplication):
    """Whoever opens an account leaves work behind: `size` snapshots to be made, `UNITS` a block."""

    size = 10

    def begin_block(self, context: BlockContext, state: StateView) -> Outcome:
        outcome = Outcome([], [])

        def make(item: Item, progress: Any, budget: Budget) -> Any:
            done = int(progress)
            while done < self.size and budget.take():
                object_id = f"{item.key}:{done}"
                snapshot = build_snapshot(
                    kind="registration",
                    object_id=object_id,
                    version=0,
                    operation=CREATE,
                    timestamp_s=context.time_ms // 1000,
                    body={"made": done},
                )
                outcome.snapshots, outcome.objects = (
                    [*outcome.snapshots, snapshot],
                    [*outcome.objects, (object_id, 0)],
                )
                done += 1
            return DONE if done == self.size and budget.units > 0 else done

        work.take_up(state, ["toys"], UNITS, context.height, {"make": make})
        return outcome

    def execute(self, tx: SignedTransaction, context: BlockContext, state: StateView) -> Outcome:
        for operation in tx.operations:
            if operation["type"] == "toy.open":
                work.queue(state, Item("toys", "make", str(operation["account"])), 0)
        return super().execute(tx, context, state)


def opening(genesis: Any, account: str) -> bytes:
    return make_envelope(genesis, f"open-{account}", [{"type": "toy.open", "account": account}])


@pytest.fixture
def solo() -> Solo:
    return Solo(make_genesis(["solo"]), WorkingApplication())


def test_what_a_block_makes_by_itself_comes_first_and_has_a_receipt(solo: Solo) -> None:
    solo.extend([opening(solo.genesis, "alice")])
    assert (solo.chain.block_receipt(1), solo.chain.header(1).receipt_count) == (None, 1)
    block, _ = solo.extend([transfer(solo.genesis, "n1"), transfer(solo.genesis, "n2")])
    header, chain = block.header, solo.chain
    own = chain.block_receipt(2)
    assert own.objects == tuple((f"alice:{at}", 0) for at in range(UNITS))
    assert own.to_json()["tx_id"] is None
    assert (header.tx_count, header.receipt_count, header.snapshot_count) == (2, 3, UNITS + 2)
    assert [receipt.of_block for receipt in chain.all_receipts(2)] == [True, False, False]
    assert header.receipt_root == receipt_root(SUITE, chain.all_receipts(2))
    assert header.snapshot_root == snapshot_root(SUITE, chain.snapshots(2))
    assert [receipt.tx_id for receipt in chain.receipts(2)] == [chain.receipt(2, at).tx_id for at in range(2)]
    assert chain.receipt_of(chain.receipts(2)[1].tx_id) == chain.receipts(2)[1]
    check_content(chain.moment(), 2)


def test_work_is_bounded_resumed_and_ends(solo: Solo) -> None:
    solo.extend([opening(solo.genesis, "alice"), opening(solo.genesis, "bob")])
    made = []
    while work.is_queued(OverlayView(_committed(solo))):
        solo.extend([])
        receipt = solo.chain.block_receipt(solo.chain.tip().height)
        made.append([] if receipt is None else [object_id for object_id, _ in receipt.objects])
    names = [f"{name}:{at}" for name in ("alice", "bob") for at in range(WorkingApplication.size)]
    assert [name for block in made for name in block] == names
    assert max(map(len, made)) == UNITS
    solo.extend([])
    assert solo.chain.block_receipt(solo.chain.tip().height) is None


def _committed(solo: Solo) -> DictState:
    state = DictState()
    state.values = dict(solo.chain.moment().state_scan(b"", None, 10_000))
    return state


@pytest.mark.parametrize(
    ("parameters", "interval_ms"),
    [({}, 500), ({"work_interval_ms": 200}, 200), ({"work_interval_ms": 3_000, "heartbeat_ms": 1_000}, 1_000)],
)
def test_an_empty_block_is_valid_early_only_while_work_is_queued(parameters: dict[str, int], interval_ms: int) -> None:
    solo = Solo(make_genesis(["solo"], **parameters), WorkingApplication())
    heartbeat_ms = solo.genesis.parameters.heartbeat_ms
    with pytest.raises(BlockInvalid, match="too early"):
        solo.executor.check_header(solo.block([], solo.chain.tip().time_ms + heartbeat_ms - 1).header, [])
    solo.extend([opening(solo.genesis, "alice")])
    tip_ms = solo.chain.tip().time_ms
    solo.executor.check_header(solo.block([], tip_ms + interval_ms).header, [])
    with pytest.raises(BlockInvalid, match="too early"):
        solo.executor.check_header(solo.block([], tip_ms + interval_ms - 1).header, [])


class GoverningApplication(WorkingApplication):
    """Genesis state says that another interval holds from height 3 on."""

    def initial_state(self, genesis: Genesis, state: StateView) -> None:
        super().initial_state(genesis, state)
        change = {"values": {}, "scheduled": {"height": 3, "values": {"work_interval_ms": 40}}}
        state.put(PARAMETERS_KEY, canonical_json(change))


def test_the_interval_of_queued_work_is_that_of_the_empty_block() -> None:
    solo = Solo(make_genesis(["solo"]), GoverningApplication())
    solo.extend([opening(solo.genesis, "alice")])
    assert solo.executor.empty_after_ms() == 500
    solo.extend([transfer(solo.genesis, "n1")])
    assert solo.executor.empty_after_ms() == 40


def test_a_header_with_another_number_of_receipts_is_refused(solo: Solo) -> None:
    solo.extend([opening(solo.genesis, "alice")])
    block = solo.block([], solo.chain.tip().time_ms + 500, receipt_count=0)
    with refused("block_receipt_count", BlockInvalid):
        solo.executor.check_results(block.header, solo.execute([], block.header.time_ms))


def test_an_idle_chain_makes_blocks_for_queued_work_and_then_rests() -> None:
    bus = Bus(make_genesis(names_of(4), heartbeat_ms=10_000), names_of(4), application=WorkingApplication())
    bus.start()
    bus.submit("node-0", opening(bus.genesis, "alice"))
    bus.run_to_height(1)
    bus.pass_time(5_000)
    chain = bus.machines["node-0"].chain
    # Ten snapshots in shares of four, and the item's end.
    assert {machine.height for machine in bus.machines.values()} == {4}
    assert len(set(tips(bus))) == 1
    for height in (2, 3, 4):
        assert 0 <= chain.header(height).time_ms - chain.header(height - 1).time_ms - 500 < 500
    assert [chain.header(height).snapshot_count for height in (2, 3, 4)] == [4, 4, 2]
    assert {machine.running.status().view for machine in bus.machines.values()} == {0}
    bus.pass_time(7_000)
    assert {machine.height for machine in bus.machines.values()} == {5}, "a heartbeat after the work ended"


LANES = ["a", "b", "c"]


@given(
    st.lists(st.tuples(st.sampled_from(LANES), st.integers(0, 20)), max_size=8), st.integers(1, 12), st.integers(0, 9)
)
def test_every_lane_gets_its_share_and_no_block_does_more(
    sizes: list[tuple[str, int]], units: int, height: int
) -> None:
    """Against a count of what is left in each lane: finishing an item costs a unit, and so does each of its parts."""
    state = OverlayView(DictState())
    for number, (lane, size) in enumerate(sizes):
        work.queue(state, Item(lane, "count", str(number)), size)
    spent = dict.fromkeys(LANES, 0)

    def count(item: Item, progress: Any, budget: Budget) -> Any:
        before, left = budget.units, int(progress)
        while left and budget.take():
            left -= 1
        spent[item.lane] += before - budget.units
        if left == 0 and budget.units:
            spent[item.lane] += 1
            return DONE
        return left

    wanted = {lane: sum(size + 1 for name, size in sizes if name == lane) for lane in LANES}
    busy = [lane for lane in LANES if wanted[lane]]
    work.take_up(state, LANES, units, height, {"count": count})
    # A unit is left unused only if the lane that comes last has no work any more.
    last = busy[height % len(busy) - 1] if busy else LANES[0]
    assert sum(spent.values()) == units or spent[last] == wanted[last]
    assert sum(spent.values()) <= units
    assert all(spent[lane] >= min(wanted[lane], units // len(busy)) for lane in busy)
    for at in range(200):
        work.take_up(state, LANES, units + 3, at, {"count": count})
    assert not work.is_queued(state)
    assert spent == wanted


def test_an_item_that_is_queued_keeps_its_progress_and_unknown_kinds_are_our_bug() -> None:
    state = OverlayView(DictState())
    item = Item("lane", "kind", "key")
    work.queue(state, item, 7)
    work.queue(state, item, 0)
    seen = []

    def look(item: Item, progress: Any, budget: Budget) -> Any:
        seen.append(progress)
        return progress

    work.take_up(state, ["lane"], 1, 1, {"kind": look})
    assert seen == [7]
    assert work.is_queued(state, "lane")
    assert not work.is_queued(state, "lan")
    with pytest.raises(InvariantBroken):
        work.take_up(state, ["lane"], 1, 1, {})
