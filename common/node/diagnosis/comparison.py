"""From an observation to findings: what nodes say of themselves, what their comparison shows, what is missing.

Pure. How a node judges itself stands in `self_judgement`; here is what only somebody who looks at several processes can
tell. Left out: looking (`cli.doctor`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from common.node.diagnosis.catalogue import RENEW_BEFORE_DAYS, Finding, faults_first, finding
from common.node.diagnosis.self_judgement import MAX_CLOCK_SKEW_MS, NodeFacts, examine

MAX_HEIGHT_LAG = 50
OF_THE_WHOLE_CHAIN = frozenset({"no_quorum", "stalled"})
TROUBLED_STATES = ("frozen", "expired", "silent", "lagging")


@dataclass(frozen=True, kw_only=True)
class NodeObservation:
    """What was seen of one node; None where it did not answer or could not be seen from here."""

    name: str
    running: bool | None = None
    facts: NodeFacts | None = None
    clock_skew_ms: int | None = None
    """Its clock less the observer's."""
    certificate_days_left: int | None = None
    """Of the certificate file or the one that it showed, which can be seen of a node that does not answer."""
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class ChainObservation:
    """One chain: its nodes and the quorum that its genesis needs, which counts where no node answers: a later set's is
    told by the nodes. `complete`: every node that the network lists was looked at."""

    network: str
    quorum: int
    nodes: tuple[NodeObservation, ...]
    complete: bool = True

    @property
    def tip(self) -> int:
        """The highest block that a node has shown."""
        return max((node.facts.height for node in self.nodes if node.facts is not None), default=0)

    def set_in_force(self) -> tuple[list[str], int]:
        """Members and quorum as the furthest node says; of genesis, every node a member, if none answers."""
        told = [node.facts for node in self.nodes if node.facts is not None]
        if not told:
            return [node.name for node in self.nodes], self.quorum
        furthest = max(told, key=lambda facts: facts.height)
        return [name for name, _ in furthest.validators], furthest.quorum


@dataclass(frozen=True, kw_only=True)
class RegionObservation:
    """A region as the custody chain or a relay sees it."""

    network: str
    state: str
    anchored_height: int
    relay_error: str = ""


@dataclass(frozen=True, kw_only=True)
class Observation:
    """Everything that was seen, at one moment."""

    chains: tuple[ChainObservation, ...]
    regions: tuple[RegionObservation, ...] = ()
    relays_down: tuple[str, ...] = ()
    unseen: tuple[str, ...] = field(default=())


def diagnose(observation: Observation) -> list[Finding]:
    """All findings, faults first; each code about each subject once, in the words of who sees most."""
    tips = {chain.network: chain.tip for chain in observation.chains}
    found = [item for chain in observation.chains for item in _chain(chain)]
    found += [item for region in observation.regions for item in _region(region, tips.get(region.network, 0))]
    found += [finding("relay_down", relay) for relay in observation.relays_down]
    found += [finding("not_observed", what) for what in observation.unseen]
    first: dict[tuple[str, str], Finding] = {}
    for item in found:
        known = first.setdefault((item.code, item.about), item)
        if item.severity == "fault" and known.severity != "fault":
            first[item.code, item.about] = item
    return faults_first(first.values())


def _chain(chain: ChainObservation) -> Iterator[Finding]:
    if chain.complete:
        yield from _quorum(chain)
    yield from _shared_keys(chain)
    yield from _versions(chain)
    for node in chain.nodes:
        yield from _node(node, chain.tip)
    yield from _own_words(chain)


def _own_words(chain: ChainObservation) -> Iterator[Finding]:
    """What the nodes say of themselves and of their chain. That the whole chain stands still is not believed of nodes
    while a quorum knows nothing of it: they are cut off, and it is they who are not ready."""
    said = [(node.facts, examine(node.facts)) for node in chain.nodes if node.facts is not None]
    _, quorum = chain.set_in_force()
    for facts, found in said:
        for item in found:
            if item.code in OF_THE_WHOLE_CHAIN and len(_at_ease(said, item.code)) >= quorum:
                yield finding("not_ready", facts.name, item.detail)
            else:
                yield item


def _at_ease(said: list[tuple[NodeFacts, list[Finding]]], code: str) -> set[str]:
    """The members that say nothing under this code."""
    return {
        facts.member for facts, found in said if facts.member is not None and code not in {item.code for item in found}
    }


def _quorum(chain: ChainObservation) -> Iterator[Finding]:
    """Whether the members that answer, with those that nobody could ask, may be a quorum of the set in force."""
    members, quorum = chain.set_in_force()
    answering = {node.facts.member for node in chain.nodes if node.facts is not None}
    listed = {node.name for node in chain.nodes}
    unlisted = [name for name in members if name not in listed and name not in answering]
    present = [name for name in members if name in answering]
    if len(present) + len(unlisted) < quorum:
        missing = ", ".join(name for name in members if name not in answering and name not in unlisted)
        detail = f"{len(present)} of {len(members)} validators answer, {quorum} are needed; missing: {missing}"
        yield finding("no_quorum", chain.network, detail)
    for name in unlisted:
        yield finding(
            "not_observed", name, f"a validator of {chain.network} that network.json does not list: not asked"
        )


def _shared_keys(chain: ChainObservation) -> Iterator[Finding]:
    """Two processes with one validator's key take each other's connections, and may sign against each other."""
    holders: dict[str, list[str]] = {}
    for node in chain.nodes:
        if node.facts is not None and node.facts.member is not None:
            holders.setdefault(node.facts.member, []).append(node.name)
    for member, names in holders.items():
        if len(names) > 1:
            yield finding("duplicate_key", chain.network, f"{' and '.join(names)} run with the key of {member}")


def _versions(chain: ChainObservation) -> Iterator[Finding]:
    versions: dict[str, list[str]] = {}
    for node in chain.nodes:
        if node.facts is not None:
            versions.setdefault(node.facts.version, []).append(node.name)
    if len(versions) > 1:
        told = "; ".join(f"{version}: {', '.join(names)}" for version, names in sorted(versions.items()))
        yield finding("version_mismatch", chain.network, told)


def _node(node: NodeObservation, tip: int) -> Iterator[Finding]:
    if node.facts is None:
        code = "node_unreachable" if node.running else "node_down"
        yield finding(code, node.name, f"does not answer: {node.error}" if node.running else "")
    elif tip - node.facts.height > MAX_HEIGHT_LAG:
        yield finding("node_behind", node.name, f"height {node.facts.height}, the chain is at {tip}")
    if node.clock_skew_ms is not None and abs(node.clock_skew_ms) > MAX_CLOCK_SKEW_MS:
        yield finding("clock_skew", node.name, f"its clock is {node.clock_skew_ms} ms from this machine's")
    days = node.certificate_days_left
    if days is not None and days < RENEW_BEFORE_DAYS:
        code = "certificate_expired" if days < 0 else "certificate_expiring"
        yield finding(code, node.name, f"its TLS certificate has {days} days left")


def _region(region: RegionObservation, tip: int) -> Iterator[Finding]:
    lag = max(0, tip - region.anchored_height)
    if region.state in TROUBLED_STATES:
        detail = f"the custody chain sees it {region.state}, anchored at {region.anchored_height}, {lag} blocks behind"
        yield finding(f"region_{region.state}", region.network, detail)
    if lag > MAX_HEIGHT_LAG:
        yield finding("relay_behind", region.network, f"anchored at {region.anchored_height}, the chain is at {tip}")
    if region.relay_error:
        yield finding("relay_error", region.network, region.relay_error)
