"""Whose TLS certificates expire soon, and whether a quorum would remain: pure, over files that were read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from common.node.diagnosis.catalogue import Finding, faults_first, finding


@dataclass(frozen=True, kw_only=True)
class CertifiedNode:
    """A validator and the days that its certificate has left; None if it holds none that can be read."""

    chain: str
    name: str
    days_left: int | None


def forecast(nodes: Sequence[CertifiedNode], quorums: dict[str, int], days: int) -> list[Finding]:
    """Who expires within `days`, and the chains that would lose their quorum with them."""
    return faults_first(_forecast(nodes, quorums, days))


def _forecast(nodes: Sequence[CertifiedNode], quorums: dict[str, int], days: int) -> Iterator[Finding]:
    for node in nodes:
        if node.days_left is None or node.days_left < days:
            left = "no certificate that can be read" if node.days_left is None else f"{node.days_left} days left"
            yield finding("certificate_expiring", node.name, left)
    for chain, quorum in quorums.items():
        members = [node for node in nodes if node.chain == chain]
        lasting = [node for node in members if node.days_left is not None and node.days_left >= days]
        if len(lasting) < quorum:
            detail = (
                f"within {days} days only {len(lasting)} of {len(members)} validators keep a valid certificate, "
                f"{quorum} are needed"
            )
            yield finding("certificates_endanger_quorum", chain, detail)
