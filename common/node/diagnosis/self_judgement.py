"""What a node finds wrong by itself: pure rules from what it knows of itself and its peers to findings.

Left out: collecting the facts (`self_check`), the list of findings (`catalogue`), comparing nodes (`comparison`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from statistics import median_low
from typing import Final

import msgspec

from common.node.diagnosis.catalogue import RENEW_BEFORE_DAYS, Finding, Severity, faults_first, finding

MAX_CLOCK_SKEW_MS: Final = 5_000
"""A third of the 15 s by which a block may be ahead of a validator's clock (protocol rule 5)."""
HIGH_VIEW: Final = 3
RECENT_BLOCKS: Final = 8
CHURNED_BLOCKS: Final = 4
"""Of `RECENT_BLOCKS`: one dead validator of four costs every fourth block a view, half of them is churn."""
MAX_SYNC_US: Final = 50_000
"""A vote waits for two syncs a block; above this, blocks take a tenth of a second for them alone (protocol rule 1)."""
MISMATCHES: Final = frozenset(
    {"hello_unexpected_peer", "hello_wrong_genesis", "hello_wrong_network", "hello_own_key", "hello_bad_signature"}
)
"""Why a dialler gave up, where somebody else answers than the validator that is configured there."""
CLOCK_REFUSALS: Final = frozenset({"hello_expired", "hello_lifetime"})


class PeerFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the round table: a validator or configured peer as a node sees it."""

    name: str
    organisation: str = ""
    member: bool
    connected: bool
    height: int | None = None
    """The tip that it shows."""
    view: int | None = None
    """The view in which it signed last at the open height."""
    silent_ms: int | None = None
    """Since its last byte; None while there is no channel."""
    round_trip_ms: int | None = None
    clock_offset_ms: int | None = None
    """Its clock less ours, when it connected."""
    error: str = ""
    """Why the last attempt to reach it failed."""


class NodeFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a node knows of itself and of its peers at one moment."""

    name: str
    network: str
    version: str
    protocol_version: int
    clock_ms: int
    height: int
    view: int
    recent_views: list[int]
    """In which view each of the last blocks was decided, newest first."""
    quorum: int
    member: str | None
    """The validator whose key it holds, by its name in the current set; None for an observer."""
    voting: bool
    ready: bool
    short: bool
    """No quorum has been connected for some seconds."""
    stalled: bool
    level: bool
    validators: list[tuple[str, str]]
    """Name and organisation of each member of the current set."""
    peers: list[PeerFacts]
    free_bytes: int | None = None
    low_space_bytes: int = 0
    sync_us: int = 0
    """Mean time of the last vote syncs."""
    damage: str = ""
    """The first damage in the database that this process met; empty if none."""
    certificates: dict[str, int] = msgspec.field(default_factory=dict)
    """Purpose (`api`, `peer`, `peer_ca`) -> days until it expires."""
    accused: list[str] = msgspec.field(default_factory=list)
    """Members of the current set against whom there is evidence on the chain."""


def examine(node: NodeFacts) -> list[Finding]:
    """Everything that a node can find wrong by itself, faults first."""
    found = [*_agreement(node), *_peers(node), *_clocks(node), *_machine(node), *_set(node)]
    if not node.ready and not any(item.severity == "fault" for item in found):
        code = "not_ready" if node.level else "node_behind"
        found.append(finding(code, node.name, "it has no proof that it is level with a quorum"))
    return faults_first(found)


def _missing(node: NodeFacts) -> list[PeerFacts]:
    return [peer for peer in node.peers if peer.member and not peer.connected]


def _named(peers: list[PeerFacts]) -> str:
    return ", ".join(f"{peer.name} ({peer.error})" if peer.error else peer.name for peer in peers)


def round_table(node: NodeFacts) -> str:
    """Every peer's place in one line."""
    rows = [f"{node.name} height {node.height} view {node.view}"]
    for peer in node.peers:
        if peer.connected:
            seen = f"seen {(peer.silent_ms or 0) / 1000:.1f} s ago"
            rows.append(f"{peer.name} height {peer.height} view {peer.view or 0} {seen}")
        elif peer.member:
            rows.append(f"{peer.name} not connected")
    return "; ".join(rows)


def _agreement(node: NodeFacts) -> Iterator[Finding]:
    connected = sum(peer.member and peer.connected for peer in node.peers) + (node.member is not None)
    if node.short or (node.member is not None and connected < node.quorum):
        detail = (
            f"{node.name} is connected to a quorum less {node.quorum - connected}; missing: {_named(_missing(node))}"
        )
        yield finding("no_quorum", node.network, detail)
    elif node.stalled:
        yield finding("stalled", node.network, f"no new block above {node.height}; {round_table(node)}")
    churned = sum(view > 0 for view in node.recent_views)
    if node.view >= HIGH_VIEW or churned >= CHURNED_BLOCKS:
        detail = f"{churned} of the last {len(node.recent_views)} blocks in a later view; {round_table(node)}"
        severity: Severity = "fault" if node.view >= HIGH_VIEW else "warning"
        yield finding("view_churn", node.network, detail, severity=severity)
    if node.member is not None and not node.voting and connected >= node.quorum:
        yield finding("not_voting", node.name)


def _peers(node: NodeFacts) -> Iterator[Finding]:
    missing = _missing(node)
    if missing:
        total = sum(peer.member for peer in node.peers)
        detail = f"connected to {total - len(missing)} of {total} other validators; missing: {_named(missing)}"
        yield finding("peers_missing", node.name, detail)
    for peer in missing:
        if peer.error.removeprefix("refused_") in MISMATCHES:
            yield finding("identity_mismatch", peer.name, f"{node.name} met another key there ({peer.error})")
    if node.member is None and node.name in [name for name, _ in node.validators]:
        yield finding("identity_mismatch", node.name, "the validator of its name has another key; it only observes")


def _clocks(node: NodeFacts) -> Iterator[Finding]:
    """Each clock is held against the one in the middle, so that one wrong clock accuses itself and nobody else."""
    for peer in _missing(node):
        if peer.error.removeprefix("refused_") in CLOCK_REFUSALS:
            yield finding("clock_skew", peer.name, f"its clock is hours from that of {node.name} ({peer.error})")
    offsets = {peer.name: peer.clock_offset_ms for peer in node.peers if peer.clock_offset_ms is not None}
    offsets[node.name] = 0
    middle = median_low(sorted(offsets.values()))
    for name, offset in sorted(offsets.items()):
        if abs(offset - middle) > MAX_CLOCK_SKEW_MS:
            yield finding(
                "clock_skew", name, f"its clock is {offset - middle} ms from the others', as {node.name} sees it"
            )


def _machine(node: NodeFacts) -> Iterator[Finding]:
    if node.free_bytes is not None and node.free_bytes < node.low_space_bytes:
        severity: Severity = "warning" if node.free_bytes else "fault"
        yield finding("disk_low", node.name, f"{node.free_bytes >> 20} MiB are free", severity=severity)
    if node.sync_us > MAX_SYNC_US:
        yield finding(
            "disk_slow", node.name, f"the last syncs of its vote log took {node.sync_us // 1000} ms on average"
        )
    if node.damage:
        yield finding("data_damaged", node.name, node.damage)
    for purpose, days in sorted(node.certificates.items()):
        if days < RENEW_BEFORE_DAYS:
            code = "certificate_expired" if days < 0 else "certificate_expiring"
            yield finding(code, node.name, f"its {purpose} certificate has {days} days left")


def _set(node: NodeFacts) -> Iterator[Finding]:
    for name in node.accused:
        yield finding("validator_accused", name, f"evidence against it is on the chain {node.network}")
    tolerated = max(1, (len(node.validators) - 1) // 3)
    for organisation, seats in Counter(organisation for _, organisation in node.validators).items():
        if seats > tolerated:
            detail = f"{organisation} has {seats} of {len(node.validators)} validators, {tolerated} may fail"
            yield finding("organisation_concentrated", node.network, detail)
