"""What the HTTP routes ask of a node: the face of `service.NodeService`, and optional faces of an application.

Everything is called from the event loop that runs the node. Reads are synchronous and bounded by the routes; only
submission and waiting are asynchronous.

Left out: how a node does it, and rendering (the routes).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from common.chain.application import Application, StateReader
from common.core.genesis import Genesis
from common.core.suite import Suite
from common.core.transaction import SignedTransaction
from common.node.diagnosis.self_judgement import NodeFacts
from common.node.logic.node_status import NodeStatus, TransactionState
from common.node.store.chain_store import ChainStore


class ServedNode(Protocol):
    """A running node."""

    @property
    def genesis(self) -> Genesis:
        """The chain's genesis."""
        ...

    @property
    def suite(self) -> Suite:
        """The chain's suite."""
        ...

    @property
    def chain(self) -> ChainStore:
        """Committed blocks and state."""
        ...

    @property
    def application(self) -> Application:
        """The tier's rules."""
        ...

    def submit(self, envelope: bytes) -> TransactionState:
        """Admit one envelope, as it came. The same transaction again is the same answer. Raises `Rejected`."""
        ...

    async def wait_receipt(self, tx_id: bytes, timeout_s: float) -> TransactionState:
        """Where a transaction that is not final now is when it is, or when the time is over."""
        ...

    def transaction_state(self, tx_id: bytes) -> TransactionState:
        """Where a transaction is; `unknown` if this node has never heard of it."""
        ...

    def damage_found(self, what: str) -> None:
        """A request met damaged data, which was not served; operators are told."""
        ...

    def status(self) -> NodeStatus:
        """The node's place in its network."""
        ...

    def ready(self) -> bool:
        """True only while the node commits or has proof that it is level with a quorum (contract, "Operations")."""
        ...

    def facts(self) -> NodeFacts:
        """What it knows of itself and its peers, for `self_judgement.examine`."""
        ...

    async def wait_height(self, height: int, timeout_s: float) -> bool:
        """Return True as soon as block `height` is committed, False when the time is over first."""
        ...

    def counters(self) -> Mapping[str, float]:
        """Numbers for /metrics by name, without the `tongjian_` prefix; those that end in `_total` only grow."""
        ...


@runtime_checkable
class RepeatedContent(Protocol):
    """An application whose business ids are applied at most once (contract, "Transactions")."""

    def first_application(self, tx: SignedTransaction, state: StateReader) -> bytes | None:
        """The id of the transaction that applied exactly these operations before, or None."""
        ...


@runtime_checkable
class BusinessLookup(Protocol):
    """An application that can be asked for a business id."""

    def business_transaction(self, business_id: str, state: StateReader) -> bytes | None:
        """The id of the transaction that applied this business id, or None."""
        ...


@runtime_checkable
class NetworkDescription(Protocol):
    """An application that knows networks below its own (the custody chain's regions)."""

    def sub_networks(self, state: StateReader) -> list[dict[str, Any]]:
        """For each: `network_id` and whatever else describes it."""
        ...


@runtime_checkable
class GovernedRules(Protocol):
    """An application of which governance sets more than both tiers have (the custody chain's supervisory rules)."""

    def pending_rules(self, state: StateReader, height: int) -> list[dict[str, Any]]:
        """What waits for a height above `height`, each with `operation`, `height` and what is set."""
        ...


@runtime_checkable
class RegionEvidence(Protocol):
    """An application that keeps evidence about other networks (the custody chain about its regions)."""

    def region_evidence_prefix(self, network: str) -> bytes:
        """Prefix of the state keys, each of one entry. Raises `Malformed` for what is no network id."""
        ...
