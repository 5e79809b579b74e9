"""A relay's worker between lying, stopped and honest nodes and a model of the custody chain (attacks R3, R6, R7, R9,
R10)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from crosslink.lightclient.client_state import ClientState
from crosslink.lightclient.delivery import MAX_OPERATION_BYTES, MISBEHAVIOUR, SUBMIT
from crosslink.lightclient.reading import Read, ServedBlock
from crosslink.relay.node_pool import NodeFault
from crosslink.relay.ports import Page, RegionStatus, SubmissionFate
from crosslink.relay.progress import Board, RelayMetrics
from crosslink.relay.worker import Pace, RegionWorker
from tests.support.chains import (
    BLOCK_MS,
    START_MS,
    BuiltBlock,
    ChainBuilder,
    member_names,
    sample_snapshot,
    validator_set,
)
from tests.support.relay_world import ModelCustody, ModelNode, ModelSource, Tamper, WarpClock, honest

NOW_MS = START_MS + 3600_000
PATIENCE_S = 20.0


class World:
    """One custody model, chains with two nodes each, and as many relays as a test starts."""

    def __init__(self, *chains: ChainBuilder) -> None:
        self.clock = WarpClock(NOW_MS)
        self.chains = chains
        self.custody = ModelCustody(chains, self.clock.now_ms)
        self.nodes = {chain.network: [ModelNode(), ModelNode()] for chain in chains}
        self.board = Board()
        self.sources: dict[str, ModelSource] = {}

    def worker(self, chain: ChainBuilder, custody: Any = None, page: int = 7) -> RegionWorker:
        source = ModelSource(chain, self.nodes[chain.network], self.clock.now_ms, page)
        self.sources[chain.network] = source
        metrics, pace = RelayMetrics(), Pace()
        return RegionWorker(
            chain.network, source, custody or self.custody, self.clock, self.board, metrics, lambda: 0.5, pace
        )

    def complete(self) -> bool:
        return all(self.custody.complete(chain) for chain in self.chains)

    async def until(self, condition: Callable[[], bool], *workers: RegionWorker) -> None:
        """Run the workers until the condition holds."""
        tasks = [asyncio.create_task(worker.run()) for worker in workers]
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not condition():
                    await asyncio.sleep(0.001)  # leaves the processor to the workers and their threads
                    for task in tasks:
                        assert not task.done(), "a worker ends by cancellation only"
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def busy_chain(network: str = "beijing") -> ChainBuilder:
    """Twenty blocks: empty ones, full ones, and a change of validators."""
    chain = ChainBuilder(network)
    for height in range(1, 21):
        following = validator_set(member_names(network, 5)) if height == 9 else None
        chain.extend(
            [sample_snapshot(f"{network}:{height}:{index}") for index in range(height % 4)], next_validators=following
        )
    return chain


def test_everything_of_a_region_arrives_once_and_in_order() -> None:
    world = World(busy_chain())
    asyncio.run(world.until(world.complete, world.worker(world.chains[0])))
    assert all(result.applied for result in world.custody.results)
    progress = world.board.of("beijing").to_json()
    assert progress["last_error"] is None


def test_new_blocks_follow_while_the_relay_runs() -> None:
    world = World(busy_chain())
    chain = world.chains[0]

    async def play() -> None:
        task = asyncio.create_task(world.until(lambda: chain.height == 40 and world.complete(), world.worker(chain)))
        while chain.height < 40:
            await asyncio.sleep(0.002)
            chain.grow(1, snapshots_each=1)
        await task

    asyncio.run(play())
    assert all(result.applied for result in world.custody.results)


def changed_snapshot(block: BuiltBlock) -> ServedBlock:
    served = honest(block)
    return replace(served, snapshots=tuple(text.replace(b"create", b"delete") for text in served.snapshots))


def omitted_snapshot(block: BuiltBlock) -> ServedBlock:
    return replace(honest(block), snapshots=block.snapshots[1:])


def swapped_snapshots(block: BuiltBlock) -> ServedBlock:
    return replace(honest(block), snapshots=block.snapshots[::-1])


def changed_header(block: BuiltBlock) -> ServedBlock:
    return honest(replace(block, header=replace(block.header, state_root=bytes(32))))


def thin_certificate(block: BuiltBlock) -> ServedBlock:
    signatures = block.certificate.signatures[:2]
    return honest(replace(block, certificate=replace(block.certificate, signatures=signatures)))


def omitted_block(block: BuiltBlock) -> ServedBlock | None:
    return None if block.height % 5 == 0 else honest(block)


def garbage(block: BuiltBlock) -> ServedBlock:
    return replace(honest(block), header=b"\x00garbage")


def hidden_set_change(block: BuiltBlock) -> ServedBlock:
    return honest(replace(block, next_validators=None))


def foreign_set(block: BuiltBlock) -> ServedBlock:
    return honest(replace(block, next_validators=validator_set(["mallory"])))


LIES: list[Tamper] = [
    changed_snapshot,
    omitted_snapshot,
    swapped_snapshots,
    changed_header,
    thin_certificate,
    omitted_block,
    garbage,
    hidden_set_change,
    foreign_set,
]


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
def test_r10_a_lying_node_is_found_out_before_anything_is_submitted(lie: Tamper) -> None:
    world = World(busy_chain())
    world.nodes["beijing"][0].tamper = lie
    worker = world.worker(world.chains[0])
    asyncio.run(world.until(world.complete, worker))
    assert all(result.applied for result in world.custody.results), "a lie reached the custody chain"
    assert (0, NodeFault.LYING) in world.sources["beijing"].faults
    assert not [node for node, _ in world.sources["beijing"].faults if node == 1]


def test_r10_a_node_that_is_down_or_stopped_is_replaced_by_the_other() -> None:
    world = World(busy_chain())
    world.nodes["beijing"][0].down = True
    asyncio.run(world.until(world.complete, world.worker(world.chains[0])))
    world = World(busy_chain())
    world.nodes["beijing"][0].visible = 6
    asyncio.run(world.until(world.complete, world.worker(world.chains[0])))
    assert world.nodes["beijing"][0].served > 0


def test_r10_with_all_nodes_down_the_region_waits_and_goes_on_when_one_returns() -> None:
    world = World(busy_chain())
    nodes = world.nodes["beijing"]
    nodes[0].down = nodes[1].down = True

    def recover() -> bool:
        if world.board.of("beijing").last_error is not None:
            nodes[1].down = False
        return world.complete()

    asyncio.run(world.until(recover, world.worker(world.chains[0])))
    error = world.board.of("beijing").last_error
    assert error is not None
    assert error["code"] == "no_node_serves"


def test_one_bad_region_never_stops_the_others() -> None:
    world = World(busy_chain("beijing"), busy_chain("shanghai"), busy_chain("jiangsu"))
    world.nodes["shanghai"][0].tamper = world.nodes["shanghai"][1].tamper = garbage

    class BrokenSource(ModelSource):
        async def read(self, state: ClientState, read: Read) -> Page:
            raise ZeroDivisionError

    workers = [world.worker(chain) for chain in world.chains]
    broken = workers[1]
    good = [world.chains[0], world.chains[2]]

    def others_complete() -> bool:
        return (
            all(world.custody.complete(chain) for chain in good) and world.board.of("shanghai").last_error is not None
        )

    asyncio.run(world.until(others_complete, *workers))
    assert world.custody.regions["shanghai"].anchored == 0
    broken._source = BrokenSource(world.chains[1], world.nodes["shanghai"], world.clock.now_ms)
    world.board.of("shanghai").last_error = None
    asyncio.run(world.until(others_complete, broken))
    error = world.board.of("shanghai").last_error
    assert error is not None
    assert error["code"] == "internal"


class KilledError(BaseException):
    """The process is gone."""


class Mortal:
    """The custody chain for a relay that is killed at its n-th contact with it, before or after the contact had
    effect."""

    def __init__(self, inner: ModelCustody, contacts: int, after: bool) -> None:
        self._inner = inner
        self._left = contacts
        self._after = after

    def _contact(self, done: bool) -> None:
        if done is self._after:
            self._left -= 1
            if self._left < 0:
                raise KilledError

    async def region(self, network: str, *, at_least: int = 0) -> RegionStatus:
        self._contact(False)
        status = await self._inner.region(network, at_least=at_least)
        self._contact(True)
        return status

    async def submit(self, operation: dict[str, Any], custody_height: int) -> SubmissionFate:
        self._contact(False)
        result = await self._inner.submit(operation, custody_height)
        self._contact(True)
        return result

    def doubt(self) -> None:
        self._inner.doubt()


def large_chain() -> ChainBuilder:
    """Blocks that fill operations, one of which must be delivered in parts."""
    chain = ChainBuilder()
    for height, count in enumerate([1, 50, 1, 0, 2], start=1):
        chain.extend([sample_snapshot(f"o:{height}:{index}", note="x" * 60_000) for index in range(count)])
    return chain


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_r9_relay_killed_at_every_step_loses_nothing_and_applies_nothing_twice(after: bool) -> None:
    chain = large_chain()
    for contacts in range(14):
        world = World(chain)

        async def life(world: World = world, contacts: int = contacts) -> None:
            task = asyncio.create_task(world.worker(chain, Mortal(world.custody, contacts, after)).run())
            with pytest.raises(KilledError):
                await asyncio.wait_for(task, PATIENCE_S)
            await world.until(world.complete, world.worker(chain))

        try:
            asyncio.run(life())
        except KilledError:
            # asyncio lets a BaseException of a task out of run(); the next relay takes over.
            asyncio.run(world.until(world.complete, world.worker(chain)))
        assert world.complete()
        assert all(result.applied for result in world.custody.results)


def test_r9_relay_killed_at_arbitrary_moments_loses_nothing() -> None:
    chain = busy_chain()
    world = World(chain)

    async def play() -> None:
        for steps in range(1, 40):
            task = asyncio.create_task(world.worker(chain, page=2).run())
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await world.until(world.complete, world.worker(chain))

    asyncio.run(play())
    assert world.complete()


def test_r7_two_relays_at_once_do_no_harm() -> None:
    chain = large_chain()
    world = World(chain, busy_chain("shanghai"))
    workers = [world.worker(region) for region in world.chains for _ in range(2)]
    asyncio.run(world.until(world.complete, *workers))
    refused = {result.code for result in world.custody.results if not result.applied}
    assert refused <= {"header_gap", "snapshot_proofs_missing"}


def forked_world() -> tuple[World, ChainBuilder]:
    """A world in which everything is anchored, and a branch of four certified blocks that leaves the chain at its
    tip."""
    world = World(busy_chain())
    chain = world.chains[0]
    fork = ChainBuilder()
    fork.blocks, fork.validators = list(chain.blocks[:19]), chain.validators
    fork.extend([sample_snapshot("rival")], time_ms=START_MS + 20 * BLOCK_MS + 1)
    fork.grow(3)
    asyncio.run(world.until(lambda: world.custody.complete(chain), world.worker(chain)))
    return world, fork


def test_r3_certified_contradiction_is_brought_to_the_custody_chain() -> None:
    world, fork = forked_world()
    for node in world.nodes["beijing"]:
        node.chain = fork
    worker = world.worker(world.chains[0])
    asyncio.run(world.until(lambda: world.custody.regions["beijing"].frozen, worker))
    assert world.custody.results[-1].applied
    assert not world.sources["beijing"].faults, "a fork is the validators' doing, not the node's"
    asyncio.run(world.until(lambda: world.board.of("beijing").state == "frozen", worker))


def test_r3_nodes_on_both_branches_give_a_pair_that_names_the_culprits() -> None:
    world, fork = forked_world()
    world.nodes["beijing"][0].chain = fork
    asyncio.run(world.until(lambda: world.custody.regions["beijing"].frozen, world.worker(world.chains[0])))
    assert world.custody.culprits == ("beijing-1", "beijing-2", "beijing-3", "beijing-4")


def test_r3_a_node_that_spoils_its_side_of_a_pair_cannot_stop_the_report() -> None:
    world, fork = forked_world()
    world.nodes["beijing"][0].chain = fork
    world.nodes["beijing"][0].tamper = lambda block: thin_certificate(block) if block.height == 20 else honest(block)
    asyncio.run(world.until(lambda: world.custody.regions["beijing"].frozen, world.worker(world.chains[0])))
    assert world.custody.culprits == ()
    assert all(result.applied for result in world.custody.results)


def test_r3_nodes_on_a_branch_that_governance_has_given_up_are_read_around(monkeypatch: pytest.MonkeyPatch) -> None:
    world, fork = forked_world()
    chain, accept = world.chains[0], world.custody.apply
    honest_node, world.nodes["beijing"][1].chain = world.nodes["beijing"][0], fork
    honest_node.visible = 20  # the other one is asked for what comes next
    given_up = {block.signed.hex() for block in fork.blocks[19:]}
    shown: list[str] = []

    def judge(operation: dict[str, Any]) -> SubmissionFate:
        if operation["type"] == MISBEHAVIOUR or operation["blocks"][0].get("header") in given_up:
            shown.append(operation["type"])
            honest_node.visible = None
            return SubmissionFate("rejected", "misbehaviour_known", world.custody.height)
        return accept(operation)

    monkeypatch.setattr(world.custody, "apply", judge)
    chain.grow(2)
    asyncio.run(world.until(world.complete, world.worker(chain)))
    assert shown[:2] == [MISBEHAVIOUR, SUBMIT], "the pair may be judged and the block be new"
    assert {*world.sources["beijing"].faults} == {(1, NodeFault.LYING)}


def test_block_from_the_future_is_awaited_without_blaming_the_node() -> None:
    chain = ChainBuilder()
    chain.grow(1)
    chain.extend([sample_snapshot("later")], time_ms=NOW_MS + 60_000)
    world = World(chain)
    asyncio.run(world.until(world.complete, world.worker(chain)))
    assert not world.sources["beijing"].faults
    assert world.clock.now_ms() >= NOW_MS + 45_000


def test_refused_submission_is_shown_and_tried_again_ever_more_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(busy_chain())
    tried_ms: list[int] = []

    def refuse(operation: dict[str, Any]) -> SubmissionFate:
        tried_ms.append(world.clock.now_ms())
        return SubmissionFate("rejected", "policy_violated", world.custody.height)

    monkeypatch.setattr(world.custody, "apply", refuse)
    asyncio.run(world.until(lambda: len(tried_ms) == 8, world.worker(world.chains[0])))
    error = world.board.of("beijing").last_error
    assert error is not None
    assert error["code"] == "policy_violated"
    pauses = [after - before for before, after in pairwise(tried_ms)]
    assert pauses[0] < 1_000
    assert pauses[-1] > 20_000


def test_snapshot_that_fits_no_operation_is_reported_and_nothing_is_submitted() -> None:
    chain = ChainBuilder()
    chain.extend([b'{"note":"' + b"x" * MAX_OPERATION_BYTES + b'"}'])
    world = World(chain)
    asyncio.run(world.until(lambda: world.board.of("beijing").last_error is not None, world.worker(chain)))
    error = world.board.of("beijing").last_error
    assert error is not None
    assert error["code"] == "snapshot_undeliverable"
    assert not world.custody.results


def test_frozen_region_is_left_alone_until_governance_acts() -> None:
    world = World(busy_chain())
    world.custody.regions["beijing"].frozen = True
    asyncio.run(world.until(lambda: world.board.of("beijing").state == "frozen", world.worker(world.chains[0])))
    assert not world.custody.results
    assert world.nodes["beijing"][0].served == 0


def test_backfill_and_live_regions_share_the_custody_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    old, live = ChainBuilder("beijing"), ChainBuilder("shanghai")
    for height in range(1, 201):
        old.extend([sample_snapshot(f"b:{height}:{index}", note="x" * 20_000) for index in range(1)])
    live.grow(3, snapshots_each=1)
    world = World(old, live)
    order: list[tuple[str, int]] = []
    inner = world.custody.apply

    def note(operation: dict[str, Any]) -> SubmissionFate:
        order.append((operation["region"], len(operation["blocks"])))
        return inner(operation)

    monkeypatch.setattr(world.custody, "apply", note)
    workers = [world.worker(chain, page=500) for chain in world.chains]
    asyncio.run(world.until(world.complete, *workers))
    first_live = next(index for index, (region, _) in enumerate(order) if region == "shanghai")
    assert first_live <= 2, "a live region waits for at most the backfill chunk that is under way"
    assert max(count for region, count in order if region == "beijing") > 20, "backfill travels in big chunks"
