"""Channels between the validators of one chain, in the place of the transport: `PeerChannels` for a real runtime.

Each end greets the other first; what one end has sent since it opened arrives behind its greeting. A channel breaks at
once for whoever closes it, a little later for the other end. Left out: TLS, hellos, frames, bounds of queues.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from common.node.logic.node_effects import Channel
from common.node.logic.node_events import PeerKey
from common.node.logic.wire.peer_messages import KIND_CONSENSUS, KIND_TRANSACTIONS

if TYPE_CHECKING:
    from tests.sim.system.machine import NodeMachine

UNORDERED = frozenset({KIND_CONSENSUS, KIND_TRANSACTIONS})
"""Kinds of payload that may overtake and repeat each other, though TLS would not let them."""


@dataclass(eq=False, slots=True)
class Line:
    """One channel. `open_at` holds the ends that have been greeted, `closed_at` those that know of its end."""

    number: int
    ends: tuple[NodeMachine, NodeMachine]
    lives: tuple[int, int]
    open_at: set[str]
    closed_at: set[str]

    def other(self, machine: NodeMachine) -> NodeMachine:
        """The machine at the other end."""
        return self.ends[1] if machine is self.ends[0] else self.ends[0]

    def stands(self, machine: NodeMachine) -> bool:
        """Whether the process that opened this end still runs and has not closed it."""
        life = self.lives[0] if machine is self.ends[0] else self.lives[1]
        return machine.alive and machine.life == life and machine.name not in self.closed_at


class SimulatedChannels:
    """The channels of one process."""

    def __init__(self, machine: NodeMachine) -> None:
        self._machine = machine
        self._lines: dict[PeerKey, Line] = {}
        self.pending: set[PeerKey] = set()
        """Keys with which a channel is being opened."""
        self._paused_until_ms: dict[PeerKey, int] = {}
        self.received_bytes = 0

    # What the runtime asks.

    def send(self, peer: PeerKey, channel: Channel, payload: bytes) -> None:
        """Send to one peer, if it is connected."""
        line = self._lines.get(peer)
        if line is not None:
            self._put(line, payload)

    def broadcast(self, channel: Channel, payload: bytes) -> None:
        """Send to every connected peer."""
        for line in list(self._lines.values()):
            self._put(line, payload)

    def tell_observers(self, payload: bytes) -> None:
        """There are none."""

    def disconnect(self, peer: PeerKey, reason: str, pause_ms: int) -> None:
        """Close the channel to a peer that broke the protocol."""
        machine = self._machine
        self._paused_until_ms[peer] = machine.world.now_ms + pause_ms
        line = self._lines.get(peer)
        if line is not None:
            machine.world.note(f"{machine.name} cuts off {line.other(machine).name}: {reason}")
            machine.observer.cut_off(machine, line.other(machine), reason)
            self.close(line)

    def validators_changed(self) -> None:
        """Sets do not change here."""

    # Opening and closing.

    def is_connected(self, peer: PeerKey) -> bool:
        """Whether a channel is open, or being opened."""
        return peer in self._lines or peer in self.pending

    def leaves_alone(self, peer: PeerKey) -> bool:
        """Whether the peer broke the protocol a short while ago."""
        return self._paused_until_ms.get(peer, 0) > self._machine.world.now_ms

    def greeted(self, line: Line, greeting: bytes) -> None:
        """The other end's greeting has arrived: the channel is open."""
        machine, peer = self._machine, line.other(self._machine)
        if not line.stands(machine):
            return
        self.pending.discard(peer.key)
        older = self._lines.get(peer.key)
        if older is not None:
            self.close(older)
        line.open_at.add(machine.name)
        self._lines[peer.key] = line
        machine.runtime.peer_connected(peer.key, greeting)

    def arrived(self, line: Line, payload: bytes) -> None:
        """A payload has arrived."""
        self.received_bytes += len(payload)
        machine, peer = self._machine, line.other(self._machine)
        if self._lines.get(peer.key) is line:
            if machine.mischief is not None:
                machine.mischief.heard(machine, payload)
            machine.runtime.peer_message(peer.key, payload, True)

    def close(self, line: Line) -> None:
        """Close our end; the other hears of it."""
        machine, peer = self._machine, line.other(self._machine)
        self.ended(line)
        delay_ms = machine.network.delay_ms(machine.name, peer.name)
        machine.world.after(delay_ms, lambda: peer.alive and peer.loop.call_soon(peer.channels.ended, line))  # type: ignore[arg-type]

    def ended(self, line: Line) -> None:
        """The channel is gone."""
        machine, peer = self._machine, line.other(self._machine)
        line.closed_at.add(machine.name)
        if self._lines.get(peer.key) is line:
            del self._lines[peer.key]
            machine.runtime.peer_disconnected(peer.key)
        if line.other(machine) is peer and machine.name not in line.open_at:
            self.pending.discard(peer.key)

    def close_all(self) -> None:
        """The process ends: every peer hears of it."""
        for line in list(self._lines.values()):
            machine, peer = self._machine, line.other(self._machine)
            delay_ms = machine.network.delay_ms(machine.name, peer.name)
            line.closed_at.add(machine.name)
            machine.world.after(delay_ms, lambda line=line, peer=peer: _hear_end(peer, line))
        self._lines.clear()

    def lines(self) -> list[Line]:
        """Open channels."""
        return list(self._lines.values())

    # Carrying.

    def _put(self, line: Line, payload: bytes) -> None:
        machine, peer = self._machine, line.other(self._machine)
        machine.observer.said(machine, peer, payload)
        said = [payload] if machine.mischief is None else machine.mischief.says(machine, peer, payload)
        for data in said:
            self.carry(line, data)

    def carry(self, line: Line, payload: bytes) -> None:
        """Put a payload on the wire, true or not."""
        machine, peer = self._machine, line.other(self._machine)
        if machine.network.starve is not None and machine.network.starve(payload):
            return
        ordered = payload[:1] == b"" or payload[0] not in UNORDERED
        machine.network.frame(
            machine.name, peer.name, line.number, lambda: _deliver(peer, line, payload), ordered=ordered
        )


def _deliver(peer: NodeMachine, line: Line, payload: bytes) -> None:
    if line.stands(peer):
        peer.loop.call_soon(peer.channels.arrived, line, payload)


def _hear_end(peer: NodeMachine, line: Line) -> None:
    if line.stands(peer):
        peer.loop.call_soon(peer.channels.ended, line)


def open_line(number: int, one: NodeMachine, two: NodeMachine) -> Line | None:
    """Two processes have found each other; each is greeted in its own time. None if it cannot be."""
    for here, there in ((one, two), (two, one)):
        if not here.alive or here.loop.frozen or here.network.is_cut(here.name, there.name):
            return None
        if here.channels.is_connected(there.key) or here.channels.leaves_alone(there.key):
            return None
    line = Line(number, (one, two), (one.life, two.life), set(), set())
    greetings = []
    for here, there in ((one, two), (two, one)):
        here.channels.pending.add(there.key)
        with here.loop.entered():
            greetings.append(here.runtime.greeting_for(there.key))
    for (here, there), greeting in zip(((one, two), (two, one)), greetings, strict=True):
        here.network.frame(
            here.name,
            there.name,
            number,
            lambda there=there, greeting=greeting: _greet(there, line, greeting),
            ordered=True,
        )
    one.world.after(1_500, lambda: _give_up(line))
    return line


def _greet(there: NodeMachine, line: Line, greeting: bytes) -> None:
    if line.stands(there):
        there.loop.call_soon(there.channels.greeted, line, greeting)


def _give_up(line: Line) -> None:
    """The handshake's time is over: unless both ends were greeted, both drop the channel."""
    if all(line.stands(end) and end.name in line.open_at for end in line.ends):
        return
    for end in line.ends:
        if line.stands(end):
            end.loop.call_soon(end.channels.close, line)
