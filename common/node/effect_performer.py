"""Performs what a node wants, one effect after the other: the one interpreter of `node_effects`.

Behind its ports stand the runtime, a node that joins, the simulator's machines and the tests' bus. None of them decides
about order.

Invariants
  E1  Effects are performed in the order in which they were taken. While vote records are being made durable, every
      effect behind them waits, and no other kind of effect overtakes (protocol rule 1, attack S1; contract F1, F2).
  E2  Records that queue up meanwhile share the next sync (group commit).
  E3  After `stop` nothing more is performed (contract F5, attack S2).

Left out: threads, sockets, clocks (the ports' business), stepping the node.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence

from common.consensus.effects import Persist
from common.node.logic.node_effects import (
    Accusation,
    BlockCommitted,
    CancelTimer,
    CommitBlock,
    Disconnect,
    Halt,
    MakeCheckpoint,
    NodeEffect,
    SendToPeer,
    SendToPeers,
    SetTimer,
    Warned,
)


class EffectPorts:
    """Where effects go: a method each. What a driver has no use for it leaves as it is here: nothing happens."""

    def persist(self, records: Sequence[bytes], durable: Callable[[], None]) -> None:
        """Append vote records and make them durable; then call `durable`, at once or later."""

    def write_block(self, block: CommitBlock) -> None:
        """Write the batch; then give the node its `BlockWritten`."""

    def set_timer(self, timer: SetTimer) -> None:
        """Arm a timer, instead of the one that runs."""

    def cancel_timer(self, timer: CancelTimer) -> None:
        """Stop a timer."""

    def send(self, message: SendToPeer) -> None:
        """Send to one peer."""

    def send_to_all(self, message: SendToPeers) -> None:
        """Send to every connected peer."""

    def disconnect(self, order: Disconnect) -> None:
        """Close a channel."""

    def block_committed(self, block: BlockCommitted) -> None:
        """A block is final and durable."""

    def accused(self, accusation: Accusation) -> None:
        """A member signed against the protocol."""

    def warned(self, warning: Warned) -> None:
        """Something for the log."""

    def halt(self, order: Halt) -> None:
        """The node must end."""

    def make_checkpoint(self, order: MakeCheckpoint) -> None:
        """A checkpoint is due."""


class EffectPerformer:
    """See the module docstring."""

    def __init__(self, ports: EffectPorts) -> None:
        self._ports = ports
        self._queue: deque[NodeEffect] = deque()
        self._persisting = False
        self._performing = False
        self._stopped = False
        self.performed = 0
        """Effects so far."""

    def take(self, effects: Iterable[NodeEffect]) -> None:
        """Perform these after all that wait already.

        A port may lead to another step of the node, whose effects are taken inside it: they go to the end of the queue,
        and the outer call performs them.
        """
        if self._stopped:
            return
        self._queue.extend(effects)
        if self._performing:
            return
        self._performing = True
        try:
            while self._queue and not self._persisting:
                self.performed += 1
                self.perform_one(self._queue.popleft())
        finally:
            self._performing = False

    def stop(self) -> None:
        """Perform nothing more (E3)."""
        self._stopped = True
        self._queue.clear()

    def perform_one(self, effect: NodeEffect) -> None:
        """Hand one effect to its port."""
        ports = self._ports
        match effect:
            case SendToPeer():
                ports.send(effect)
            case SendToPeers():
                ports.send_to_all(effect)
            case Persist():
                self._persist(effect)
            case CommitBlock():
                ports.write_block(effect)
            case SetTimer():
                ports.set_timer(effect)
            case CancelTimer():
                ports.cancel_timer(effect)
            case BlockCommitted():
                ports.block_committed(effect)
            case Disconnect():
                ports.disconnect(effect)
            case Accusation():
                ports.accused(effect)
            case Warned():
                ports.warned(effect)
            case Halt():
                ports.halt(effect)
            case MakeCheckpoint():
                ports.make_checkpoint(effect)

    def _persist(self, first: Persist) -> None:
        """These records and all that already queue behind, in one sync. Durable earlier than asked for is never wrong;
        sent earlier would be.
        """
        records = list(first.records)
        waiting: deque[NodeEffect] = deque()
        for effect in self._queue:
            if isinstance(effect, Persist):
                records += effect.records
            else:
                waiting.append(effect)
        self._queue = waiting
        self._persisting = True
        self._ports.persist(records, self._durable)

    def _durable(self) -> None:
        self._persisting = False
        self.take(())
