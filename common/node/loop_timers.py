"""The node's timers on the event loop.

A node sets its view timer and its heartbeat anew with every block and seldom sees either expire. So the loop's own
timer stays where it is when one is cancelled or set to a later time; what fires too early is armed for the rest.

Invariants
  T1  A timer expires once, no earlier than its delay after it was last set, and not at all if it was cancelled.

Left out: what an expiry waits for (`runtime`, R3).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from common.node.logic.node_effects import SetTimer
from common.node.logic.node_events import Timer

ROUNDED_S = 0.0005
"""The loop counts milliseconds: what is less than half of one before its time is not early."""


@dataclass(slots=True, eq=False)
class _Armed:
    """One timer, and the loop's that will fire for it."""

    effect: SetTimer | None = None
    due_s: float = 0.0
    handle: asyncio.TimerHandle | None = None
    fires_s: float = 0.0


class LoopTimers:
    """All timers of one node. `expired(effect, due)` gets each expiry with the loop's time at which it was due."""

    def __init__(self, loop: asyncio.AbstractEventLoop, expired: Callable[[SetTimer, float], None]) -> None:
        self._loop = loop
        self._expired = expired
        self._timers = {timer: _Armed() for timer in Timer}

    def set(self, effect: SetTimer) -> None:
        """Arm a timer, instead of the one that runs."""
        armed = self._timers[effect.timer]
        armed.effect, armed.due_s = effect, self._loop.time() + effect.delay_ms / 1000
        if armed.handle is None or armed.fires_s > armed.due_s:
            self._arm(armed)

    def cancel(self, timer: Timer) -> None:
        """Stop a timer."""
        self._timers[timer].effect = None

    def stands(self, effect: SetTimer) -> bool:
        """Whether the timer was neither cancelled nor set anew since."""
        return self._timers[effect.timer].effect is effect

    def stop(self) -> None:
        """Nothing expires any more."""
        for armed in self._timers.values():
            armed.effect = None
            if armed.handle is not None:
                armed.handle.cancel()

    def _arm(self, armed: _Armed) -> None:
        if armed.handle is not None:
            armed.handle.cancel()
        armed.fires_s = armed.due_s
        armed.handle = self._loop.call_later(max(0.0, armed.due_s - self._loop.time()), self._fired, armed)

    def _fired(self, armed: _Armed) -> None:
        armed.handle = None
        if armed.effect is None:
            return
        if armed.due_s - self._loop.time() > ROUNDED_S:
            self._arm(armed)
        else:
            self._expired(armed.effect, armed.due_s)
