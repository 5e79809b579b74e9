"""A relay whose wall clock is set (attacks C15, R10): how long a node is left alone does not depend on it."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from common.core.errors import Unavailable
from common.node.keys import KeyPair
from crosslink.lightclient.reading import Read
from crosslink.relay.http_custody import HttpCustody
from crosslink.relay.http_source import HttpRegionSource
from tests.sim.system.founding import SUITE, key_text, seed_of
from tests.support.chains import ChainBuilder
from tests.support.relay_world import WarpClock

URLS = ["https://first", "https://second"]
HOUR_MS = 3_600_000
KEY = KeyPair(seed_of("relay"), SUITE.public_key(seed_of("relay")), key_text("relay"), SUITE)


class DeadConnection:
    """Nobody answers; who was asked is remembered."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def get(self, url: str, parameters: object, **bounds: float) -> bytes:
        """Fails."""
        self.asked.append(url.removeprefix("https://").split("/")[0])
        raise Unavailable("node_down", "no answer")


@pytest.mark.parametrize("side", ["custody", "region"])
def test_r10_c15_a_clock_that_is_set_back_does_not_lengthen_any_pause(side: str) -> None:
    """Both nodes fail, the clock goes back an hour: two seconds later both may be asked again."""
    clock, connection = WarpClock(HOUR_MS), DeadConnection()
    clock.skew_ms = HOUR_MS
    custody = HttpCustody("custody", URLS, connection, KEY, clock)  # type: ignore[arg-type]
    source = HttpRegionSource(URLS, connection, clock)  # type: ignore[arg-type]
    state = ChainBuilder().client_state()
    ask = custody.region if side == "custody" else partial(source.read, state)
    with pytest.raises(Unavailable):
        asyncio.run(ask("beijing" if side == "custody" else Read(1, 10, 0)))  # type: ignore[arg-type]
    nodes = (custody if side == "custody" else source).describe()["nodes"]
    assert set(connection.asked) == {"first", "second"}
    assert [node["paused_ms"] for node in nodes] == [1_000, 1_000]
    clock.skew_ms = 0
    clock.time_ms += 2_000
    nodes = (custody if side == "custody" else source).describe()["nodes"]
    assert [node["paused_ms"] for node in nodes] == [0, 0]
