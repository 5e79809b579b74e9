"""A steady load for hours: transfers at a fixed rate over kept connections, each waiting for its receipt, the figures
counted by the minute. A transaction whose wait was over without a receipt is sent again, as a client would."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from cli.localnet.layout import LocalNetwork
from tests.bench.load import Connection, percentile
from tests.bench.measures import ACCOUNTS
from tests.bench.registrations import transfers
from tests.support.market import Market

CONNECTIONS = 96
WAIT_S = 10
ATTEMPTS = 30
RENEW_AFTER = 10_000
"""Transactions signed with one expiry; then it is taken from the tip again."""


@dataclass
class Minute:
    """What happened to the transactions that were sent within one minute."""

    sent: int = 0
    final: int = 0
    sent_again: int = 0
    late: int = 0
    """Could not be sent when they were due: every connection was waiting."""
    statuses: dict[int, int] = field(default_factory=dict)
    latencies_ms: list[float] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """For the report."""
        return {
            "sent": self.sent,
            "final": self.final,
            "sent_again": self.sent_again,
            "late": self.late,
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            "p50_ms": round(percentile(self.latencies_ms, 0.5), 1),
            "p99_ms": round(percentile(self.latencies_ms, 0.99), 1),
        }


def endless(network: LocalNetwork, region: str) -> Iterator[bytes]:
    """Signed transfers without end, whose expiry moves along with the chain."""
    while True:
        envelopes = transfers(Market(network, region), ACCOUNTS, operations=1, prefix=f"soak-{time.time_ns()}")
        for _ in range(RENEW_AFTER):
            yield next(envelopes)


class SteadyLoad:
    """One region under load."""

    def __init__(self, network: LocalNetwork, region: str, rate_per_s: float) -> None:
        self.minutes: list[Minute] = []
        self._rate = rate_per_s
        self._envelopes = endless(network, region)
        market = Market(network, region)
        self._connections = [
            Connection(market.chain.nodes[number % len(market.chain.nodes)].api, market.token, network.ca_file)
            for number in range(CONNECTIONS)
        ]

    async def run(self, seconds: float) -> None:
        """Send for so long; return once everything has its answer."""
        await asyncio.gather(*(connection.open() for connection in self._connections))
        free: asyncio.Queue[Connection] = asyncio.Queue()
        for connection in self._connections:
            free.put_nowait(connection)
        running: set[asyncio.Task[None]] = set()
        began = time.monotonic()
        for number in range(int(self._rate * seconds)):
            due = began + number / self._rate
            if time.monotonic() > began + seconds:
                break  # the rate was not kept: `late` says so
            if (pause := due - time.monotonic()) > 0:
                await asyncio.sleep(pause)
            minute = self._minute(int((time.monotonic() - began) // 60))
            minute.late += free.empty()
            task = asyncio.create_task(self._one(await free.get(), free, minute))
            running.add(task)
            task.add_done_callback(running.discard)
        await asyncio.gather(*running)
        for connection in self._connections:
            connection.close()

    def _minute(self, number: int) -> Minute:
        while len(self.minutes) <= number:
            self.minutes.append(Minute())
        return self.minutes[number]

    async def _one(self, connection: Connection, free: asyncio.Queue[Connection], minute: Minute) -> None:
        envelope, began = next(self._envelopes), time.monotonic()
        minute.sent += 1
        try:
            for attempt in range(ATTEMPTS):
                minute.sent_again += attempt > 0
                try:
                    status, _ = await connection.post(envelope, wait_s=WAIT_S)
                except (OSError, asyncio.IncompleteReadError):
                    status = 0
                minute.statuses[status] = minute.statuses.get(status, 0) + 1
                if status == 200:
                    minute.final += 1
                    minute.latencies_ms.append((time.monotonic() - began) * 1000)
                    return
                await asyncio.sleep(0.2)
        finally:
            free.put_nowait(connection)
