"""A chain's trust root, made from its genesis document (docs/protocol-evidence.md)."""

from __future__ import annotations

from typing import Any

from common.core.genesis import Genesis

CLIENT_TYPE = "tongjian-pbft/v1"


def trust_root(genesis: Genesis) -> dict[str, Any]:
    """A chain's entry in a trust file (docs/protocol-evidence.md)."""
    return {
        "network": genesis.network,
        "tier": genesis.tier,
        "client_type": CLIENT_TYPE,
        "suite": genesis.suite.name,
        "genesis_id": genesis.id.hex(),
        "validators": [
            {
                "name": member.name,
                "organisation": member.organisation,
                "public_key": genesis.suite.format_key(member.public_key),
            }
            for member in genesis.validators.members
        ],
    }
