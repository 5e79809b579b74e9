"""Genesis of a simulated system: business chains with one operator each, a custody chain that trusts them, a relay."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from business_chain.application import BusinessApplication
from cli.genesis_trust import trust_root
from common.chain.application import Application
from common.core.genesis import Genesis, build_genesis
from common.core.parameters import ChainParameters
from common.core.suite import ED25519_SHA256
from common.core.validators import Validator, ValidatorSet
from common.model.schemas import model_schema_hash
from custody_chain.application import CustodyApplication

SUITE = ED25519_SHA256
CUSTODY = "custody"
REGIONS = {"beijing": "BJ", "shanghai": "SH"}
OLD_VERSIONS, NEW_VERSIONS = (1,), (1, 2)
"""Protocol versions that the old release and the new one know; the second is a rehearsal, without rules of its own."""
GENESIS_MS = 1_770_000_000_000
PARAMETERS = ChainParameters(heartbeat_ms=5_000, view_timeout_ms=500, max_view_timeout_ms=2_000)
"""Short waits, so that a run needs few simulated seconds."""


@lru_cache(maxsize=256)
def seed_of(name: str) -> bytes:
    """A secret key derived from a name."""
    return hashlib.sha256(f"simulated {name}".encode()).digest()


def key_text(name: str) -> str:
    """The public key of `seed_of(name)` in text form."""
    return SUITE.format_key(SUITE.public_key(seed_of(name)))


@dataclass(frozen=True)
class ChainSpec:
    """One chain: its genesis, its rules, its validators' names in voting order."""

    genesis: Genesis
    names: tuple[str, ...]
    application: Callable[[Genesis], Application]

    @property
    def network(self) -> str:
        """The chain's id."""
        return self.genesis.network

    @property
    def faults(self) -> int:
        """How many validators may be faulty: the largest f with 3f < n."""
        return (len(self.names) - 1) // 3


def validator_names(network: str, size: int) -> tuple[str, ...]:
    """`beijing-0`, `beijing-1`, …"""
    return tuple(f"{network}-{number}" for number in range(size))


def _genesis(
    network: str, tier: Literal["business", "custody"], names: tuple[str, ...], application: dict[str, Any]
) -> Genesis:
    members = tuple(Validator(name, f"of-{name}", SUITE.public_key(seed_of(name))) for name in names)
    return build_genesis(
        network=network,
        tier=tier,
        suite=SUITE,
        time_ms=GENESIS_MS,
        validators=ValidatorSet(members),
        application=application,
        parameters=PARAMETERS,
    )


@lru_cache(maxsize=64)
def business_chain(network: str, size: int) -> ChainSpec:
    """A market of `size` validators, whose operator is `<network>-operator`."""
    names = validator_names(network, size)
    operator = {"public_key": key_text(f"{network}-operator"), "organisation": "market", "role": "operator"}
    governor = {"public_key": key_text(f"{network}-governor"), "organisation": "market", "role": "governance"}
    application = {"region_letters": REGIONS[network], "name": f"market of {network}", "signers": [operator, governor]}
    return ChainSpec(_genesis(network, "business", names, application), names, BusinessApplication)


@lru_cache(maxsize=256)
def custody_chain(size: int, markets: tuple[tuple[str, int], ...]) -> ChainSpec:
    """The supervisor's chain over `markets` (network, size), with one relay key."""
    names = validator_names(CUSTODY, size)
    regions = []
    for network, market_size in markets:
        root = trust_root(business_chain(network, market_size).genesis).to_json()
        root.pop("tier", None)
        regions.append({**root, "region_letters": REGIONS[network]})
    application = {
        "regions": regions,
        "signers": [
            {"public_key": key_text("relay"), "organisation": "relay", "role": "relay"},
            {"public_key": key_text("governance"), "organisation": "supervisor", "role": "governance"},
        ],
        "model_schema_hash": model_schema_hash(SUITE).hex(),
    }
    return ChainSpec(_genesis(CUSTODY, "custody", names, application), names, CustodyApplication)
