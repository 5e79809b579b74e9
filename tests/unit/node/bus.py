"""Several nodes in one process: performs their effects under virtual time, strictly by the contracts of `node_events`
and `node_effects`.

A `Machine` keeps what survives a kill (the store, the vote log's durable records); a `Bus` carries messages with a
fixed delay and runs the clock.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from common.chain.application import Application
from common.consensus.vote_records import record_height
from common.core.genesis import Genesis
from common.node.effect_performer import EffectPerformer, EffectPorts
from common.node.logic.execution.genesis_state import initialise_chain
from common.node.logic.node import Node
from common.node.logic.node_effects import (
    Accusation,
    BlockCommitted,
    CancelTimer,
    CommitBlock,
    Disconnect,
    Halt,
    NodeEffect,
    SendToPeer,
    SendToPeers,
    SetTimer,
    Warned,
)
from common.node.logic.node_events import (
    BlockWritten,
    NodeEvent,
    PeerConnected,
    PeerDisconnected,
    PeerMessage,
    Started,
    Timer,
    TimerExpired,
)
from common.node.logic.node_status import NodeLimits
from common.node.store.chain_store import ChainStore
from common.node.store.memory_store import MemoryStore
from tests.unit.node.toy import START_MS, ToyApplication, key_of, seed_of

DELAY_MS = 2


class MortalPerformer(EffectPerformer):
    """A kill before an effect loses it and the rest (attack S1)."""

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine)
        self._machine = machine

    def perform_one(self, effect: NodeEffect) -> None:
        """Perform it, unless the machine dies of it."""
        bus = self._machine.bus
        if bus.kill_at(self._machine, effect):
            bus.kill(self._machine.name)
        else:
            super().perform_one(effect)


@dataclass
class Machine(EffectPorts):
    """One validator's machine, and its ports."""

    name: str
    genesis: Genesis
    bus: Bus
    limits: NodeLimits = field(default_factory=NodeLimits)
    store: MemoryStore = field(default_factory=MemoryStore)
    vote_records: list[bytes] = field(default_factory=list)
    application: Application = field(default_factory=ToyApplication)
    clock_offset_ms: int = 0
    late_us: int = 0
    """What every expired timer says of its lateness."""
    may_vote: bool = True
    stopwatch: Callable[[], int] = lambda: 0
    supported_versions: tuple[int, ...] = (1, 2)
    node: Node | None = None
    chain: ChainStore = field(init=False)
    performer: EffectPerformer = field(init=False)
    incarnation: int = 0
    timers: dict[Timer, int] = field(default_factory=dict)
    committed: list[BlockCommitted] = field(default_factory=list)
    warnings: list[Warned] = field(default_factory=list)
    accusations: list[Accusation] = field(default_factory=list)
    disconnects: list[Disconnect] = field(default_factory=list)
    halts: list[Halt] = field(default_factory=list)
    sent: list[tuple[str, bytes]] = field(default_factory=list)
    peers: set[str] = field(default_factory=set)

    @property
    def key(self) -> bytes:
        """The machine's validator key."""
        return key_of(self.name)

    @property
    def height(self) -> int:
        """The committed height."""
        return self.chain.tip().height

    def boot(self) -> Node:
        """Start a node on what the machine has."""
        self.chain = ChainStore(self.store, self.genesis)
        initialise_chain(self.chain, self.genesis, self.application)
        self.incarnation += 1
        self.timers = {}
        self.performer = MortalPerformer(self)
        self.node = Node(
            genesis=self.genesis,
            application=self.application,
            chain=self.chain,
            seed=seed_of(self.name),
            recovered=tuple(self.vote_records),
            limits=self.limits,
            may_vote=self.may_vote,
            stopwatch=self.stopwatch,
            supported_versions=self.supported_versions,
        )
        return self.node

    def die(self) -> None:
        """The process and its unsynced writes are gone."""
        self.node = None
        self.performer.stop()
        self.store.crash()

    def take(self, effects: list[NodeEffect]) -> None:
        """Perform what the node wants."""
        self.performer.take(effects)

    def persist(self, records: Sequence[bytes], durable: Callable[[], None]) -> None:
        self.vote_records.extend(records)
        durable()

    def write_block(self, block: CommitBlock) -> None:
        self.store.write(block.writes, sync=block.synced)
        if block.synced:
            self.vote_records = [data for data in self.vote_records if record_height(data) > block.height]
        self.bus.give_later(self, 0, BlockWritten(block.height))

    def send(self, message: SendToPeer) -> None:
        self.bus.carry(self, self.bus.by_key[message.peer].name, message.payload)

    def send_to_all(self, message: SendToPeers) -> None:
        for name in sorted(self.peers):
            self.bus.carry(self, name, message.payload)

    def set_timer(self, timer: SetTimer) -> None:
        self.timers[timer.timer] = timer.token
        self.bus.give_later(self, timer.delay_ms, TimerExpired(timer.timer, timer.token, self.late_us))

    def cancel_timer(self, timer: CancelTimer) -> None:
        self.timers.pop(timer.timer, None)

    def disconnect(self, order: Disconnect) -> None:
        self.disconnects.append(order)
        self.bus.disconnect(self.name, self.bus.by_key[order.peer].name)

    def block_committed(self, block: BlockCommitted) -> None:
        self.committed.append(block)

    def accused(self, accusation: Accusation) -> None:
        self.accusations.append(accusation)

    def warned(self, warning: Warned) -> None:
        self.warnings.append(warning)

    def halt(self, order: Halt) -> None:
        self.halts.append(order)
        self.bus.kill(self.name)

    @property
    def running(self) -> Node:
        """The node, which must run."""
        if self.node is None:
            raise LookupError(f"{self.name} does not run")
        return self.node


class Bus:
    """The world around the machines."""

    def __init__(self, genesis: Genesis, names: list[str], **options: Any) -> None:
        self.genesis = genesis
        self.now_ms = START_MS + 1_000
        self.machines = {name: Machine(name, genesis, self, **options) for name in names}
        self.by_key = {machine.key: machine for machine in self.machines.values()}
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._order = count()
        self.blocked: set[tuple[str, str]] = set()
        self.drop: Callable[[str, str, bytes], bool] = lambda source, target, payload: False
        self.kill_at: Callable[[Machine, NodeEffect], bool] = lambda machine, effect: False

    # -- running -------------------------------------------------------------------------------------------------------

    def start(self, *names: str) -> None:
        """Boot machines (all without names) and connect them to those that run."""
        for name in names or tuple(self.machines):
            machine = self.machines[name]
            machine.boot()
            self.give(machine, Started())
        for name in names or tuple(self.machines):
            for other in self.machines.values():
                self.connect(name, other.name)

    def connect(self, first: str, second: str) -> None:
        """Open a channel, if both run and it is not there."""
        one, two = self.machines[first], self.machines[second]
        if one is two or one.node is None or two.node is None or second in one.peers or self._blocked(first, second):
            return
        one.peers.add(second)
        two.peers.add(first)
        hello_one, hello_two = one.node.hello_for(two.key), two.node.hello_for(one.key)
        self.give(one, PeerConnected(two.key, hello_two))
        self.give(two, PeerConnected(one.key, hello_one))

    def disconnect(self, first: str, second: str) -> None:
        """Close a channel."""
        one, two = self.machines[first], self.machines[second]
        for machine, other in ((one, two), (two, one)):
            if other.name in machine.peers:
                machine.peers.discard(other.name)
                if machine.node is not None:
                    self.give(machine, PeerDisconnected(other.key))

    def kill(self, name: str) -> None:
        """kill -9: the process and its unsynced writes are gone."""
        machine = self.machines[name]
        machine.die()
        for other in list(machine.peers):
            self.disconnect(name, other)

    def partition(self, *groups: list[str]) -> None:
        """Only machines of one group reach each other; no groups: everybody everybody."""
        where = {name: at for at, group in enumerate(groups) for name in group}
        self.blocked = {
            (one, two)
            for one in self.machines
            for two in self.machines
            if groups and where.get(one, -1) != where.get(two, -2)
        }
        for one in self.machines:
            for two in self.machines:
                if one < two:
                    if (one, two) in self.blocked:
                        self.disconnect(one, two)
                    else:
                        self.connect(one, two)

    def _blocked(self, first: str, second: str) -> bool:
        return (first, second) in self.blocked

    def submit(self, name: str, envelope: bytes) -> str:
        """A client's transaction; returns the status. Raises Rejected."""
        machine = self.machines[name]
        result, effects = machine.running.submit(envelope, self.clock(machine))
        machine.take(effects)
        return result.status

    def clock(self, machine: Machine) -> int:
        """A machine's wall clock."""
        return self.now_ms + machine.clock_offset_ms

    def give(self, machine: Machine, event: NodeEvent) -> None:
        """Step a node and perform what it wants."""
        if machine.node is not None:
            machine.take(machine.node.step(event, self.clock(machine)))

    def run(self, condition: Callable[[], bool], limit_ms: int = 60_000) -> None:
        """Let things happen until the condition holds. Raises AssertionError after `limit_ms` of virtual time."""
        deadline_ms = self.now_ms + limit_ms
        while not condition():
            if not self._events or self._events[0][0] > deadline_ms:
                raise AssertionError(f"condition not met within {limit_ms} ms: {self.describe()}")
            self._next()

    def pass_time(self, duration_ms: int) -> None:
        """Let everything happen that happens in the next `duration_ms`."""
        deadline_ms = self.now_ms + duration_ms
        while self._events and self._events[0][0] <= deadline_ms:
            self._next()
        self.now_ms = deadline_ms

    def run_to_height(self, height: int, limit_ms: int = 60_000, names: list[str] | None = None) -> None:
        """Until these machines (default: all that run) have committed `height`."""

        def reached() -> bool:
            chosen = [self.machines[name] for name in names] if names else [m for m in self.machines.values() if m.node]
            return all(machine.height >= height for machine in chosen)

        self.run(reached, limit_ms)

    def describe(self) -> str:
        """Where everybody is."""
        return ", ".join(
            f"{machine.name}: {machine.running.status().height}/{machine.running.status().view}"
            f" {[warning.code + ' ' + warning.detail for warning in machine.warnings[-3:]]}"
            for machine in self.machines.values()
            if machine.node is not None
        )

    def _next(self) -> None:
        at_ms, _, action = heapq.heappop(self._events)
        self.now_ms = max(self.now_ms, at_ms)
        action()

    def _later(self, delay_ms: int, action: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now_ms + delay_ms, next(self._order), action))

    # -- machines ------------------------------------------------------------------------------------------------------

    def give_later(self, machine: Machine, delay_ms: int, event: NodeEvent) -> None:
        """An event of this life of the machine; the expiry of a timer, if it still runs then."""
        incarnation = machine.incarnation

        def act() -> None:
            if machine.incarnation != incarnation:
                return
            if isinstance(event, TimerExpired):
                if machine.timers.get(event.timer) != event.token:
                    return
                del machine.timers[event.timer]
            self.give(machine, event)

        self._later(delay_ms, act)

    def carry(self, source: Machine, target_name: str, payload: bytes) -> None:
        """Put bytes on the way."""
        source.sent.append((target_name, payload))
        target = self.machines[target_name]
        if target_name not in source.peers or self.drop(source.name, target_name, payload):
            return
        incarnation = target.incarnation
        self._later(DELAY_MS, lambda: self._arrive(source, target, incarnation, payload))

    def _arrive(self, source: Machine, target: Machine, incarnation: int, payload: bytes) -> None:
        if target.incarnation == incarnation and source.name in target.peers:
            self.give(target, PeerMessage(source.key, payload))

    def inject(self, source: str, target: str, payload: bytes) -> None:
        """A lie: `source` sends bytes that its node did not make."""
        self.carry(self.machines[source], target, payload)


def names_of(count_: int) -> list[str]:
    """node-0, node-1, …"""
    return [f"node-{at}" for at in range(count_)]


def tips(bus: Bus) -> Iterator[bytes]:
    """The tip ids of all machines."""
    for machine in bus.machines.values():
        yield machine.chain.tip().block_id
