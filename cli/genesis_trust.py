"""A chain's trust root, made from its genesis document (docs/protocol-evidence.md)."""

from __future__ import annotations

from common.core.genesis import Genesis
from crosslink.lightclient.pbft.trust import PBFT_CLIENT_TYPE, root_document
from crosslink.lightclient.trust_root import TrustRoot


def trust_root(genesis: Genesis) -> TrustRoot:
    """The root from which trust in the chain of `genesis` begins."""
    return TrustRoot(
        network=genesis.network,
        tier=genesis.tier,
        client_type=PBFT_CLIENT_TYPE,
        genesis_id=genesis.id,
        trust=root_document(genesis.suite, genesis.validators),
    )
