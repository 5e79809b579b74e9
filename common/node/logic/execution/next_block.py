"""What holds for the block on the committed tip: its version, validators and parameters, and so its context.

Remembered until the tip moves: admission asks for every transaction. Left out: execution (`executor`).
"""

from __future__ import annotations

import msgspec

from common.chain.application import BlockContext
from common.chain.governed_parameters import parameters_at
from common.chain.schedule import protocol_version
from common.core.parameters import ChainParameters
from common.node.store.chain_store import ChainStore
from common.node.store.committed_state import CommittedState


class NextBlock:
    """Rules of the height above the chain store's tip."""

    __slots__ = ("_chain", "_context", "_state", "_tip")

    def __init__(self, chain: ChainStore) -> None:
        self._chain = chain
        self._state = CommittedState(chain)
        self._tip: bytes | None = None
        self._context: BlockContext | None = None

    @property
    def parameters(self) -> ChainParameters:
        """The chain's parameters there."""
        return self.context().parameters

    def context(self) -> BlockContext:
        """The block's context for admission: its time is not known yet, that of the tip stands for it."""
        tip = self._chain.tip()
        if self._context is None or self._tip != tip.block_id:
            self._tip, self._context = tip.block_id, self._read()
        return self._context

    def context_at(self, time_ms: int) -> BlockContext:
        """The block's context if it has this time."""
        return msgspec.structs.replace(self.context(), time_ms=time_ms)

    def _read(self) -> BlockContext:
        genesis, tip = self._chain.genesis, self._chain.tip()
        height = tip.height + 1
        return BlockContext(
            network=genesis.network,
            height=height,
            time_ms=tip.time_ms,
            genesis=genesis,
            validators=self._chain.validators(height),
            protocol_version=protocol_version(self._state, genesis, height),
            parameters=parameters_at(self._state, genesis, height),
        )
