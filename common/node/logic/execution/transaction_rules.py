"""What makes a transaction acceptable in a block at all: network, genesis, expiry and the block's limits.

The mempool refuses what breaks these rules, and a block that contains it is invalid (protocol rules 11 and 12): one
place, so that a leader never proposes what replicas refuse.

Left out: signatures (`common.core.transaction`), used nonces (`used_nonces`), everything an application decides.
"""

from __future__ import annotations

from common.core.errors import Conflict, Malformed, RuleBroken, TooLarge
from common.core.genesis import Genesis
from common.core.parameters import ChainParameters
from common.core.transaction import SignedTransaction


def check_belongs(tx: SignedTransaction, genesis: Genesis) -> None:
    """Network and genesis id are this chain's: names repeat across deployments (protocol rule 6, attack C10). Raises
    Malformed.
    """
    if tx.network != genesis.network:
        raise Malformed("wrong_network", "the transaction names another network", network=tx.network[:64])
    if tx.genesis != genesis.id:
        raise Malformed(
            "wrong_genesis", "the transaction names another genesis of this network", genesis=tx.genesis.hex()
        )


def check_expiry(tx: SignedTransaction, height: int, parameters: ChainParameters) -> None:
    """Valid in block h iff h <= expires_at_height <= h + max_expiry_blocks (protocol rule 12, attack N4).

    Raises Conflict('transaction_expired') or RuleBroken('expiry_too_far').
    """
    if tx.expires_at_height < height:
        raise Conflict(
            "transaction_expired",
            "the chain has passed the transaction's expiry; sign a new one",
            expires_at_height=tx.expires_at_height,
            height=height,
        )
    furthest = height + parameters.max_expiry_blocks
    if tx.expires_at_height > furthest:
        raise RuleBroken(
            "expiry_too_far",
            "the transaction expires too far in the future",
            expires_at_height=tx.expires_at_height,
            latest=furthest,
        )


def check_fits_a_block(tx: SignedTransaction, parameters: ChainParameters) -> None:
    """The transaction alone keeps within a block's limits (protocol rule 14). Raises
    TooLarge('transaction_too_large').
    """
    if len(tx.envelope) > parameters.max_block_bytes or len(tx.operations) > parameters.max_block_operations:
        raise TooLarge(
            "transaction_too_large",
            "the transaction does not fit into a block",
            size=len(tx.envelope),
            operations=len(tx.operations),
        )
