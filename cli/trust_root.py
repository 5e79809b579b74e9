"""A chain's trust root, made from its genesis document (docs/protocol-evidence.md)."""

from __future__ import annotations

from common.core.genesis import Genesis
from crosslink.lightclient.trust_root import TrustRoot

CLIENT_TYPE = "tongjian-pbft/v1"


def trust_root(genesis: Genesis) -> TrustRoot:
    """The root from which trust in the chain of `genesis` begins."""
    return TrustRoot(
        network=genesis.network,
        tier=genesis.tier,
        client_type=CLIENT_TYPE,
        suite=genesis.suite.name,
        genesis_id=genesis.id,
        validators=genesis.validators,
    )
