"""A few seconds of each flood on real processes; `make flood` runs them for longer and reports the figures."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.toy_network import ToyNetwork
from tests.flood.measure import under_flood

RSS_GROWTH_MIB = 160.0
"""Far above what was measured (under 45 MiB in six seconds), far below what an unbounded queue would take."""


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ToyNetwork]:
    """Four validators."""
    running = ToyNetwork(tmp_path_factory.mktemp("flood"), 4)
    try:
        running.start()
        yield running
    finally:
        running.stop()


@pytest.mark.parametrize("name", ["far_heights", "view_changes", "questions", "slowloris", "stalled_bodies"])
def test_c13_n2_n3_a_flooded_node_keeps_its_memory_and_serves_honest_clients(network: ToyNetwork, name: str) -> None:
    """A validator's key in hostile hands, 500 slow HTTPS clients, and 400 that stop within a large body."""
    found = under_flood(network, name, 2.0)
    assert found["rss_max_mib"] - found["rss_before_mib"] < RSS_GROWTH_MIB
    assert found["honest_receipts"] > 0
    assert found["honest_without_receipt"] == 0
    if "sent_messages" in found:
        assert found["sent_messages"] > 1_000, "that was no flood"
