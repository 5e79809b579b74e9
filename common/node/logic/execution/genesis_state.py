"""Height 0: writes what genesis and the application's initial state are into an empty chain store.

The initial state is a function of the genesis document alone, so every node of a chain starts from the same root.

Left out: the document itself (`common.core.genesis`), everything after height 0.
"""

from __future__ import annotations

from common.chain.application import Application, OverlayView
from common.chain.index_families import families_of
from common.core.genesis import Genesis
from common.node.store.chain_store import ChainStore
from common.node.store.index_layouts import note_layouts


class _Nothing:
    """The state before there is any."""

    def get(self, key: bytes) -> bytes | None:
        return None

    def get_index(self, key: bytes) -> bytes | None:
        return None

    def scan(self, prefix: bytes, limit: int, start_after: bytes | None = None) -> list[tuple[bytes, bytes]]:
        return []

    def scan_index(self, prefix: bytes, limit: int, start_after: bytes | None = None) -> list[tuple[bytes, bytes]]:
        return []


def initialise_chain(chain: ChainStore, genesis: Genesis, application: Application) -> None:
    """Write height 0 unless it is there. Raises whatever the application says about a bad genesis document."""
    if chain.initialised:
        return
    state = OverlayView(_Nothing())
    application.initial_state(genesis, state)
    chain.initialise(genesis, state.state_changes, state.index_changes)
    note_layouts(chain, families_of(application))
