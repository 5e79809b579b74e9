"""A market's client in tests and measurements: signs operations of one region with its operator's key and submits
them."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Sequence
from typing import Any

from cli.client import Api
from cli.localnet.layout import LocalNetwork
from cli.localnet.readiness import node_api
from common.core.suite import ED25519_SHA256
from common.core.transaction import sign_envelope
from common.node.keys import KeyPair, load_key_file

LIFE_BLOCKS = 50_000
_RUN = secrets.token_hex(8)
_NUMBERS = itertools.count(1)  # one for all markets: a second client of the same operator's key repeats no nonce
OCCURRED_AT_MS = 1_767_225_600_000


def operation(operation_type: str, business_id: str, /, **fields: Any) -> dict[str, Any]:
    """An operation with the common fields filled in."""
    return {"type": operation_type, "business_id": business_id, "occurred_at_ms": OCCURRED_AT_MS, **fields}


class Market:
    """One region's operator."""

    def __init__(self, network: LocalNetwork, region: str, *, expires_at_height: int | None = None) -> None:
        """Transactions live for `LIFE_BLOCKS` from now, unless it is said; then no node is asked."""
        self.network, self.region, self.chain = network, region, network.chain(region)
        self.key: KeyPair = load_key_file(network.key_file(f"{region}-operator"), None)
        self.token = network.token(f"{region}-operator")
        self._expires_at_height = self.height() + LIFE_BLOCKS if expires_at_height is None else expires_at_height

    def height(self) -> int:
        """The chain's tip, as the first node that answers says."""
        with node_api(self.network, self.chain) as api:
            return int(api.get(f"/v1/networks/{self.region}/status")["height"])

    def api(self) -> Api:
        """A client of all the region's nodes with the operator's token."""
        return Api([node.api for node in self.chain.nodes], self.token, self.network.ca_file)

    def sign(self, operations: Sequence[dict[str, Any]]) -> bytes:
        """An envelope with these operations and a fresh nonce."""
        transaction = {
            "network": self.region,
            "genesis": self.chain.genesis_id,
            "signers": [self.key.text],
            "nonce": f"{_RUN}-{next(_NUMBERS)}",
            "expires_at_height": self._expires_at_height,
            "operations": list(operations),
        }
        return sign_envelope(transaction, [self.key.seed], ED25519_SHA256)

    def submit(self, operations: Sequence[dict[str, Any]], *, patience_s: float = 60.0) -> dict[str, Any]:
        """Submit operations as one transaction; its final status document."""
        with self.api() as api:
            return api.submit(self.sign(operations), patience_s=patience_s)

    def register_company(self, name: str) -> dict[str, Any]:
        """Register an organisation whose object id and business id are derived from `name`: a small, final change."""
        digits = f"{sum(ord(letter) * 31**index for index, letter in enumerate(name)) % 10**9:09d}"
        fields = {"object_id": name, "kind": "organisation", "name": f"样例{name}", "investor_code": f"R{digits}"}
        return self.submit([operation("subject.register", f"register-{name}", **fields)])
