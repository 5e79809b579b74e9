"""The committed state as applications and rules read it: a `StateReader` over the chain store's tip.

Left out: changes (`application.OverlayView`), history (`ChainStore.state_at`).
"""

from __future__ import annotations

from common.node.store.chain_store import ChainStore


class CommittedState:
    """Reads the state after the last committed block."""

    __slots__ = ("_chain", "get", "get_index")

    def __init__(self, chain: ChainStore) -> None:
        self._chain = chain
        self.get = chain.state_get
        self.get_index = chain.index_get

    def scan(self, prefix: bytes, limit: int, start_after: bytes | None = None) -> list[tuple[bytes, bytes]]:
        if limit == 1 and self._chain.nothing_below(prefix):
            return []  # whether any work is queued is asked with every block, and none is mostly
        return list(self._chain.state_scan(prefix, start_after, limit))

    def scan_index(self, prefix: bytes, limit: int, start_after: bytes | None = None) -> list[tuple[bytes, bytes]]:
        return list(self._chain.index_scan(prefix, start_after, limit))
