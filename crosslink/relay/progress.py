"""What the relay shows of itself: one record a region for the status API and the logs, and counters for Prometheus.

Left out: decisions. Nothing here is read back by the worker, except how far the other regions are behind
(`Board.lags`).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from crosslink.relay.planner import AnchoredPosition

SHOWN_MISSING: Final = 16
"""Missing bodies of a region that the status names; the counter has their number."""


@dataclass(slots=True)
class RegionProgress:
    """One region as its worker sees it. Times are milliseconds since the Unix epoch."""

    network: str
    state: str = "starting"
    position: AnchoredPosition | None = None
    custody_height: int = 0
    source_tip: int = 0
    buffered_blocks: int = 0
    budget_bytes: int = 0
    last_error: dict[str, Any] | None = None
    next_retry_ms: int | None = None
    last_applied_ms: int | None = None
    missing_bodies: deque[str] = field(default_factory=lambda: deque(maxlen=SHOWN_MISSING))
    """Digests of committed bodies that no node handed out, the newest last (`body_watch`)."""
    skipped_bodies: int = 0
    """Bodies that were not looked for to the end, because too many waited: any of them may be missing too."""

    @property
    def lag_blocks(self) -> int:
        """Blocks that the region has and the custody chain has not anchored."""
        return max(0, self.source_tip - self.position.anchored_height) if self.position is not None else 0

    def to_json(self) -> dict[str, Any]:
        """For `GET /v1/relay/regions`."""
        partial = self.position.partial if self.position is not None else None
        cursor = None
        if self.position is not None:
            cursor = {
                "anchored_height": self.position.anchored_height,
                "partial": {"height": partial.height, "next_index": partial.next_index} if partial else None,
                "custody_height": self.custody_height,
            }
        return {
            "network": self.network,
            "state": self.state,
            "cursor": cursor,
            "source_tip": self.source_tip,
            "lag_blocks": self.lag_blocks,
            "buffered_blocks": self.buffered_blocks,
            "budget_bytes": self.budget_bytes,
            "last_error": self.last_error,
            "next_retry_ms": self.next_retry_ms,
            "last_applied_ms": self.last_applied_ms,
            "missing_bodies": list(self.missing_bodies),
            "skipped_bodies": self.skipped_bodies,
        }


@dataclass(slots=True)
class Board:
    """All regions' progress, by network."""

    regions: dict[str, RegionProgress] = field(default_factory=dict)

    def of(self, network: str) -> RegionProgress:
        """The region's own record."""
        return self.regions.setdefault(network, RegionProgress(network))

    def lags(self, apart_from: str) -> list[int]:
        """How many blocks the other regions are behind."""
        return [progress.lag_blocks for name, progress in self.regions.items() if name != apart_from]


class RelayMetrics:
    """Prometheus counters of one relay, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        label = ["region"]
        prefix = "tongjian_relay"
        self.anchored = Gauge(
            f"{prefix}_anchored_height", "Anchored height of a region.", label, registry=self.registry
        )
        self.tip = Gauge(f"{prefix}_source_height", "Height that a region's node has.", label, registry=self.registry)
        self.blocks = Counter(f"{prefix}_blocks", "Blocks delivered and applied.", label, registry=self.registry)
        self.snapshots = Counter(
            f"{prefix}_snapshots", "Snapshots delivered and applied.", label, registry=self.registry
        )
        self.submissions = Counter(
            f"{prefix}_submissions", "Submissions by final result.", [*label, "result"], registry=self.registry
        )
        self.errors = Counter(f"{prefix}_errors", "Failed steps by code.", [*label, "code"], registry=self.registry)
        self.bodies = Counter(
            f"{prefix}_bodies",
            "Bodies off the chain that delivered snapshots commit to: found, missing or skipped.",
            [*label, "outcome"],
            registry=self.registry,
        )
        self.latency = Histogram(
            f"{prefix}_submission_seconds",
            "Time from sending to the receipt.",
            label,
            registry=self.registry,
            buckets=(0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60),
        )
        self.delay = Histogram(
            f"{prefix}_anchoring_delay_seconds",
            "Time from a block to its anchoring.",
            label,
            registry=self.registry,
            buckets=(0.25, 0.5, 1, 1.5, 2, 3, 5, 10, 30, 60, 600),
        )
