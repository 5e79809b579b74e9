"""An asyncio event loop whose time is the simulated world's: the product's own coroutines run on it unchanged.

Each simulated process has a loop of its own over the common agenda, so that it can be frozen (SIGSTOP), killed, or have
a clock that runs too fast, apart from all others. Everything happens in the order of the world's agenda, so one seed
gives one order.

Left out: sockets, signals, subprocesses; threads (work for an executor is done at one instant that the disk's owner
chooses).
"""

from __future__ import annotations

import asyncio
import contextvars
from asyncio import events
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from common.node.disk_thread import Done, Work
from tests.sim.world import World

Result = TypeVar("Result")


class SimulatedLoop(asyncio.AbstractEventLoop):
    """The event loop of one process."""

    def __init__(self, world: World, *, rate: float = 1.0) -> None:
        self.world = world
        self.rate = rate
        """How fast this machine's monotonic clock runs."""
        self.alive = True
        self.frozen = False
        self.work_delay_ms: Callable[[], tuple[int, int]] = lambda: (0, 0)
        """Draws when a piece of disk work takes effect, and how much later it is reported."""
        self.troubles: list[dict[str, Any]] = []
        """What callbacks raised: always a defect of the product or of the simulator."""
        self._held: list[asyncio.Handle] = []
        self._base_s, self._based_ms = 0.0, world.now_ms
        self._threads: dict[object, int] = {}

    # Life

    def kill(self) -> None:
        """Nothing of this process ever happens again."""
        self.alive = False
        self._held.clear()

    def freeze(self) -> None:
        """SIGSTOP."""
        self.frozen = True

    def thaw(self) -> None:
        """SIGCONT: timers that ran out meanwhile come first, then what waits in the sockets."""
        self.frozen = False
        held, self._held = self._held, []
        for handle in sorted(held, key=lambda handle: not isinstance(handle, asyncio.TimerHandle)):
            self.world.after(0, lambda handle=handle: self._fire(handle))

    def set_rate(self, rate: float) -> None:
        """Let the monotonic clock run at another speed; timers that are set keep their time."""
        self._base_s, self._based_ms, self.rate = self.time(), self.world.now_ms, rate

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Run a block of code as this process."""
        before = events._get_running_loop()
        events._set_running_loop(self)
        try:
            yield
        finally:
            events._set_running_loop(before)

    def _fire(self, handle: asyncio.Handle) -> None:
        if not self.alive or handle.cancelled():
            return
        if self.frozen:
            self._held.append(handle)
            return
        before = events._get_running_loop()
        events._set_running_loop(self)
        try:
            handle._run()
        finally:
            events._set_running_loop(before)

    # What asyncio asks

    def time(self) -> float:
        return self._base_s + (self.world.now_ms - self._based_ms) * self.rate / 1000

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self.world.after(0, lambda: self._fire(handle))
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        delay_ms = max(0.0, when - self.time()) * 1000 / self.rate
        self.world.after(int(delay_ms + 0.999_999), lambda: self._fire(handle))
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, Result], *, name: str | None = None, context: contextvars.Context | None = None
    ) -> asyncio.Task[Result]:
        return asyncio.Task(coro, loop=self, name=name, context=context)

    def run_in_executor(  # type: ignore[override]
        self, executor: object, func: Callable[..., Result], *args: Any
    ) -> asyncio.Future[Result]:
        """One thread an executor: pieces of work take effect in the order given."""
        future: asyncio.Future[Result] = self.create_future()
        work_ms, report_ms = self.work_delay_ms()
        starts_ms = max(self.world.now_ms, self._threads.get(executor, 0)) + work_ms
        self._threads[executor] = starts_ms

        def work() -> None:
            # A thread goes on while the process is frozen only as far as the disk: close enough.
            if not self.alive or future.cancelled():
                return
            try:
                result = func(*args)
            except Exception as error:
                # Whatever the work raises belongs to whoever waits for it.
                trouble = error
                self.world.after(report_ms, lambda: self.call_soon(_settle, future, None, trouble))  # type: ignore[arg-type]
            else:
                self.world.after(report_ms, lambda: self.call_soon(_settle, future, result, None))  # type: ignore[arg-type]

        self.world.after(starts_ms - self.world.now_ms, work)
        return future

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return self.alive

    def is_closed(self) -> bool:
        return not self.alive

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if self.alive:
            self.troubles.append(context)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Cancelled timers are skipped when their time comes."""


def _settle(future: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if future.cancelled():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


class SimulatedDiskWorker:
    """Does a node's disk work as a thread of its own on the simulated loop would (`DiskWorker`)."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._loop = asyncio.get_running_loop()
        self._pending: set[asyncio.Future[None]] = set()

    def run(self, work: Work, done: Done) -> None:
        future: asyncio.Future[None] = self._loop.run_in_executor(self, work)  # type: ignore[arg-type]
        self._pending.add(future)

        def finished(future: asyncio.Future[None]) -> None:
            self._pending.discard(future)
            failure = future.exception()
            assert failure is None or isinstance(failure, Exception)
            done(failure)

        future.add_done_callback(finished)

    async def stop(self) -> None:
        if self._pending:
            await asyncio.wait(self._pending)
