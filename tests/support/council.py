"""The organisations that govern a local network: they sign through the command line, as operators would."""

from __future__ import annotations

import json
import time
import uuid
from pathlib import Path
from typing import Any

from cli.localnet.layout import CUSTODY
from cli.localnet.readiness import node_api
from tests.support.running import Network, eventually, tongjian

LEAST_LEAD = 12
SIGNING_S = 6
GOVERNORS = ("governance-1", "governance-2", "governance-3")


class Council:
    """Three organisations with a governance key each."""

    def __init__(self, network: Network, workspace: Path) -> None:
        self.network, self.workspace = network, workspace

    def operation(self, chain: str, operation_type: str, **fields: Any) -> dict[str, Any]:
        """An operation with what its tier wants besides."""
        common = {} if chain == CUSTODY else {"business_id": uuid.uuid4().hex, "occurred_at_ms": now_ms()}
        return {"type": operation_type, **common, **fields}

    def decide(self, chain: str, *operations: dict[str, Any]) -> dict[str, Any]:
        """Sign by all, submit, and return the answer with the receipt; it must be applied."""
        directory = str(self.network.directory)
        file = self.workspace / f"{uuid.uuid4().hex}.json"
        file.write_text(json.dumps(operations))
        keys = [("--key", str(self.network.local.key_file(name))) for name in GOVERNORS]
        where = ("--localnet", directory, "--network", chain)
        signed = tongjian("tx", "sign", str(file), *(part for pair in keys for part in pair), *where)
        file.write_text(signed.stdout)
        credential = "governance-1" if chain == CUSTODY else f"{chain}-operator"
        answer = tongjian("tx", "submit", str(file), *where, "--as", credential, "--json")
        return dict(json.loads(answer.stdout))

    def plan(self, chain: str, *options: str) -> dict[str, Any]:
        """`tongjian membership plan`, which must find no fault."""
        place = ("--network", str(self.network.directory), "--chain", chain)
        return dict(json.loads(tongjian("membership", "plan", *place, "--reason", "a test", *options).stdout))

    def change_members(self, chain: str, *options: str) -> int:
        """Plan, decide, and wait until the change has taken effect; its effective height."""
        operation = self.plan(chain, *options, "--effective-in", str(self.lead(chain)))
        self.decide(chain, operation)
        height = int(operation["effective_height"])
        eventually(lambda: self.height(chain) >= height, f"{chain} reaches {height}")
        return height

    def lead(self, chain: str) -> int:
        """Blocks that the chain makes while a change is signed and submitted, at its present pace, and some more."""
        first = self.height(chain)
        time.sleep(1.0)
        return LEAST_LEAD + SIGNING_S * (self.height(chain) - first)

    def height(self, chain: str) -> int:
        """The chain's tip."""
        return int(self.ask(chain, "status")["height"])

    def ask(self, chain: str, what: str, node: str | None = None) -> dict[str, Any]:
        """`status`, `options` or `governance` of a chain, or of one node."""
        local = self.network.local
        nodes = [local.process(node)] if node else None
        with node_api(local, local.chain(chain), nodes) as api:
            return dict(api.get(f"/v1/networks/{chain}/{what}"))

    def votes(self, chain: str, node: str) -> bool:
        """Whether the node signs at its next height."""
        return bool(self.ask(chain, "status", node)["voting"])


def now_ms() -> int:
    """Milliseconds since the Unix epoch, a little in the past: clocks of nodes may lag."""
    return time.time_ns() // 1_000_000 - 1_000
