"""May it be done now? Pure rules over what the nodes of a chain say.

A `fault` forbids, a `warning` informs.
Left out: asking (`cli.preflight`), what validators themselves refuse in consensus (`common.core.membership`).
"""

from __future__ import annotations

from collections.abc import Iterator

from common.core.errors import RuleBroken
from common.core.membership import check_seats, check_succession, concentrated, newcomers
from common.core.validators import Validator, ValidatorSet
from common.node.diagnosis.catalogue import LEAST_LEAD_BLOCKS, Finding, finding
from common.node.diagnosis.chain_view import ChainView, NodeView

MAX_LAG_BLOCKS = 5
"""Nodes are asked one after the other, while a loaded chain makes a few blocks."""
NOT_ASKED = "it was not asked: none of the nodes that were named bears its key or its name"


def _forbids(code: str, about: str, detail: str) -> Finding:
    """What a running network may bear, but no restart beside it."""
    return finding(code, about, detail, severity="fault")


def is_level(chain: ChainView, node: NodeView | None) -> bool:
    """Whether a node answers, is ready, and is as far as the chain."""
    return node is not None and node.height is not None and node.ready and chain.height - node.height <= MAX_LAG_BLOCKS


def restart_findings(chain: ChainView, name: str | None, version: int | None = None) -> list[Finding]:
    """Why the node `name` (any one, if None) must not be restarted now. `version`: one that all must support."""
    found = [item for node in chain.nodes if node.name != name for item in _other(chain, node)]
    members = [member.name for member in chain.validators.members]
    voting = [member for member in members if _votes(chain, chain.of_member(member))]
    leaving = [node.member for node in chain.nodes if node.name == name]
    left = len([member for member in voting if member not in leaving]) - (1 if name is None else 0)
    unknown, quorum = [member for member in chain.not_asked if member != name], chain.validators.quorum
    found += _not_asked(unknown, decides=left < quorum <= left + len(unknown))
    if left + len(unknown) < quorum:
        found.append(
            finding(
                "quorum_lost_without",
                chain.network,
                f"{left} of {len(members)} members would vote without {name or 'one more'}, {quorum} are needed",
            )
        )
    churning = [f"{node.name} {node.view}" for node in chain.nodes if node.view > 0]
    if churning:
        found.append(_forbids("view_churn", chain.network, f"views above 0: {', '.join(churning)}"))
    return [*found, *_versions(chain, version)]


def _not_asked(names: list[str], *, decides: bool) -> Iterator[Finding]:
    """Members of whom nothing is known from here: a fault where the quorum hangs on them."""
    for name in names:
        detail = "none of the nodes that answered is this member: whether it is level and votes is not known"
        yield finding("member_not_asked", name, detail, severity="fault" if decides else "warning")


def _has_arrived(chain: ChainView, newcomer: Validator, node: NodeView | None) -> bool:
    """A newcomer runs as an observer until its height; whoever is a member runs with another key still."""
    if node is None or node.member is not None or not is_level(chain, node):
        return False
    return node.public_key in ("", chain.suite.format_key(newcomer.public_key))


def _votes(chain: ChainView, node: NodeView | None) -> bool:
    return node is not None and node.voting and is_level(chain, node)


def _other(chain: ChainView, node: NodeView) -> Iterator[Finding]:
    """Everybody else must be level, and vote if it is a member."""
    if node.height is None:
        yield finding("node_not_answering", node.name, node.error)
        return
    if chain.height - node.height > MAX_LAG_BLOCKS:
        detail = f"height {node.height}, the chain is at {chain.height}"
        yield _forbids("node_behind", node.name, detail)
    elif not node.ready:
        yield _forbids("not_ready", node.name, "it has no proof that it is level")
    if node.member is not None and not node.voting:
        yield finding("not_voting", node.name, "a member that signs nothing")
    needed = chain.validators.quorum - 1
    if node.member is not None and len(node.peers) < needed:
        detail = f"connected to {len(node.peers)} members, {needed} are needed"
        yield _forbids("peers_missing", node.name, detail)


def _versions(chain: ChainView, version: int | None) -> Iterator[Finding]:
    """Everybody supports the active version (or would be gone), the scheduled one, and the one that is asked for."""
    wanted = {chain.protocol_version} | ({version} if version is not None else set())
    if chain.scheduled_version is not None:
        wanted.add(chain.scheduled_version[1])
    for node in chain.nodes:
        missing = sorted(wanted - set(node.supported_versions)) if node.height is not None else []
        if missing:
            yield finding(
                "protocol_version_unsupported",
                node.name,
                f"software {node.node_version} supports {', '.join(map(str, node.supported_versions))}, "
                f"not {', '.join(map(str, missing))}",
            )


def membership_findings(
    chain: ChainView, following: ValidatorSet, effective_height: int | None, replaces: int | None
) -> list[Finding]:
    """Why the chain should not, or would not, change to the set `following`."""
    found = list(_refused_in_consensus(chain, following, effective_height, replaces))
    joining = {member.name: member for member in newcomers(chain.validators, following)}
    carried = [member.name for member in following.members if member.name not in joining]
    live = [name for name in carried if _votes(chain, chain.of_member(name))]
    unknown = [name for name in carried if name in chain.not_asked]
    silent = [name for name in carried if name not in live and name not in unknown]
    running = {name: chain.of_newcomer(member) for name, member in sorted(joining.items())}
    arrived = [name for name, node in running.items() if _has_arrived(chain, joining[name], node)]
    if silent:
        detail = f"members that stay, but are not level and voting: {', '.join(silent)}"
        found.append(finding("member_not_live", chain.network, detail))
    sure = len(live) + len(arrived)
    found += _not_asked(unknown, decides=sure < following.quorum <= sure + len(unknown))
    if sure + len(unknown) < following.quorum:
        found.append(
            finding(
                "quorum_lost",
                chain.network,
                f"of the next set {len(live)} vote, {len(arrived)} newcomers are level, {following.quorum} are needed",
            )
        )
    elif len(live) < following.quorum <= sure:
        detail = f"{len(live)} members that vote now stay, {following.quorum} are needed: newcomers must vote at once"
        found.append(finding("newcomers_needed", chain.network, detail))
    for name in [name for name in running if name not in arrived]:
        found.append(finding("newcomer_not_level", name, _why_not_arrived(chain, joining[name], running[name])))
    found += _tolerance(chain, following)
    for organisation, seats in concentrated(following).items():
        detail = f"{seats} of {following.size} seats, more than the {following.fault_bound} failures that are tolerated"
        found.append(finding("organisation_concentrated", organisation, detail))
    return found


def _tolerance(chain: ChainView, following: ValidatorSet) -> Iterator[Finding]:
    """Whether the next set bears less: members that lie, or members that are away."""
    present = chain.validators
    lies, away = (present.fault_bound, following.fault_bound), (_spare(present), _spare(following))
    alone = following.size == 1 < present.size
    if lies[1] < lies[0] or away[1] < away[0] or alone:
        detail = (
            f"{following.size} members instead of {present.size}: {lies[1]} instead of {lies[0]} may act against the "
            f"protocol, {away[1]} instead of {away[0]} may be away"
        )
        if alone:
            detail += "; one member alone decides what is on the chain"
        yield finding("tolerance_lost", chain.network, detail)


def _spare(validators: ValidatorSet) -> int:
    """Members that may be away while the others are a quorum."""
    return validators.size - validators.quorum


def _why_not_arrived(chain: ChainView, newcomer: Validator, node: NodeView | None) -> str:
    if node is None:
        return NOT_ASKED
    if node.height is None:
        return node.error
    if node.member is not None or node.public_key not in ("", chain.suite.format_key(newcomer.public_key)):
        return "it runs with another key still"
    return f"height {node.height} of {chain.height}"


def _refused_in_consensus(
    chain: ChainView, following: ValidatorSet, effective_height: int | None, replaces: int | None
) -> Iterator[Finding]:
    try:
        check_succession(chain.validators, following)
        check_seats(following, chain.max_seats)
    except RuleBroken as broken:
        numbers = ", ".join(f"{name} {value}" for name, value in broken.parameters.items())
        yield Finding(
            code=broken.code,
            severity="fault",
            about=chain.network,
            detail=f"{broken.detail} ({numbers})",
            remedy="the validators refuse this change",
        )
    pending = None if chain.scheduled_set is None else chain.scheduled_set[0]
    if pending is not None and replaces != pending:
        detail = f"a change waits for height {pending}"
        yield finding("change_pending", chain.network, detail)
    if effective_height is not None and effective_height <= chain.height + LEAST_LEAD_BLOCKS:
        yield finding(
            "effective_height_out_of_range",
            chain.network,
            f"height {effective_height}, the chain is at {chain.height}",
        )
