"""What the worker needs of the outside: blocks of a region, the custody chain's status and a way to submit.

The HTTP adapters (`http_source`, `http_custody`) implement these; tests put chains in memory behind them. Left out:
how.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from crosslink.lightclient.client_state import ClientState
from crosslink.lightclient.reading import Read, ServedBlock
from crosslink.relay.node_pool import NodeFault
from crosslink.relay.planner import AnchoredPosition


@dataclass(frozen=True, slots=True)
class Page:
    """An answer of one node: successive blocks, and the height it says it has."""

    node: int
    blocks: tuple[ServedBlock, ...]
    tip: int


@dataclass(frozen=True, slots=True)
class RegionStatus:
    """The custody chain's word on a region: the relay's only cursor. `custody_height` is when it was true."""

    network: str
    position: AnchoredPosition
    client_state: ClientState
    custody_height: int
    frozen: bool


@dataclass(frozen=True, slots=True)
class SubmissionFate:
    """The final fate of a submission: `applied`, `rejected` (by the chain), `refused` (by a node) or `expired`."""

    status: str
    code: str
    height: int | None

    @property
    def applied(self) -> bool:
        """Whether the custody chain accepted it."""
        return self.status == "applied"


class RegionSource(Protocol):
    """A business chain of any make, read through at least two of its nodes (attack R10).

    `state` is the region's client state: its client type says how the chain is read.
    """

    async def read(self, state: ClientState, read: Read) -> Page:
        """A page from the node in use. Raises `Unavailable` when no node answers."""
        ...

    async def read_node(self, state: ClientState, node: int, read: Read) -> Page:
        """A page from that node, whatever is held against it. Raises `Rejected` kinds."""
        ...

    @property
    def size(self) -> int:
        """Number of nodes."""
        ...

    def blame(self, node: int, fault: NodeFault) -> None:
        """What that node served was wrong: use another one."""
        ...

    def praise(self, node: int) -> None:
        """What that node served was right."""
        ...

    def describe(self) -> dict[str, Any]:
        """Endpoint in use and the state of each node."""
        ...


class Custody(Protocol):
    """The custody chain as a relay sees it."""

    async def region(self, network: str, *, at_least: int = 0) -> RegionStatus:
        """Status of a region, from a node that has reached custody height `at_least`. Raises `Rejected` kinds."""
        ...

    async def submit(self, operation: dict[str, Any], custody_height: int) -> SubmissionFate:
        """Sign and submit one operation; resend the same bytes until its fate is final (protocol rule 25)."""
        ...

    def doubt(self) -> None:
        """Ask another custody node next: this one's word does not fit what the region's nodes prove."""
        ...


class Clock(Protocol):
    """Time, as an argument of the worker."""

    def now_ms(self) -> int:
        """Milliseconds since the Unix epoch. May be set forward and back at any moment."""
        ...

    def elapsed_ms(self) -> int:
        """Milliseconds since some moment in the past. Never goes back, so all durations are measured with it."""
        ...

    async def sleep(self, delay_ms: int) -> None:
        """Wait."""
        ...
