"""The thread that waits for the disk: order, failures, an end that waits."""

from __future__ import annotations

import asyncio
import threading
import time

from common.node.disk_thread import DiskThread


async def test_work_is_done_in_order_and_told_on_the_loop_in_that_order() -> None:
    thread, told = DiskThread("disk"), list[tuple[int, int, Exception | None]]()
    done, threads = list[int](), set[int]()

    def piece(number: int) -> None:
        def work() -> None:
            threads.add(threading.get_ident())
            time.sleep(0.01 if number == 0 else 0)
            done.append(number)
            if number == 2:
                raise OSError("full")

        thread.run(work, lambda failure: told.append((number, threading.get_ident(), failure)))

    for number in range(5):
        piece(number)
    await thread.stop()
    await asyncio.sleep(0)
    assert done == [0, 1, 2, 3, 4]
    assert threads.isdisjoint({threading.get_ident()})
    assert len(threads) == 1
    assert [(number, ident) for number, ident, _ in told] == [(n, threading.get_ident()) for n in range(5)]
    assert [str(failure) if failure else "" for *_, failure in told] == ["", "", "full", "", ""]


async def test_a_thread_that_was_given_nothing_stops_at_once() -> None:
    await DiskThread("disk").stop()


async def test_stopping_waits_for_the_work_in_flight_and_not_on_the_loop() -> None:
    thread, gate, done = DiskThread("disk"), threading.Event(), list[bool]()
    thread.run(lambda: done.append(gate.wait(5)), lambda failure: None)
    stopping = asyncio.ensure_future(thread.stop())
    await asyncio.sleep(0.02)
    assert not stopping.done()
    gate.set()
    await stopping
    assert done == [True]
