"""What the nodes of one chain say of themselves to whoever plans a change: the facts under `change_rules`.

Left out: asking them (`cli.preflight`).
"""

from __future__ import annotations

from dataclasses import dataclass

from common.core.suite import Suite
from common.core.validators import Validator, ValidatorSet


@dataclass(frozen=True, kw_only=True)
class NodeView:
    """One node as it describes itself; `height` is None if it does not answer."""

    name: str
    """As `network.json` calls it, or as it calls itself; host and port of a URL where nobody answers."""
    error: str = ""
    height: int | None = None
    view: int = 0
    """The lower of two looks: a view that passes at once is no churn."""
    public_key: str = ""
    """Of its key file; empty if a release before this one does not say it."""
    ready: bool = False
    voting: bool = False
    member: str | None = None
    peers: tuple[str, ...] = ()
    """Members that it is connected to."""
    supported_versions: tuple[int, ...] = ()
    node_version: str = ""


@dataclass(frozen=True, kw_only=True)
class ChainView:
    """One chain: its nodes that were asked, and what the furthest of them says of its government."""

    network: str
    suite: Suite
    nodes: tuple[NodeView, ...]
    validators: ValidatorSet
    height: int
    protocol_version: int
    scheduled_version: tuple[int, int] | None
    """(height, version) of an activation that waits."""
    scheduled_set: tuple[int, ValidatorSet] | None
    max_seats: int | None

    def of_member(self, name: str) -> NodeView | None:
        """The node that signs as this member, or bears its name; None if it was not asked."""
        by_member = [node for node in self.nodes if node.member == name]
        return next(iter(by_member or [node for node in self.nodes if node.name == name]), None)

    def of_newcomer(self, newcomer: Validator) -> NodeView | None:
        """The node that runs with this key, or bears the name of whoever is to have it; None if it was not asked."""
        key = self.suite.format_key(newcomer.public_key)
        by_key = [node for node in self.nodes if node.public_key == key]
        return next(iter(by_key), None) or self.of_member(newcomer.name)

    @property
    def not_asked(self) -> tuple[str, ...]:
        """Members for which no node was named: nothing is known of them from here.

        A node that does not answer at its URL does not say which member it is; as many as do not answer are taken for
        those that are not found, which then count as silent.
        """
        names = {member.name for member in self.validators.members}
        unknown = tuple(name for name in names if self.of_member(name) is None)
        dark = [node for node in self.nodes if node.height is None and node.name not in names]
        return () if len(dark) >= len(unknown) else tuple(sorted(unknown))
