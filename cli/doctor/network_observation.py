"""Look at a local network from outside: processes, what nodes say of themselves, clocks, certificates, relays, the
regulator's view."""

from __future__ import annotations

import ssl
import time
from dataclasses import replace
from typing import Any

import httpx
import msgspec

from cli.localnet.layout import CUSTODY, Chain, LocalNetwork, Process
from cli.localnet.processes import is_running
from cli.localnet.readiness import reader_credential
from common.core.errors import Rejected
from common.core.genesis import parse_genesis
from common.node.diagnosis.comparison import ChainObservation, NodeObservation, Observation, RegionObservation
from common.node.diagnosis.self_judgement import NodeFacts
from common.node.peer.certificates import read_certificates

TIMEOUT_S = 4.0


def observe(network: LocalNetwork) -> Observation:
    """Everything that can be seen of the network now."""
    context = ssl.create_default_context(cafile=str(network.ca_file))
    with httpx.Client(verify=context, timeout=TIMEOUT_S, trust_env=False) as http:
        chains = tuple(
            ChainObservation(
                network=chain.network_id,
                quorum=parse_genesis(chain.genesis_file.read_bytes()).validators.quorum,
                nodes=tuple(_node(http, network, chain, node) for node in chain.nodes),
            )
            for chain in network.chains
        )
        relays_down = tuple(relay.name for relay in network.relays if not _answers(http, relay))
        regions, unseen = _regions(http, network)
        errors = _relay_errors(http, network)
    regions = tuple(replace(region, relay_error=errors.get(region.network, "")) for region in regions)
    return Observation(chains=chains, regions=regions, relays_down=relays_down, unseen=unseen)


def _relay_errors(http: httpx.Client, network: LocalNetwork) -> dict[str, str]:
    """What relays that wait before they try again say of a region."""
    errors: dict[str, str] = {}
    for relay in network.relays:
        headers = {"Authorization": f"Bearer {network.token('relay-reader')}"}
        try:
            rows = http.get(f"{relay.api}/v1/relay/regions", headers=headers).raise_for_status().json()["regions"]
        except (httpx.HTTPError, ValueError, KeyError):
            continue
        for row in rows:
            if row["last_error"] is not None and row["next_retry_ms"] is not None:
                errors[row["network"]] = f"{relay.name}: {row['last_error']['code']}: {row['last_error']['detail']}"
    return errors


def _node(http: httpx.Client, network: LocalNetwork, chain: Chain, node: Process) -> NodeObservation:
    seen = NodeObservation(name=node.name, running=is_running(node), certificate_days_left=_days_left(node))
    return ask_health(http, seen, node.api, chain.network_id, network.token(reader_credential(chain.network_id)))


def ask_health(http: httpx.Client, seen: NodeObservation, url: str, network_id: str, token: str) -> NodeObservation:
    """What a node says of itself, added to what was seen of it."""
    asked_ms = time.time() * 1000
    try:
        response = http.get(f"{url}/v1/networks/{network_id}/health", headers={"Authorization": f"Bearer {token}"})
        facts = msgspec.convert(response.raise_for_status().json()["facts"], NodeFacts)
    except (httpx.HTTPError, ValueError, KeyError, msgspec.ValidationError) as error:
        return replace(seen, error=str(error) or type(error).__name__)
    middle_ms = (asked_ms + time.time() * 1000) / 2
    return replace(seen, facts=facts, clock_skew_ms=int(facts.clock_ms - middle_ms))


def member_of(status: dict[str, Any]) -> str | None:
    """Whose key the node holds, in the set of its next height, as a status answer says."""
    index, names = status.get("own_index"), status.get("validators")
    if isinstance(index, int) and isinstance(names, list) and 0 <= index < len(names):
        return str(names[index])
    return None


def _days_left(node: Process) -> int | None:
    try:
        return read_certificates(node.config.parent / "tls.crt")[0].days_left(time.time_ns() // 1_000_000)
    except (Rejected, IndexError):
        return None


def _answers(http: httpx.Client, relay: Process) -> bool:
    try:
        return http.get(f"{relay.api}/healthz").status_code == 200
    except httpx.HTTPError:
        return False


def _regions(http: httpx.Client, network: LocalNetwork) -> tuple[tuple[RegionObservation, ...], tuple[str, ...]]:
    """The regions as the first custody node that answers sees them."""
    headers = {"Authorization": f"Bearer {network.token('supervisor')}"}
    for node in network.chain(CUSTODY).nodes:
        try:
            data = http.get(f"{node.api}/v1/regions", headers=headers).raise_for_status().json()["data"]
        except (httpx.HTTPError, ValueError, KeyError):
            continue
        rows = data["regions"] if isinstance(data, dict) else data
        return tuple(
            RegionObservation(network=row["region"], state=row["state"], anchored_height=row["anchored_height"])
            for row in rows
        ), ()
    return (), ("regions, as the custody chain sees them",)
