"""Collects the effects of one step, and remembers which timer tokens are current.

The parts of a node (agreement, mempool gossip, body fetch, catch-up) share one outbox, so the order in which they ask
for things is the order in which these are performed.

Left out: performing anything.
"""

from __future__ import annotations

from common.node.logic.node_effects import CancelTimer, Channel, NodeEffect, SendToPeer, SendToPeers, SetTimer
from common.node.logic.node_events import PeerKey, Timer
from common.node.logic.wire.peer_messages import PeerPayload


class NodeOutbox:
    """Effects in order, and the tokens of the timers that run."""

    def __init__(self) -> None:
        self._effects: list[NodeEffect] = []
        self._tokens: dict[Timer, int] = {}
        self._last_token = 0

    def take(self) -> list[NodeEffect]:
        """Everything asked for since the last call, in order."""
        effects, self._effects = self._effects, []
        return effects

    def add(self, effect: NodeEffect) -> None:
        """Ask for any effect."""
        self._effects.append(effect)

    def send(self, peer: PeerKey, message: PeerPayload, channel: Channel) -> None:
        """Send one message to one peer."""
        self._effects.append(SendToPeer(peer, message.encode(), channel))

    def broadcast(self, message: PeerPayload, channel: Channel) -> None:
        """Send one message to every connected peer."""
        self._effects.append(SendToPeers(message.encode(), channel))

    def set_timer(self, timer: Timer, delay_ms: int) -> int:
        """Arm `timer`, replacing a running one; returns its token."""
        self._last_token += 1
        self._tokens[timer] = self._last_token
        self._effects.append(SetTimer(timer, self._last_token, delay_ms))
        return self._last_token

    def cancel_timer(self, timer: Timer) -> None:
        """Stop `timer`; nothing happens if it does not run."""
        if self._tokens.pop(timer, None) is not None:
            self._effects.append(CancelTimer(timer))

    def runs(self, timer: Timer) -> bool:
        """Whether `timer` is armed."""
        return timer in self._tokens

    def expired(self, timer: Timer, token: int) -> bool:
        """Whether an expiry is the current one; if so the timer is idle from now on."""
        if self._tokens.get(timer) != token:
            return False
        del self._tokens[timer]
        return True
