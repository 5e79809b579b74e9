"""Indexes whose layout an application has changed: what names their entries, and what makes them again.

An index is derived data that every node can make again. An application that changes how some of its entries look
declares their family with the next layout number; a node whose database holds an earlier layout builds the family again
when it starts (`common/node/store/index_layouts.py`). What is not declared has layout 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from common.core.block import Block
from common.core.receipt import Receipt


class _Tip(Protocol):
    @property
    def height(self) -> int: ...


class ChainSource(Protocol):
    """What entries are made from: state, blocks and what they left, all of one moment."""

    def tip(self) -> _Tip:
        """The last block."""
        ...

    def state_scan(self, prefix: bytes, start_after: bytes | None, limit: int) -> list[tuple[bytes, bytes]]:
        """State entries below a prefix and above a key, ascending, at most `limit`."""
        ...

    def block(self, height: int) -> Block:
        """A block. Raises NotFound or Gone."""
        ...

    def receipts(self, height: int) -> list[Receipt]:
        """Its receipts. Raises NotFound or Gone."""
        ...

    def snapshots(self, height: int) -> list[bytes]:
        """Its snapshots. Raises NotFound or Gone."""
        ...


@dataclass(frozen=True, slots=True)
class IndexFamily:
    """The index entries below a prefix (ASCII)."""

    prefix: bytes
    layout: int
    """From 2 on; a higher number than any that a release has had."""
    rebuild: Callable[[ChainSource, bytes], tuple[Sequence[tuple[bytes, bytes]], bytes | None]]
    """(chain, where the last step ended or b"") -> (entries, where this step ended, None at the end). A step makes some
    thousand entries at most, and depends on nothing but its arguments."""


@runtime_checkable
class IndexOwner(Protocol):
    """An application that declares families."""

    def index_families(self) -> Sequence[IndexFamily]:
        """Those whose layout is not 1."""
        ...


def families_of(application: object) -> Sequence[IndexFamily]:
    """What the application declares."""
    return application.index_families() if isinstance(application, IndexOwner) else ()
