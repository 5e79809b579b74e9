"""Found a whole local network: keys, certificates, tokens, genesis documents, settings, `network.json`.

Composes what `node init` and `genesis assemble` do for one node and one chain. Everything is written into a directory
beside the target, which is renamed into place at the end: an interrupted run leaves nothing that looks finished. Keys
are never written over.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import tomli_w

from cli.enrolment import NodePlace, PublicPart, assemble, enrol, write_node_settings
from cli.genesis_trust import trust_root
from cli.localnet.layout import (
    CUSTODY,
    PEER_PORT_OFFSET,
    PORTS_PER_CHAIN,
    RELAY_PORT_OFFSET,
    Chain,
    LocalNetwork,
    Process,
)
from cli.localnet.markets import REGIONS
from cli.localnet.network_lock import founding
from common.core.errors import Malformed
from common.core.genesis import Genesis
from common.core.parameters import ChainParameters
from common.core.suite import DEFAULT_SUITE
from common.model.schemas import model_schema_hash
from common.node.access import issue_token
from common.node.keys import generate_key
from common.node.peer.certificates import Authority, create_authority, issue_certificate
from crosslink.lightclient.trust import build_trust_file

Progress = Callable[[str], None]
GOVERNANCE_KEYS = 3
CONTAINER_API_PORT = 8443
CONTAINER_PEER_PORT = 9443
CONTAINER_DATA_DIR = "/var/lib/tongjian"
MIN_VALIDATORS = 2
MAX_VALIDATORS = 39
"""So many fit between a chain's first API port and its first peer port."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to found: the regions, validators a chain, and where everything listens.

    `containers` plans for one container a process, which reach each other by name; the APIs are published on loopback
    at the same ports that processes of a local network would have."""

    directory: Path
    regions: Sequence[str]
    validators: int = 4
    base_port: int = 18000
    relays: int = 1
    containers: bool = False
    region_periods: Mapping[str, int] = field(default_factory=dict)
    """`silent_after_ms` and `lagging_after_ms` of every region, where they are not to be the defaults."""

    def __post_init__(self) -> None:
        unknown = [region for region in self.regions if region not in REGIONS]
        if unknown:
            raise Malformed(
                "unknown_region", f"no regional market is called {', '.join(unknown)}; known: {', '.join(REGIONS)}"
            )
        if len(set(self.regions)) != len(self.regions) or not self.regions:
            raise Malformed("regions", "name at least one region, and each only once")
        if not MIN_VALIDATORS <= self.validators <= MAX_VALIDATORS:
            detail = f"a chain has {MIN_VALIDATORS} to {MAX_VALIDATORS} validators here, not {self.validators}"
            raise Malformed("validators", f"{detail}: a relay reads at least two nodes of every region")
        if not 1024 <= self.base_port <= 65_535 - (len(self.regions) + 2) * PORTS_PER_CHAIN:
            raise Malformed(
                "base_port", f"base port {self.base_port} leaves no room for the network's ports below 65536"
            )

    @property
    def networks(self) -> list[str]:
        """Every chain, the custody chain first."""
        return [CUSTODY, *self.regions]

    def api_port(self, network: str, number: int) -> int:
        """The loopback port of a node's API; `number` counts from 1."""
        return self.base_port + self.networks.index(network) * PORTS_PER_CHAIN + number

    def place(self, network: str, number: int) -> NodePlace:
        """Where a node listens."""
        name = f"{network}-{number}"
        if self.containers:
            return NodePlace(
                api_host=name,
                api_port=CONTAINER_API_PORT,
                peer_host=name,
                peer_port=CONTAINER_PEER_PORT,
                listen_host="0.0.0.0",
            )
        port = self.api_port(network, number)
        return NodePlace(api_host="127.0.0.1", api_port=port, peer_host="127.0.0.1", peer_port=port + PEER_PORT_OFFSET)

    def relay_port(self, number: int) -> int:
        """The loopback port of a relay's status API."""
        return self.base_port + RELAY_PORT_OFFSET + number

    def ports(self) -> list[int]:
        """Every loopback port the network takes."""
        numbers = range(1, self.validators + 1)
        ports = [self.api_port(network, number) for network in self.networks for number in numbers]
        return (
            ports
            + [port + PEER_PORT_OFFSET for port in ports]
            + [self.relay_port(n) for n in range(1, self.relays + 1)]
        )


def initialise(plan: Plan, *, now_ms: int, progress: Progress) -> LocalNetwork:
    """Found the network that `plan` describes. Raises Conflict if its directory exists and is not empty, or another
    command is founding it."""
    target = plan.directory.resolve()
    with founding(target) as workspace:
        founder = _Founder(plan, workspace, target, now_ms)
        for name in plan.networks:
            progress(f"keys and certificates of {name}")
            founder.enrol_chain(name)
        progress("credentials, genesis documents and settings")
        founder.make_credentials()
        founder.make_genesis()
        founder.write_settings()
        return founder.write_network_file()


class _Founder:
    """The steps of `initialise` over one workspace, in the order in which they stand here."""

    def __init__(self, plan: Plan, workspace: Path, target: Path, now_ms: int) -> None:
        self.plan, self.workspace, self.target, self.now_ms = plan, workspace, target, now_ms
        (workspace / "ca").mkdir()
        self.authority: Authority = create_authority(
            workspace / "ca" / "ca.crt",
            workspace / "ca" / "ca.key",
            name="Tongjian local network",
            organisation="Tongjian",
            now_ms=now_ms,
        )
        self.parts: dict[str, list[PublicPart]] = {}
        self.public_keys: dict[str, str] = {}
        self.credentials: dict[str, dict[str, str | None]] = {}
        self.genesis: dict[str, Genesis] = {}

    def enrol_chain(self, network: str) -> None:
        """Every node of one chain makes its keys."""
        self.parts[network] = [
            enrol(
                self.workspace / network / f"{network}-{number}",
                network=network,
                name=f"{network}-{number}",
                organisation=f"{network}-organisation-{number}",
                place=self.plan.place(network, number),
                authority=self.authority,
                now_ms=self.now_ms,
            )
            for number in range(1, self.plan.validators + 1)
        ]

    def make_credentials(self) -> None:
        """Keys and tokens of the people and programs that use the network (contract, `network.json`)."""
        (self.workspace / "credentials").mkdir()
        for region in self.plan.regions:
            self._credential(f"{region}-operator", network=region, role="operator", with_key=True)
            self._credential(f"{region}-reader", network=region, role="reader")
            self._credential(f"{region}-relay-reader", network=region, role="reader")
            self._credential(f"{region}-feedback", network=CUSTODY, role="feedback", regions=[region])
        (self.workspace / self._relay_name(1)).mkdir()
        self._credential("relay", network=CUSTODY, role="relay", with_key=True, also=self._relay_name(1))
        self._credential("custody-reader", network=CUSTODY, role="reader")
        self._credential("relay-reader", network=self._relay_name(1), role="reader")
        self._credential("supervisor", network=CUSTODY, role="supervisor")
        for number in range(1, GOVERNANCE_KEYS + 1):
            self._credential(f"governance-{number}", network=CUSTODY, role="governance", with_key=True)

    def _credential(
        self,
        name: str,
        *,
        network: str,
        role: str,
        with_key: bool = False,
        regions: list[str] | None = None,
        also: str | None = None,
    ) -> None:
        """Keys and a token for the nodes of `network`, and for the status of the relay `also`."""
        folder = self.workspace / "credentials"
        key_file = folder / f"{name}.key" if with_key else None
        if key_file is not None:
            self.public_keys[name] = generate_key(key_file).text

        def issue(place: str, secret: str | None = None) -> str:
            return issue_token(
                self.workspace / place / "tokens.json",
                subject=name,
                organisation=name,
                role=role,
                regions=regions,
                now_ms=self.now_ms,
                secret=secret,
            ).secret

        secret = issue(network)
        if also is not None:
            issue(also, secret)
        token_file = folder / f"{name}.token"
        with os.fdopen(os.open(token_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secret + "\n")
        self.credentials[name] = {
            "key_file": str(self._final(key_file)) if key_file else None,
            "token_file": str(self._final(token_file)),
        }

    def _final(self, path: Path) -> Path:
        """Where a file of the workspace will be once it is renamed into place."""
        return self.target / path.relative_to(self.workspace)

    def make_genesis(self) -> None:
        """The business chains' genesis documents, then the custody chain's, which holds their trust roots; and the
        trust file."""
        governance = [
            {"public_key": self.public_keys[name], "organisation": name, "role": "governance"}
            for name in (f"governance-{number}" for number in range(1, GOVERNANCE_KEYS + 1))
        ]
        for region in self.plan.regions:
            letters, chinese_name = REGIONS[region]
            operator = {"public_key": self.public_keys[f"{region}-operator"], "organisation": f"{region}-operator"}
            application = {
                "region_letters": letters,
                "name": f"{chinese_name}区域性股权市场",
                "signers": [{**operator, "role": "operator"}, *governance],
            }
            self._assemble(region, "business", application)
        signers = [{"public_key": self.public_keys["relay"], "organisation": "relay", "role": "relay"}, *governance]
        roots = [trust_root(self.genesis[region]) for region in self.plan.regions]
        periods = self.plan.region_periods
        regions = [
            {**replace(root, tier="").to_json(), "region_letters": REGIONS[root.network][0], **periods}
            for root in roots
        ]
        schema_hash = model_schema_hash(DEFAULT_SUITE).hex()
        custody = {"regions": regions, "signers": signers, "model_schema_hash": schema_hash}
        self._assemble(CUSTODY, "custody", custody)
        trust = build_trust_file([trust_root(self.genesis[CUSTODY]), *roots])
        (self.workspace / "trust.json").write_bytes(trust.encode())

    def _assemble(self, network: str, tier: Literal["business", "custody"], application: dict[str, Any]) -> None:
        # A heartbeat in the past: the first (empty) block is due at once: a fresh network shows that it commits.
        time_ms = self.now_ms - ChainParameters().heartbeat_ms
        genesis = assemble(self.parts[network], tier=tier, time_ms=time_ms, application=application)
        self.genesis[network] = genesis
        folder = self.workspace / "genesis"
        folder.mkdir(exist_ok=True)
        (folder / f"{network}.json").write_bytes(genesis.document)

    def write_settings(self) -> None:
        """`node.toml` of every node and `relay.toml` of every relay."""
        for network in self.plan.networks:
            for number, part in enumerate(self.parts[network], start=1):
                write_node_settings(
                    self.workspace / network / part.name,
                    name=part.name,
                    genesis_file=f"../../genesis/{network}.json",
                    tokens_file="../tokens.json",
                    ca_file="../../ca/ca.crt",
                    place=self.plan.place(network, number),
                    peers=self.parts[network],
                    data_dir=CONTAINER_DATA_DIR if self.plan.containers else "data",
                )
        for number in range(1, self.plan.relays + 1):
            self._write_relay(number)

    def _write_relay(self, number: int) -> None:
        folder = self.workspace / self._relay_name(number)
        folder.mkdir(exist_ok=True)
        issue_certificate(
            self.authority,
            folder / "tls.crt",
            folder / "tls.key",
            name=self._relay_name(number),
            organisation="relay",
            hosts=["127.0.0.1", "localhost", self._relay_name(number)],
            now_ms=self.now_ms,
        )
        port = CONTAINER_API_PORT if self.plan.containers else self.plan.relay_port(number)
        settings = {
            "key_file": "../credentials/relay.key",
            "ca_file": "../ca/ca.crt",
            "custody": {"network": CUSTODY, "nodes": self._urls(CUSTODY), "token_file": "../credentials/relay.token"},
            "regions": [
                {
                    "network": region,
                    "nodes": self._urls(region),
                    "token_file": f"../credentials/{region}-relay-reader.token",
                }
                for region in self.plan.regions
            ],
            "api": {
                "host": "0.0.0.0" if self.plan.containers else "127.0.0.1",
                "port": port,
                "certificate_file": "tls.crt",
                "private_key_file": "tls.key",
                "tokens_file": f"../{self._relay_name(1)}/tokens.json",
            },
        }
        (folder / "relay.toml").write_text(tomli_w.dumps(settings))

    def _relay_name(self, number: int) -> str:
        return "relay" if number == 1 else f"relay-{number}"

    def _urls(self, network: str) -> list[str]:
        places = [self.plan.place(network, number) for number in range(1, self.plan.validators + 1)]
        return [f"https://{place.api_host}:{place.api_port}" for place in places]

    def write_network_file(self) -> LocalNetwork:
        """Write `network.json`; return what it says."""
        chains = tuple(
            Chain(
                network_id=network,
                tier=self.genesis[network].tier,
                genesis_id=self.genesis[network].id.hex(),
                genesis_file=self.target / "genesis" / f"{network}.json",
                nodes=tuple(
                    self._process(network, number, part) for number, part in enumerate(self.parts[network], start=1)
                ),
            )
            for network in self.plan.networks
        )
        relays = tuple(
            Process(
                name=self._relay_name(number),
                api=f"https://127.0.0.1:{self.plan.relay_port(number)}",
                config=self.target / self._relay_name(number) / "relay.toml",
                data_dir=None,
                log=self.target / self._relay_name(number) / "relay.log",
            )
            for number in range(1, self.plan.relays + 1)
        )
        network = LocalNetwork(directory=self.workspace, chains=chains, relays=relays, credentials=self.credentials)
        network.save(published_directory=self.target)
        return LocalNetwork(directory=self.target, chains=chains, relays=relays, credentials=self.credentials)

    def _process(self, network: str, number: int, part: PublicPart) -> Process:
        folder = self.target / network / part.name
        return Process(
            name=part.name,
            api=f"https://127.0.0.1:{self.plan.api_port(network, number)}",
            config=folder / "node.toml",
            data_dir=Path(CONTAINER_DATA_DIR) if self.plan.containers else folder / "data",
            log=folder / "node.log",
            organisation=part.organisation,
            public_key=part.public_key,
        )
