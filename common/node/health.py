"""What can be wrong with a network: the one list of findings, and the rules by which a node judges itself.

`/readyz`, `/v1/networks/{network}/health` and `tongjian doctor` speak of findings from this list alone. A finding is a
`fault` (the network, or a part of it, does not do its work) or a `warning` (it will not for long, or with less safety
than planned). Codes are part of the public contract; docs/operators.md has the list as a table
(`tools/make-finding-table`).

Pure: facts in, findings out. Left out: collecting facts (`self_check`), comparing nodes (`cli.doctor`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median_low
from typing import Final, Literal

import msgspec

from common.node.peer.certificates import RENEW_BEFORE_DAYS
from common.node.store.store_errors import REMEDY_RESYNC

Severity = Literal["fault", "warning"]

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


@dataclass(frozen=True, slots=True)
class Ailment:
    """A kind of finding."""

    severity: Severity
    meaning: str
    remedy: str


CATALOGUE: Final[dict[str, Ailment]] = {
    "no_quorum": Ailment(
        "fault",
        "too few validators of a chain are reachable; the missing ones are named",
        "start the missing validators, or their links; nothing final is lost while they are away",
    ),
    "view_churn": Ailment(
        "warning",
        "leaders fail one after the other: half of the last blocks needed another view (a fault from view 3 on)",
        "look at who is missing or slow in the table of peers: links, clocks, disks, load of the validators",
    ),
    "stalled": Ailment(
        "fault",
        "no block for three heartbeats and two view timeouts, although a quorum is connected",
        "look at view_churn, clock_skew and disk_slow of every validator, then at their logs",
    ),
    "node_down": Ailment("fault", "the process does not run", "see its log; start it again"),
    "node_unreachable": Ailment("fault", "the process is there, but does not answer", "see its log; start it again"),
    "not_ready": Ailment(
        "warning",
        "it answers, but neither commits nor has proof that it is level with a quorum",
        "see whether its chain has a quorum, then its log; do not send it submissions meanwhile",
    ),
    "node_behind": Ailment(
        "warning",
        "more than 50 blocks behind its chain",
        "it catches up by itself; if its height stands still, see its log",
    ),
    "not_voting": Ailment(
        "fault",
        "a validator signs nothing although a quorum is connected: its vote log or database was lost, replaced or set "
        "back",
        "its log says which (`this node does not vote`, or the warning `abstaining`); abstaining ends by itself above "
        "a height, unless so many abstain that no block comes (docs/operators.md, Backup); otherwise stop it and run "
        "`tongjian node repair`, or give the validator a new key by `validators.change` and never use the old one "
        "again",
    ),
    "duplicate_key": Ailment(
        "fault",
        "two nodes of a chain run with one validator's key",
        "stop all but the one that the key belongs to; the others need key files of their own",
    ),
    "identity_mismatch": Ailment(
        "fault",
        "a node has another key than the validator of its name",
        "give it the validator's own key file, or have its new key put into the set by `validators.change`; if it is "
        "not your node that answers there, correct the address",
    ),
    "peers_missing": Ailment(
        "warning",
        "fewer connections than validators; the missing ones are named",
        "check the addresses, certificates and firewalls between them",
    ),
    "clock_skew": Ailment(
        "fault",
        "a clock is more than 5 s away from the others",
        "synchronise clocks (NTP); proposals more than 15 s ahead are refused",
    ),
    "disk_low": Ailment(
        "warning",
        "less space is free in the data directory than `limits.low_space_mib` (a fault when there is none)",
        "make room; a node stops by itself rather than lose a vote",
    ),
    "disk_slow": Ailment(
        "warning",
        "making votes durable takes more than 50 ms on average",
        "a disk with faster syncs, or less beside the node on it",
    ),
    "data_damaged": Ailment(
        "fault",
        "stored data that was asked for failed its checks; it was not served",
        REMEDY_RESYNC,
    ),
    "certificate_expiring": Ailment(
        "warning",
        f"a TLS certificate has fewer than {RENEW_BEFORE_DAYS} days left",
        "`tongjian cert rotate`",
    ),
    "certificate_expired": Ailment("fault", "a TLS certificate has expired", "`tongjian cert rotate`"),
    "validator_accused": Ailment(
        "fault",
        "a validator of the present set is proven to have signed against the protocol",
        "read `GET /v1/networks/{network}/evidence`; replace the validator by `validators.change`; ask its "
        "organisation who else has its key",
    ),
    "organisation_concentrated": Ailment(
        "warning",
        "one organisation has more validators than may fail: it alone can stop the chain",
        "spread the seats over organisations by `validators.change`",
    ),
    "version_mismatch": Ailment(
        "warning", "nodes of a chain run different versions", "finish the upgrade, one node after the other"
    ),
    "relay_down": Ailment("fault", "a relay does not answer", "start it; it keeps no state"),
    "relay_error": Ailment(
        "warning", "what a relay met when it last tried", "it tries again by itself; the detail names the node or rule"
    ),
    "relay_behind": Ailment(
        "warning",
        "a region's chain is more than 50 blocks ahead of what the custody chain has anchored",
        "see the relay's last error and log; another relay may be started at any time",
    ),
    "region_lagging": Ailment(
        "warning",
        "the custody chain has no recent block of a region, or only part of one",
        "see the relay's last error and its nodes of that region",
    ),
    "region_silent": Ailment(
        "fault",
        "the custody chain has had no block of a region for long, not even a heartbeat",
        "see the region's validators, then the relay",
    ),
    "region_expired": Ailment(
        "fault",
        "a region's trusted header is older than the trusting period",
        "governance gives it a new root: `region.recover`",
    ),
    "region_frozen": Ailment(
        "fault",
        "conflicting certificates of a region are on the custody chain",
        "read `GET /v1/networks/{region}/evidence` of a custody node; governance decides: `region.recover`",
    ),
    "not_observed": Ailment("warning", "something could not be seen from here", "check access and try again"),
}
"""Code -> kind of finding."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is wrong: `code` is stable, `about` names the chain, node or region."""

    code: str
    severity: Severity
    about: str
    detail: str
    remedy: str


def finding(code: str, about: str, detail: str = "", *, severity: Severity | None = None) -> Finding:
    """A finding of the catalogue; without a detail its meaning stands there."""
    kind = CATALOGUE[code]
    return Finding(
        code=code,
        severity=severity or kind.severity,
        about=about,
        detail=detail or kind.meaning,
        remedy=kind.remedy,
    )


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
    return sorted(found, key=lambda item: (item.severity != "fault", item.about, item.code))


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
