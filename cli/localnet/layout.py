"""What lies where in a local network's directory, and the `network.json` that tells a client (contract, "Command
line").

::

    DIR/network.json                 what clients need: chains, nodes, relays, credentials
    DIR/trust.json                   genesis trust roots of every chain
    DIR/ca/                          the network's certificate authority
    DIR/genesis/<network>.json
    DIR/credentials/<name>.key|.token
    DIR/<network>/tokens.json        hashed access tokens, shared by the chain's nodes
    DIR/<network>/<node>/            node.toml, node.key, tls.crt, tls.key, data/, node.log
    DIR/relay/                       relay.toml, relay.log
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from common.core.errors import Malformed, NotFound

FORMAT = "tongjian/localnet/v1"
CUSTODY = "custody"
PORTS_PER_CHAIN = 100
PEER_PORT_OFFSET = 50
RELAY_PORT_OFFSET = 90


@dataclass(frozen=True, kw_only=True)
class Process:
    """One process of the network: a node of a chain, or a relay. `pid` is None while it does not run."""

    name: str
    api: str
    config: Path
    data_dir: Path | None
    log: Path
    organisation: str = ""
    public_key: str = ""
    pid: int | None = None
    started_ticks: int | None = None  # start time of the process since boot: a pid alone may be another's by now

    def document(self) -> dict[str, Any]:
        """The process as it stands in `network.json`."""
        listed: dict[str, Any] = {
            "name": self.name,
            "api": self.api,
            "config": str(self.config),
            "data_dir": str(self.data_dir) if self.data_dir else None,
            "log": str(self.log),
            "pid": self.pid,
            "started_ticks": self.started_ticks,
        }
        if self.public_key:
            listed |= {"organisation": self.organisation, "public_key": self.public_key}
        return listed

    @classmethod
    def parse(cls, document: dict[str, Any]) -> Self:
        """The inverse of `document`."""
        return cls(
            name=document["name"],
            api=document["api"],
            config=Path(document["config"]),
            data_dir=Path(document["data_dir"]) if document["data_dir"] else None,
            log=Path(document["log"]),
            organisation=document.get("organisation", ""),
            public_key=document.get("public_key", ""),
            pid=document["pid"],
            started_ticks=document.get("started_ticks"),
        )


@dataclass(frozen=True, kw_only=True)
class Chain:
    """One chain of the network and its nodes."""

    network_id: str
    tier: str
    genesis_id: str
    genesis_file: Path
    nodes: tuple[Process, ...]

    def document(self) -> dict[str, Any]:
        """The chain as it stands in `network.json`; every node of a local network is a validator."""
        nodes = [node.document() for node in self.nodes]
        return {
            "network_id": self.network_id,
            "tier": self.tier,
            "genesis_id": self.genesis_id,
            "genesis_file": str(self.genesis_file),
            "validators": nodes,
            "nodes": nodes,
        }


@dataclass(frozen=True, kw_only=True)
class LocalNetwork:
    """The parsed `network.json`."""

    directory: Path
    chains: tuple[Chain, ...]
    relays: tuple[Process, ...]
    credentials: dict[str, dict[str, str | None]] = field(default_factory=dict)

    @property
    def ca_file(self) -> Path:
        """The certificate that clients trust for every API of the network."""
        return self.directory / "ca" / "ca.crt"

    @property
    def trust_file(self) -> Path:
        """The genesis trust roots, for `tongjian verify`."""
        return self.directory / "trust.json"

    def processes(self) -> list[Process]:
        """Every process, nodes first, in the order in which they are started."""
        return [node for chain in self.chains for node in chain.nodes] + list(self.relays)

    def process(self, name: str) -> Process:
        """The process called `name`. Raises NotFound."""
        for process in self.processes():
            if process.name == name:
                return process
        known = ", ".join(process.name for process in self.processes())
        raise NotFound("unknown_node", f"no process is called {name!r}; this network has {known}")

    def chain(self, network_id: str) -> Chain:
        """The chain called `network_id`. Raises NotFound."""
        for chain in self.chains:
            if chain.network_id == network_id:
                return chain
        raise NotFound("unknown_network", f"this local network has no chain {network_id!r}")

    def regions(self) -> list[Chain]:
        """The business chains."""
        return [chain for chain in self.chains if chain.tier == "business"]

    def token(self, credential: str) -> str:
        """The bearer token of a credential. Raises NotFound."""
        path = self.credentials.get(credential, {}).get("token_file")
        if path is None:
            raise NotFound("unknown_credential", f"this network has no token for {credential!r}")
        return Path(path).read_text().strip()

    def key_file(self, credential: str) -> Path:
        """The key file of a credential. Raises NotFound."""
        path = self.credentials.get(credential, {}).get("key_file")
        if path is None:
            raise NotFound("unknown_credential", f"this network has no key for {credential!r}")
        return Path(path)

    def with_process(self, changed: Process) -> LocalNetwork:
        """The network with one process's entry replaced."""
        return replace(
            self,
            chains=tuple(
                replace(chain, nodes=tuple(changed if node.name == changed.name else node for node in chain.nodes))
                for chain in self.chains
            ),
            relays=tuple(changed if relay.name == changed.name else relay for relay in self.relays),
        )

    def save(self, *, published_directory: Path | None = None) -> None:
        """Write `network.json` whole or not at all.

        `published_directory` is where the network will be when it is still being made elsewhere.
        """
        place = published_directory or self.directory
        document = {
            "format": FORMAT,
            "chains": [chain.document() for chain in self.chains],
            "relays": [relay.document() for relay in self.relays],
            "ca_file": str(place / "ca" / "ca.crt"),
            "trust_file": str(place / "trust.json"),
            "credentials": self.credentials,
        }
        path = self.directory / "network.json"
        temporary = path.with_suffix(".json.new")
        temporary.write_text(json.dumps(document, ensure_ascii=False, indent=2) + "\n")
        os.replace(temporary, path)


def load_network(directory: Path) -> LocalNetwork:
    """Read DIR/network.json. Raises NotFound if there is none, Malformed if it is not one of ours or damaged."""
    path = directory.resolve() / "network.json"
    if not path.is_file():
        raise NotFound("no_local_network", f"{path} does not exist; create it: tongjian localnet init {directory}")
    try:
        document = json.loads(path.read_text())
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise Malformed("network_file_format", f"{path} is not a file of the format {FORMAT}")
        return LocalNetwork(
            directory=directory.resolve(),
            chains=tuple(
                Chain(
                    network_id=chain["network_id"],
                    tier=chain["tier"],
                    genesis_id=chain["genesis_id"],
                    genesis_file=Path(chain["genesis_file"]),
                    nodes=tuple(Process.parse(node) for node in chain["nodes"]),
                )
                for chain in document["chains"]
            ),
            relays=tuple(Process.parse(relay) for relay in document["relays"]),
            credentials=document["credentials"],
        )
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise Malformed(
            "network_file_damaged",
            f"{path} is no JSON or lacks what is needed: restore it from a copy. `pgrep -fa localnet` lists processes "
            "that still run, each with the directory of its network",
        ) from error
