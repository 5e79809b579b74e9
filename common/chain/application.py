"""The port through which a chain's rules plug into a node.

A node knows blocks, transactions, receipts and an authenticated key-value state; what an operation *means* is known
by an `Application` alone (the business chain and the custody chain each implement one). The node calls it in a fixed
order: `initial_state` once at genesis; for each block `begin_block`, then `execute` for each transaction in block
order; `check` for admission, on committed state.

Invariants
  A1  `begin_block` and `execute` are pure functions of their arguments and of what they read through the `StateView`:
      no clock, randomness, floats, or dependence on set or locale order. Every validator must get the same bytes.
  A2  State changes only through the view. When `execute` raises `Rejected`, everything it wrote is rolled back, the
      nonce stays burnt and the receipt says `rejected` (protocol rule 11).
  A3  Authenticated keys are ASCII paths such as ``b"holding/BJ000001.ESVUFR2601/A1"``; identifiers never contain
      ``/``. Values are canonical JSON. Keys below ``b"nonces/"`` and ``b"chain/"`` belong to the node, those below
      ``b"evidence/"`` and ``b"accused/"`` to `common.chain.evidence`, those below ``b"work/"`` to `common.chain.work`;
      an application schedules changes of validators and protocol through `common.chain.schedule`.
  A4  `check` may read the same state but changes nothing, and is never a reason to vote against a block.

Left out: queries (routes read the chain store), signatures, nonces and expiry (`executor`), networking.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol, runtime_checkable

import msgspec

from common.core.genesis import Genesis
from common.core.parameters import ChainParameters
from common.core.transaction import SignedTransaction
from common.core.validators import ValidatorSet


class StateReader(Protocol):
    """Read access to a chain's state at one point.

    *State* is authenticated (committed to by the header's `state_root`); the *index* is derived data that every node
    can rebuild from blocks, kept for look-ups, never proven.
    """

    def get(self, key: bytes) -> bytes | None:
        """The authenticated value of `key`, or None."""
        ...

    def get_index(self, key: bytes) -> bytes | None:
        """The index value of `key`, or None."""
        ...

    def scan(self, prefix: bytes, limit: int, start_after: bytes | None = None) -> list[tuple[bytes, bytes]]:
        """At most `limit` authenticated entries whose key starts with `prefix` and is above `start_after`, in ascending
        key order.
        """
        ...

    def scan_index(self, prefix: bytes, limit: int, start_after: bytes | None = None) -> list[tuple[bytes, bytes]]:
        """The same of index entries."""
        ...


class StateView(StateReader, Protocol):
    """A reader that also takes changes; they are visible to later reads and undone if the transaction is rejected."""

    def put(self, key: bytes, value: bytes) -> None:
        """Set an authenticated value."""
        ...

    def delete(self, key: bytes) -> None:
        """Remove an authenticated value; removing what is absent is allowed."""
        ...

    def put_index(self, key: bytes, value: bytes) -> None:
        """Set an index value."""
        ...

    def delete_index(self, key: bytes) -> None:
        """Remove an index value; removing what is absent is allowed."""
        ...


class BlockContext(msgspec.Struct, frozen=True):
    """What a rule may know about the block that it runs in."""

    network: str
    height: int
    time_ms: int
    """The header's time, fixed before execution (protocol rule 5), in milliseconds since the Unix epoch."""
    genesis: Genesis
    validators: ValidatorSet
    """The set that signs this block."""
    protocol_version: int
    """The rules that this block obeys (protocol rule 8)."""
    parameters: ChainParameters
    """The numbers that hold for this block."""


class Outcome(msgspec.Struct):
    """What one applied transaction, or the beginning of a block, made."""

    snapshots: Sequence[bytes] = ()
    """Canonical JSON of the data-object snapshots (JR/T 0314-2024), in order; leaves of the block's `snapshot_root`."""
    objects: Sequence[tuple[str, int]] = ()
    """(object id, version) of each of `snapshots`, in the same order; listed in the receipt."""


@runtime_checkable
class Application(Protocol):
    """A chain's rules. See the module docstring for the contract A1-A4."""

    def initial_state(self, genesis: Genesis, state: StateView) -> None:
        """Write the state of height 0, a function of the genesis document alone."""
        ...

    def check(self, tx: SignedTransaction, state: StateReader, context: BlockContext) -> None:
        """Admission on committed state: operation types, shapes, roles of the signers. Raises `Rejected` to refuse.

        `context` is that of the next block, whose time is not known yet: that of the tip stands for it.

        Must not raise for what could become valid by transactions that are pending (an unknown account, a balance):
        those are judged by `execute`. Signatures, nonce and expiry have been checked before.
        """
        ...

    def begin_block(self, context: BlockContext, state: StateView) -> Outcome:
        """What comes with a block itself, before its transactions: queued work (`common.chain.work`).

        Its snapshots are the block's first, and the block has a receipt for them. Must not raise `Rejected`.
        """
        ...

    def execute(self, tx: SignedTransaction, context: BlockContext, state: StateView) -> Outcome:
        """Apply all operations of `tx`, or raise `Rejected` for an included rejection."""
        ...

    def operation_types(self, version: int) -> list[str]:
        """The operation types that a block of this protocol version accepts, sorted."""
        ...

    def describe(self, state: StateReader, context: BlockContext) -> dict[str, Any]:
        """Further facts for the options endpoint (JR/T 0314-2024 chapter 7), as of the next block: limits, policies,
        descriptions.
        """
        ...


_ABSENT = object()
REMEMBERED_BYTES: Final = 1024
"""Longest answer of the base that a view remembers: bodies of snapshots, which custody's index holds, are read once."""


class OverlayView:
    """A `StateView` that keeps changes over a `StateReader`, with a journal to undo those of one transaction.

    `state_changes` and `index_changes` are what a commit has to write. A value that is put back to what the base
    holds still counts as a change; the tree gives the same root for it.

    The base stands still while the view is used. What it answered is remembered, unless it is large: the operations of
    a block read the same products, accounts and absences again and again, and the index has no other cache.
    """

    __slots__ = ("_base", "_index_read", "_journal", "_state_read", "index_changes", "state_changes")

    def __init__(self, base: StateReader) -> None:
        self._base = base
        self._state_read: dict[bytes, bytes | None] = {}
        self._index_read: dict[bytes, bytes | None] = {}
        self.state_changes: dict[bytes, bytes | None] = {}
        self.index_changes: dict[bytes, bytes | None] = {}
        self._journal: list[tuple[dict[bytes, bytes | None], bytes, object]] = []

    def checkpoint(self) -> None:
        """Forget how to undo what was written so far: the start of a transaction."""
        self._journal.clear()

    def rollback(self) -> None:
        """Undo everything written since the last `checkpoint`, newest first."""
        for changes, key, before in reversed(self._journal):
            if before is _ABSENT:
                del changes[key]
            else:
                changes[key] = before if isinstance(before, bytes) else None
        self._journal.clear()

    def differences(self) -> dict[bytes, bytes | None]:
        """Authenticated values that are not what the base holds, None for one that is removed: what a commit changes.

        Most of them were read before they were written.
        """
        read, ask = self._state_read, self._base.get
        return {
            key: value for key, value in self.state_changes.items() if (read[key] if key in read else ask(key)) != value
        }

    def get(self, key: bytes) -> bytes | None:
        if key in self.state_changes:
            return self.state_changes[key]
        if key in self._state_read:
            return self._state_read[key]
        value = self._base.get(key)
        if value is None or len(value) <= REMEMBERED_BYTES:
            self._state_read[key] = value
        return value

    def get_index(self, key: bytes) -> bytes | None:
        if key in self.index_changes:
            return self.index_changes[key]
        if key in self._index_read:
            return self._index_read[key]
        value = self._base.get_index(key)
        if value is None or len(value) <= REMEMBERED_BYTES:
            self._index_read[key] = value
        return value

    def put(self, key: bytes, value: bytes) -> None:
        self._journal.append((self.state_changes, key, self.state_changes.get(key, _ABSENT)))
        self.state_changes[key] = value

    def delete(self, key: bytes) -> None:
        self._journal.append((self.state_changes, key, self.state_changes.get(key, _ABSENT)))
        self.state_changes[key] = None

    def put_index(self, key: bytes, value: bytes) -> None:
        self._journal.append((self.index_changes, key, self.index_changes.get(key, _ABSENT)))
        self.index_changes[key] = value

    def delete_index(self, key: bytes) -> None:
        self._journal.append((self.index_changes, key, self.index_changes.get(key, _ABSENT)))
        self.index_changes[key] = None

    def scan(self, prefix: bytes, limit: int, start_after: bytes | None = None) -> list[tuple[bytes, bytes]]:
        if not self.state_changes:
            return self._base.scan(prefix, limit, start_after)  # what work is queued is asked before anything changes
        changes = _below(self.state_changes, prefix, start_after)
        removed = sum(1 for value in changes.values() if value is None)
        return _merge(self._base.scan(prefix, limit + removed, start_after), changes, limit)

    def scan_index(self, prefix: bytes, limit: int, start_after: bytes | None = None) -> list[tuple[bytes, bytes]]:
        changes = _below(self.index_changes, prefix, start_after)
        removed = sum(1 for value in changes.values() if value is None)
        return _merge(self._base.scan_index(prefix, limit + removed, start_after), changes, limit)


def _below(changes: dict[bytes, bytes | None], prefix: bytes, start_after: bytes | None) -> dict[bytes, bytes | None]:
    """The changes that a scan sees."""
    least = b"" if start_after is None else start_after + b"\0"
    return {key: value for key, value in changes.items() if key.startswith(prefix) and key >= least}


def _merge(
    base: list[tuple[bytes, bytes]], changes: dict[bytes, bytes | None], limit: int
) -> list[tuple[bytes, bytes]]:
    """Base entries with `changes` laid over them, ascending, cut at `limit`.

    `base` holds at least `limit` more entries than `changes` removes (or all there are), so cutting after the merge
    is right.
    """
    if not changes:
        return base[:limit]
    merged: dict[bytes, bytes | None] = dict(base)
    merged.update(changes)
    present = [(key, value) for key, value in merged.items() if value is not None]
    present.sort()
    return present[:limit]
