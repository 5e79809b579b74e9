"""How a relay reads a chain: a client type says what to ask and what the answers mean; the relay does the asking.

A conversation is a generator: it yields a `Request`, is sent the body of the node's answer, and returns its result.
So the type's part is pure, whatever the chain's interface is, and bounds, time limits, tokens and the choice of nodes
stay in one place (`crosslink.relay.http_source`).

Invariants:
  Q1  A conversation only reads: it carries no key, and asks nothing that changes the chain.
  Q2  What a node says is not believed; an answer of another form raises `Malformed`, and truth is for `verify`.

Left out: sockets and time.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import msgspec

from common.core.errors import Malformed
from common.model.sealed import SealedBody
from crosslink.lightclient.client_state import ClientState

MAX_ANSWER_BYTES = 24 * 1024 * 1024
"""The most that a relay takes of one answer: a page of our nodes (8 MiB) or one block (16 MB of objects)."""

_TEXT_LIMIT = 300

Answer = TypeVar("Answer")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One question to a node: a path below its base URL. With `body` (JSON) it is a POST, without a GET.

    `wait_s`: how long the node may hold the answer back until there is something new.
    """

    path: str
    parameters: Mapping[str, str | int] = field(default_factory=dict)
    body: bytes | None = None
    wait_s: int = 0
    max_bytes: int = MAX_ANSWER_BYTES


Conversation = Generator[Request, bytes, Result]


@dataclass(frozen=True, slots=True)
class Read:
    """Blocks to ask for: at most `limit` from `from_height` on, waiting for the first at most `wait_s` seconds."""

    from_height: int
    limit: int
    wait_s: int


@dataclass(frozen=True, slots=True)
class ServedBlock:
    """One block as a node served it: the opaque header, and *all* objects of the block. Nothing of it is checked."""

    header: bytes
    snapshots: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class ServedPage:
    """Successive blocks, and the height that the node says it has."""

    blocks: tuple[ServedBlock, ...]
    tip: int


class SourceReader(Protocol):
    """A client type's half of reading. `state` is the region's client state: network, and whatever the type trusts."""

    def blocks(self, state: ClientState, read: Read) -> Conversation[ServedPage]:
        """The first blocks at or above `read.from_height`, in order, without leaving one out."""
        ...

    def tip(self, state: ClientState) -> Conversation[int]:
        """The height that a node claims to have; for comparison."""
        ...

    def body(self, state: ClientState, body: SealedBody) -> Conversation[bytes] | None:
        """A body off the chain, as a node has it; None if chains of this type hand out none."""
        ...

    def is_body(self, state: ClientState, body: SealedBody, data: bytes) -> bool:
        """Whether these bytes are the body, by their digest alone: a wrong size is the commitment's fault."""
        ...


def decode(body: bytes, shape: type[Answer], what: str) -> Answer:
    """A JSON answer of a known shape. Raises `Malformed('unexpected_answer')`."""
    try:
        return msgspec.json.decode(body, type=shape)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise Malformed("unexpected_answer", f"{what}: {str(error)[:_TEXT_LIMIT]}") from None
