"""The node's numbers in Prometheus text format (ADR 0004).

Invariants: one registry a node, never the global one; labels are route templates, methods and status codes, so that
no client can grow the number of series (attack N1); what the node keeps anyway is read when scraped.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from common.node.http.node_ports import ServedNode

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class _NodeCollector(Collector):
    """Reads the node's status and counters at the moment of a scrape."""

    def __init__(self, service: ServedNode) -> None:
        self._service = service

    def describe(self) -> list[Metric]:
        """Nothing in advance: asking the node is for scrapes only."""
        return []

    def collect(self) -> Iterator[Metric]:
        """One family for each number."""
        status = self._service.status()
        gauges = {
            "height": (status.height, "Height of the last committed block."),
            "block_time_seconds": (status.time_ms / 1000, "Time of the last committed block, seconds since the epoch."),
            "view": (status.view, "View of the height in progress."),
            "peers_connected": (len(status.connected), "Connected peers."),
            "validators": (len(status.validators), "Size of the validator set of the next height."),
            "best_peer_height": (status.best_peer_height, "Highest tip that a peer shows."),
            "syncing": (int(status.syncing), "1 while catching up."),
            "voting": (int(status.voting), "1 while this node votes."),
            "ready": (int(self._service.ready()), "1 while /readyz answers 200."),
            "mempool_transactions": (status.mempool_transactions, "Pending transactions."),
            "mempool_bytes": (status.mempool_bytes, "Bytes of pending transactions."),
        }
        for name, (value, text) in gauges.items():
            yield GaugeMetricFamily(f"tongjian_{name}", text, value=float(value))
        for name, number in sorted(self._service.counters().items()):
            if name.endswith("_total"):
                yield CounterMetricFamily(f"tongjian_{name}", "Kept by the node.", value=float(number))
            elif name not in gauges:
                yield GaugeMetricFamily(f"tongjian_{name}", "Kept by the node.", value=float(number))


class Metrics:
    """Registry of one node, and the latencies of its HTTP interface."""

    def __init__(self, service: ServedNode) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_NodeCollector(service))
        self._requests = Histogram(
            "tongjian_http_request_seconds",
            "Time from the head of a request to the end of its answer, waiting included.",
            ("route", "method", "status"),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._children: dict[tuple[str, str, int], Histogram] = {}

    def observe(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        key = (route, method, status)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = self._requests.labels(route, method, str(status))
        child.observe(seconds)

    def render(self) -> bytes:
        """The scrape's body."""
        return generate_latest(self._registry)
