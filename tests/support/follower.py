"""A follower of a chain: it holds the whole state, takes each block's changes, and believes nothing but headers.

Written from docs/protocol.md, with the core's hashing alone; what an indexer or an auditor would do.
"""

from __future__ import annotations

from collections.abc import Iterable

from common.core.changes import change_root
from common.core.header import Header
from common.core.state_proof import value_hash
from common.core.suite import Suite
from tests.support.naive_state_tree import naive_root

Change = tuple[bytes, bytes | None]


class Deceived(Exception):
    """What was served is not what the header commits to; the text says which root."""


class Follower:
    """The state after the last block that was followed."""

    def __init__(self, suite: Suite, genesis_changes: Iterable[Change]) -> None:
        """From the changes of height 0, which only the next block's state root vouches for."""
        self._suite = suite
        self.state: dict[bytes, bytes] = {}
        self._apply(genesis_changes)

    def follow(self, header: Header, changes: list[Change]) -> None:
        """Take one block's changes. Raises Deceived, and keeps the state, unless both roots are the header's."""
        hashes = {key: None if value is None else value_hash(self._suite, value) for key, value in changes}
        if len(changes) != header.change_count or change_root(self._suite, hashes) != header.change_root:
            raise Deceived("change_root")
        before = dict(self.state)
        self._apply(changes)
        if naive_root(self._suite, self.state) != header.state_root:
            self.state = before
            raise Deceived("state_root")

    def _apply(self, changes: Iterable[Change]) -> None:
        for key, value in changes:
            if value is None:
                del self.state[key]
            else:
                self.state[key] = value
