"""From an observation to findings: pure rules, each with a stable code and a remedy.

A finding is `fault` (the network, or a part of it, does not do its work) or `warning` (it will not for long, or with
less safety than planned). The codes are part of the public contract and listed in docs/operators.md."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from common.node.certificates import RENEW_BEFORE_DAYS

MAX_CLOCK_SKEW_MS = 5_000
"""A third of the 15 s by which a block may be ahead of a validator's clock (protocol rule 5)."""
MAX_HEIGHT_LAG = 50
HIGH_VIEW = 3
MIN_FREE_BYTES = 1 << 30
TROUBLED_STATES = ("frozen", "expired", "silent", "lagging")


@dataclass(frozen=True, kw_only=True)
class NodeObservation:
    """What was seen of one node; None where it did not answer or could not be seen from here."""

    name: str
    running: bool | None = None
    height: int | None = None
    view: int | None = None
    peers: int | None = None
    ready: bool | None = None
    member: str | None = None
    """The validator whose key it holds, by its name in the current set; None for an observer."""
    voting: bool | None = None
    clock_skew_ms: int | None = None
    free_bytes: int | None = None
    certificate_days_left: int | None = None
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class ChainObservation:
    """One chain: its nodes and the quorum it needs."""

    network: str
    quorum: int
    nodes: tuple[NodeObservation, ...]
    validators: int | None = None
    """How many validators the chain has, where not all of them were looked at."""


@dataclass(frozen=True, kw_only=True)
class RegionObservation:
    """A region as the custody chain or a relay sees it."""

    network: str
    state: str
    lag_blocks: int
    relay_error: str = ""


@dataclass(frozen=True, kw_only=True)
class Observation:
    """Everything that was seen, at one moment."""

    chains: tuple[ChainObservation, ...]
    regions: tuple[RegionObservation, ...] = ()
    relays_down: tuple[str, ...] = ()
    unseen: tuple[str, ...] = field(default=())


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is wrong: `code` is stable, `about` names the chain, node or region."""

    code: str
    severity: str
    about: str
    detail: str
    remedy: str


def diagnose(observation: Observation) -> list[Finding]:
    """All findings, faults first."""
    findings = [finding for chain in observation.chains for finding in _chain(chain)]
    findings += [finding for region in observation.regions for finding in _region(region)]
    findings += [
        Finding(
            code="relay_down",
            severity="fault",
            about=relay,
            detail="the relay does not answer",
            remedy="start it; it keeps no state",
        )
        for relay in observation.relays_down
    ]
    findings += [
        Finding(
            code="not_observed",
            severity="warning",
            about=what,
            detail="could not be seen from here",
            remedy="check access and try again",
        )
        for what in observation.unseen
    ]
    return sorted(findings, key=lambda finding: (finding.severity != "fault", finding.about, finding.code))


def _chain(chain: ChainObservation) -> Iterator[Finding]:
    answering = [node for node in chain.nodes if node.height is not None]
    missing = [node.name for node in chain.nodes if node.height is None]
    if len(answering) < chain.quorum:
        yield Finding(
            code="no_quorum",
            severity="fault",
            about=chain.network,
            detail=f"{len(answering)} of {len(chain.nodes)} validators answer, {chain.quorum} are needed; "
            f"missing: {', '.join(missing)}",
            remedy="start the missing validators; nothing final is lost while they are away",
        )
    views = [node.view for node in answering if node.view is not None]
    if views and min(views) >= HIGH_VIEW:
        yield Finding(
            code="view_churn",
            severity="fault",
            about=chain.network,
            detail="views: " + ", ".join(f"{node.name} {node.view}" for node in answering),
            remedy="leaders fail one after the other: check the links between validators, their clocks, their load",
        )
    yield from _shared_keys(chain)
    tip = max((node.height for node in answering if node.height is not None), default=0)
    for node in chain.nodes:
        yield from _node(node, tip, chain.validators or len(chain.nodes))
        yield from _vote(node, chain.quorum)


def _shared_keys(chain: ChainObservation) -> Iterator[Finding]:
    """Two processes with one validator's key take each other's connections, and may sign against each other."""
    holders: dict[str, list[str]] = {}
    for node in chain.nodes:
        if node.member is not None:
            holders.setdefault(node.member, []).append(node.name)
    for member, names in holders.items():
        if len(names) > 1:
            yield Finding(
                code="duplicate_key",
                severity="fault",
                about=chain.network,
                detail=f"{' and '.join(names)} run with the key of the validator {member}",
                remedy="stop all but the one that the key belongs to; the others need key files of their own",
            )


def _vote(node: NodeObservation, quorum: int) -> Iterator[Finding]:
    """A member that does not vote although enough others hear it has refused to, or abstains (attack C16)."""
    if node.member is None or node.voting is not False or (node.peers is not None and node.peers < quorum - 1):
        return
    yield Finding(
        code="not_voting",
        severity="fault",
        about=node.name,
        detail="a member of the validator set that signs nothing: its vote log or database was lost, replaced or set "
        "back (its log says which: `this node does not vote`, or the warning `abstaining`)",
        remedy="abstaining ends by itself above the height that its log names; otherwise give the validator a new key "
        "by a validator change, and never use the old one again",
    )


def _node(node: NodeObservation, tip: int, validators: int) -> Iterator[Finding]:
    if node.height is None:
        code, detail = (
            ("node_unreachable", f"does not answer: {node.error}")
            if node.running
            else ("node_down", "the process does not run")
        )
        yield Finding(code=code, severity="fault", about=node.name, detail=detail, remedy="see its log; start it again")
    elif tip - node.height > MAX_HEIGHT_LAG:
        yield Finding(
            code="node_behind",
            severity="warning",
            about=node.name,
            detail=f"height {node.height}, the chain is at {tip}",
            remedy="it catches up by itself; if its height stands still, see its log",
        )
    if node.ready is False:
        yield Finding(
            code="not_ready",
            severity="warning",
            about=node.name,
            detail="it neither commits nor has proof that it is level with a quorum",
            remedy="see whether its chain has a quorum, then its log; do not send it submissions meanwhile",
        )
    if node.peers is not None and node.peers < validators - 1:
        yield Finding(
            code="peers_missing",
            severity="warning",
            about=node.name,
            detail=f"connected to {node.peers} of {validators - 1} other validators",
            remedy="check the addresses, certificates and firewalls between them",
        )
    if node.clock_skew_ms is not None and abs(node.clock_skew_ms) > MAX_CLOCK_SKEW_MS:
        yield Finding(
            code="clock_skew",
            severity="fault",
            about=node.name,
            detail=f"its clock is {node.clock_skew_ms} ms from this machine's",
            remedy="synchronise clocks (NTP); proposals more than 15 s ahead are refused",
        )
    if node.free_bytes is not None and node.free_bytes < MIN_FREE_BYTES:
        yield Finding(
            code="disk_low",
            severity="fault" if node.free_bytes == 0 else "warning",
            about=node.name,
            detail=f"{node.free_bytes >> 20} MiB are free in its data directory",
            remedy="make room; a node stops by itself rather than lose a vote",
        )
    if node.certificate_days_left is not None and node.certificate_days_left < RENEW_BEFORE_DAYS:
        expired = node.certificate_days_left < 0
        yield Finding(
            code="certificate_expired" if expired else "certificate_expiring",
            severity="fault" if expired else "warning",
            about=node.name,
            detail=f"its TLS certificate has {node.certificate_days_left} days left",
            remedy="tongjian cert rotate, then restart the node",
        )


def _region(region: RegionObservation) -> Iterator[Finding]:
    if region.state in TROUBLED_STATES:
        remedy = {
            "frozen": "conflicting certificates are on the custody chain: governance decides",
            "expired": "its trusted header is too old: governance must recover it",
            "silent": "no new block, not even a heartbeat: check the region's validators, then the relay",
            "lagging": "check the relay's last error and its nodes of that region",
        }[region.state]
        yield Finding(
            code=f"region_{region.state}",
            severity="warning" if region.state == "lagging" else "fault",
            about=region.network,
            detail=f"the custody chain sees it {region.state}, {region.lag_blocks} blocks behind",
            remedy=remedy,
        )
    if region.relay_error:
        yield Finding(
            code="relay_error",
            severity="warning",
            about=region.network,
            detail=region.relay_error,
            remedy="the relay tries again by itself; the detail names the node or rule",
        )
