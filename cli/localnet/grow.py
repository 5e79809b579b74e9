"""Another node for a chain of a local network: keys, certificate and settings of a validator to be.

It runs as an observer until `validators.change` names its key. The others need not know it beforehand: it dials them,
and its key opens the channel as soon as it is in the set (protocol rule 7).
"""

from __future__ import annotations

import tomllib
from dataclasses import replace

from cli.enrolment import NodePlace, PublicPart, enrol, write_node_settings
from cli.localnet.layout import PEER_PORT_OFFSET, Chain, LocalNetwork, Process
from common.core.errors import Conflict, Malformed
from common.node.peer.certificates import load_authority


def add_node(network: LocalNetwork, network_id: str, *, now_ms: int) -> tuple[LocalNetwork, PublicPart]:
    """Write the next node's directory and enter it in `network.json`.

    Raises NotFound for an unknown chain, Conflict if there are no ports left, Malformed for a network of containers.
    """
    chain = network.chain(network_id)
    last = chain.nodes[-1]
    number = len(chain.nodes) + 1
    port = _api_port(chain) + number
    if number > PEER_PORT_OFFSET - 1:
        raise Conflict("ports_used_up", f"{network_id} has {len(chain.nodes)} nodes; there are no ports for more")
    name, organisation = f"{network_id}-{number}", f"{network_id}-organisation-{number}"
    folder = last.config.parent.parent / name
    place = NodePlace(api_host="127.0.0.1", api_port=port, peer_host="127.0.0.1", peer_port=port + PEER_PORT_OFFSET)
    authority = load_authority(network.directory / "ca" / "ca.crt", network.directory / "ca" / "ca.key")
    part = enrol(
        folder,
        network=network_id,
        name=name,
        organisation=organisation,
        place=place,
        authority=authority,
        now_ms=now_ms,
    )
    config = write_node_settings(
        folder,
        name=name,
        genesis_file=f"../../genesis/{network_id}.json",
        tokens_file="../tokens.json",
        ca_file="../../ca/ca.crt",
        place=place,
        peers=[PublicPart.load(node.config.parent / "public.json") for node in chain.nodes],
    )
    process = Process(
        name=name,
        api=f"https://127.0.0.1:{port}",
        config=config,
        data_dir=folder / "data",
        log=folder / "node.log",
        organisation=organisation,
        public_key=part.public_key,
    )
    chains = tuple(
        replace(known, nodes=(*known.nodes, process)) if known.network_id == network_id else known
        for known in network.chains
    )
    grown = replace(network, chains=chains)
    grown.save()
    return grown, part


def _api_port(chain: Chain) -> int:
    """The port below the first node's. Raises Malformed for containers, which all have the same."""
    settings = tomllib.loads(chain.nodes[0].config.read_text())
    port = int(settings["api"]["port"])
    if not chain.nodes[0].api.endswith(f":{port}"):
        raise Malformed("network_of_containers", "nodes of a network of containers are added in its Compose file")
    return port - 1
