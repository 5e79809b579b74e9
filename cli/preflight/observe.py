"""Ask every node of a chain where it is, whom it hears and what it supports."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx

from cli.client import Api
from cli.localnet.layout import LocalNetwork, load_network
from cli.localnet.readiness import reader_credential
from common.core.errors import Malformed, NotFound, Rejected, Unavailable
from common.core.suite import Suite, suite_named
from common.core.validators import ValidatorSet

TIMEOUT_S = 4.0
SAMPLE_DISTANCE_S = 0.5
"""Between the two looks at the views: longer than a healthy chain stays in a later view, shorter than anybody waits."""


@dataclass(frozen=True, kw_only=True)
class NodeView:
    """One node as it describes itself; `height` is None if it does not answer."""

    name: str
    error: str = ""
    height: int | None = None
    view: int = 0
    """The lower of two looks: a view that passes at once is no churn."""
    ready: bool = False
    voting: bool = False
    member: str | None = None
    peers: tuple[str, ...] = ()
    """Members that it is connected to."""
    supported_versions: tuple[int, ...] = ()
    node_version: str = ""


@dataclass(frozen=True, kw_only=True)
class ChainView:
    """One chain: its nodes that were asked, and what the furthest of them says of its government."""

    network: str
    suite: Suite
    nodes: tuple[NodeView, ...]
    validators: ValidatorSet
    height: int
    protocol_version: int
    scheduled_version: tuple[int, int] | None
    """(height, version) of an activation that waits."""
    scheduled_set: tuple[int, ValidatorSet] | None
    max_seats: int | None

    def of_member(self, name: str) -> NodeView | None:
        """The node that signs as this member, or bears its name."""
        by_member = [node for node in self.nodes if node.member == name]
        return next(iter(by_member or [node for node in self.nodes if node.name == name]), None)


@dataclass(frozen=True, kw_only=True)
class Place:
    """How to reach the nodes of one chain: name and base URL of each, and what opens them."""

    network: str
    nodes: tuple[tuple[str, str], ...]
    token: str
    ca_file: Path | None


def places_of(network: LocalNetwork, only: str | None) -> list[Place]:
    """The chains of a local network, or one of them."""
    chains = [network.chain(only)] if only else list(network.chains)
    return [
        Place(
            network=chain.network_id,
            nodes=tuple((node.name, node.api) for node in chain.nodes),
            token=network.token(reader_credential(chain.network_id)),
            ca_file=network.ca_file,
        )
        for chain in chains
    ]


def network_at(path: Path) -> LocalNetwork:
    """The local network of a directory or of its `network.json`."""
    return load_network(path.parent if path.is_file() else path)


def observe_chain(place: Place) -> ChainView:
    """Ask all nodes. Raises Unavailable if none answers, Malformed if one is of another network."""
    nodes = [_ask(place, name, url) for name, url in place.nodes]
    if any(node.view for node in nodes):
        time.sleep(SAMPLE_DISTANCE_S)
        again = [_ask(place, name, url) for name, url in place.nodes]
        nodes = [replace(new, view=min(old.view, new.view)) for old, new in zip(nodes, again, strict=True)]
    furthest = max(range(len(nodes)), key=lambda at: -1 if (height := nodes[at].height) is None else height)
    if nodes[furthest].height is None:
        reasons = "; ".join(f"{node.name}: {node.error}" for node in nodes)
        raise Unavailable("no_node_answers", f"no node of {place.network} answers: {reasons}")
    with _api(place, place.nodes[furthest][1]) as api:
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


def _api(place: Place, url: str) -> Api:
    return Api([url.rstrip("/")], place.token, place.ca_file, timeout_s=TIMEOUT_S)


def _member_of(status: dict[str, Any]) -> str | None:
    """Whose key the node holds, in the set of its next height; None for an observer."""
    index = status["own_index"]
    return None if index is None else str(status["validators"][index])


def _ask(place: Place, name: str, url: str) -> NodeView:
    try:
        with _api(place, url) as api:
            status = api.get(f"/v1/networks/{place.network}/status")
            options = api.get(f"/v1/networks/{place.network}/options")
            return NodeView(
                name=name,
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
        return NodeView(name=name, error=f"{error or type(error).__name__}"[:300])


def network_of_urls(urls: Sequence[str], token: str, ca_file: Path | None) -> Place:
    """Nodes that are named one by one; the first that answers says which network it is. Raises NotFound."""
    for url in urls:
        try:
            with Api([url.rstrip("/")], token, ca_file, timeout_s=TIMEOUT_S) as api:
                network = str(api.get("/v1/networks")["networks"][0]["network_id"])
            named = tuple((url.split("//")[-1].rstrip("/"), url) for url in urls)
            return Place(network=network, nodes=named, token=token, ca_file=ca_file)
        except (Rejected, httpx.HTTPError, KeyError, IndexError):
            continue
    raise NotFound("no_node_answers", f"none of {', '.join(urls)} answers")
