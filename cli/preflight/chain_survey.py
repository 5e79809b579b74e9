"""Ask every node of a chain where it is, whom it hears and what it supports."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from cli.client import Api
from cli.localnet.layout import LocalNetwork, load_network
from cli.localnet.readiness import reader_credential
from common.core.errors import Malformed, NotFound, Rejected, Unavailable
from common.core.suite import Suite, suite_named
from common.core.validators import ValidatorSet
from common.node.diagnosis.chain_view import ChainView, NodeView

TIMEOUT_S = 4.0
SAMPLE_DISTANCE_S = 0.5
"""Between the two looks at the views: longer than a healthy chain stays in a later view, shorter than anybody waits."""


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where a node answers and with which token; `name` is None until it has said it."""

    name: str | None
    url: str
    token: str | None

    @property
    def host(self) -> str:
        """Host and port of the URL."""
        return urlsplit(self.url).netloc


@dataclass(frozen=True, kw_only=True)
class ChainPlace:
    """How to reach the nodes of one chain."""

    network: str
    nodes: tuple[Address, ...]
    ca_file: Path | None


def places_of(network: LocalNetwork, only: str | None) -> list[ChainPlace]:
    """The chains of a local network, or one of them."""
    chains = [network.chain(only)] if only else list(network.chains)
    return [
        ChainPlace(
            network=chain.network_id,
            nodes=tuple(
                Address(name=node.name, url=node.api, token=network.token(reader_credential(chain.network_id)))
                for node in chain.nodes
            ),
            ca_file=network.ca_file,
        )
        for chain in chains
    ]


def network_at(path: Path) -> LocalNetwork:
    """The local network of a directory or of its `network.json`."""
    return load_network(path.parent if path.is_file() else path)


def observe_chain(place: ChainPlace) -> ChainView:
    """Ask all nodes. Raises Unavailable if none answers, Malformed if one is of another network."""
    nodes = [_ask(place, address) for address in place.nodes]
    if any(node.view for node in nodes):
        time.sleep(SAMPLE_DISTANCE_S)
        again = [_ask(place, address) for address in place.nodes]
        nodes = [replace(new, view=min(old.view, new.view)) for old, new in zip(nodes, again, strict=True)]
    furthest = max(range(len(nodes)), key=lambda at: -1 if (height := nodes[at].height) is None else height)
    if nodes[furthest].height is None:
        reasons = "; ".join(f"{node.name}: {node.error}" for node in nodes)
        raise Unavailable("no_node_answers", f"no node of {place.network} answers: {reasons}")
    with _api(place, place.nodes[furthest]) as api:
        document = api.get(f"/v1/networks/{place.network}/governance")
        suite = suite_named(api.get(f"/v1/networks/{place.network}/options")["suite"])
    return _chain(place.network, suite, tuple(nodes), document)


def _chain(network: str, suite: Suite, nodes: tuple[NodeView, ...], document: dict[str, Any]) -> ChainView:
    try:
        scheduled, protocol = document["scheduled"], document["protocol"]
        waiting = protocol["scheduled"]
        return ChainView(
            network=network,
            suite=suite,
            nodes=nodes,
            validators=ValidatorSet.from_json(document["validators"], suite),
            height=max(node.height for node in nodes if node.height is not None),
            protocol_version=protocol["version"],
            scheduled_version=(waiting[-1]["height"], waiting[-1]["version"]) if waiting else None,
            scheduled_set=None
            if scheduled is None
            else (scheduled["effective_height"], ValidatorSet.from_json(scheduled["validators"], suite)),
            max_seats=document["max_seats_per_organisation"],
        )
    except (KeyError, TypeError, IndexError) as error:
        raise Malformed("unexpected_answer", f"{network} describes itself in another form: {error!r}") from error


def _api(place: ChainPlace, address: Address) -> Api:
    return Api([address.url.rstrip("/")], address.token, place.ca_file, timeout_s=TIMEOUT_S)


def _member_of(status: dict[str, Any]) -> str | None:
    """Whose key the node holds, in the set of its next height; None for an observer."""
    index = status["own_index"]
    return None if index is None else str(status["validators"][index])


def _ask(place: ChainPlace, address: Address) -> NodeView:
    base = f"/v1/networks/{place.network}"
    try:
        with _api(place, address) as api:
            status = api.get(f"{base}/status")
            options = api.get(f"{base}/options")
            name = address.name or str(api.get(f"{base}/health")["facts"]["name"])
            return NodeView(
                name=name or address.host,
                public_key=str(status.get("public_key") or ""),
                height=status["height"],
                view=status["view"],
                ready=status["ready"] and not status["syncing"],
                voting=status["voting"],
                member=_member_of(status),
                peers=tuple(status["peers"]),
                supported_versions=tuple(options.get("supported_versions", (options["protocol_version"],))),
                node_version=str(options["node_version"]),
            )
    except (Rejected, httpx.HTTPError, KeyError, TypeError, IndexError) as error:
        return NodeView(name=address.name or address.host, error=f"{error or type(error).__name__}"[:300])


def network_of_urls(addresses: Sequence[Address], ca_file: Path | None) -> ChainPlace:
    """Nodes that are named one by one; the first that answers says which network it is. Raises NotFound."""
    reasons = []
    for address in addresses:
        place = ChainPlace(network="", nodes=tuple(addresses), ca_file=ca_file)
        try:
            with _api(place, address) as api:
                return replace(place, network=str(api.get("/v1/networks")["networks"][0]["network_id"]))
        except (Rejected, httpx.HTTPError, KeyError, IndexError) as error:
            reasons.append(f"{address.host}: {error or type(error).__name__}"[:300])
    raise NotFound("no_node_answers", f"no node answers: {'; '.join(reasons)}")
