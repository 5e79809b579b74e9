"""Look at a local network from outside: processes, status calls, clocks by the HTTP date, disks, certificates, the
regulator's view."""

from __future__ import annotations

import email.utils
import shutil
import ssl
import time
from dataclasses import replace
from typing import Any

import httpx

from cli.doctor.diagnose import ChainObservation, NodeObservation, Observation, RegionObservation
from cli.localnet.layout import CUSTODY, Chain, LocalNetwork, Process
from cli.localnet.processes import is_running
from cli.localnet.readiness import reader_credential
from common.core.errors import Rejected
from common.core.genesis import parse_genesis
from common.node.certificates import read_certificates

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
    seen = NodeObservation(
        name=node.name,
        running=is_running(node),
        free_bytes=shutil.disk_usage(node.data_dir).free if node.data_dir and node.data_dir.is_dir() else None,
        certificate_days_left=_days_left(node),
    )
    return ask_status(http, seen, node.api, chain.network_id, network.token(reader_credential(chain.network_id)))


def ask_status(http: httpx.Client, seen: NodeObservation, url: str, network_id: str, token: str) -> NodeObservation:
    """What a node says of itself, added to what was seen of it."""
    try:
        response = http.get(f"{url}/v1/networks/{network_id}/status", headers={"Authorization": f"Bearer {token}"})
        status = response.raise_for_status().json()
        date_ms = email.utils.parsedate_to_datetime(response.headers["date"]).timestamp() * 1000
    except (httpx.HTTPError, ValueError, KeyError) as error:
        return replace(seen, error=str(error) or type(error).__name__)
    peers = status.get("peers")
    return replace(
        seen,
        height=status["height"],
        view=status.get("view"),
        peers=len(peers) if isinstance(peers, list) else peers,
        ready=status.get("ready"),
        member=member_of(status),
        voting=status.get("voting"),
        clock_skew_ms=int(date_ms - time.time() * 1000),
    )


def member_of(status: dict[str, Any]) -> str | None:
    """Whose key the node holds, in the set of its next height."""
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
            RegionObservation(network=row["region"], state=row["state"], lag_blocks=row.get("lag_blocks", 0))
            for row in rows
        ), ()
    return (), ("regions, as the custody chain sees them",)
