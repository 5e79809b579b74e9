"""Bodies off the chain on real processes: put at one node, fetched by its peers, whole after kills and damage."""

from __future__ import annotations

import os
import re
import ssl
import tomllib
from pathlib import Path

import httpx

from cli.localnet.layout import LocalNetwork
from common.core.suite import ED25519_SHA256
from tests.support.market import Market, operation
from tests.support.running import Network, eventually

REGION = "beijing"


def client(local: LocalNetwork, name: str, credential: str) -> httpx.Client:
    """One node of the region, with the token of a credential."""
    (node,) = [node for node in local.chain(REGION).nodes if node.name == name]
    context = ssl.create_default_context(cafile=str(local.ca_file))
    headers = {"Authorization": f"Bearer {local.token(credential)}"}
    return httpx.Client(base_url=node.api, verify=context, headers=headers, timeout=20, trust_env=False)


def status_of(
    local: LocalNetwork, name: str, digest: str, data: bytes, credential: str = f"{REGION}-relay-reader"
) -> int:
    """HTTP status with which a node answers for a body; 0 while it does not answer. Fails on other bytes."""
    try:
        with client(local, name, credential) as http:
            answer = http.get(f"/v1/bodies/{digest}")
    except httpx.TransportError:
        return 0
    assert answer.status_code != 200 or answer.content == data
    return answer.status_code


def bodies_found(local: LocalNetwork) -> int:
    """How many bodies of the region the relay was handed out."""
    context = ssl.create_default_context(cafile=str(local.ca_file))
    text = httpx.get(f"{local.relays[0].api}/metrics", verify=context, trust_env=False).text
    (value,) = re.findall(rf'^tongjian_relay_bodies_total{{outcome="found",region="{REGION}"}} (.*)$', text, re.M) or [
        0
    ]
    return int(float(value))


def kept_by(local: LocalNetwork, name: str) -> Path:
    """Where a node keeps the bodies of its chain."""
    (node,) = [node for node in local.chain(REGION).nodes if node.name == name]
    settings = tomllib.loads(node.config.read_text())
    return node.config.parent / str(settings["data_dir"]) / "bodies" / "kept"


def test_a_body_put_at_one_node_is_kept_by_every_node_of_its_chain(network: Network) -> None:
    local, market, data = network.local, Market(network.local, REGION), os.urandom(3_000_000)
    digest = ED25519_SHA256.hash(data).hex()
    names = [node.name for node in local.chain(REGION).nodes]
    down = names[3]
    network.kill(down)
    with client(local, names[0], f"{REGION}-operator") as http:
        assert http.put(f"/v1/bodies/{digest}", content=data).status_code == 201
    assert [status_of(local, name, digest, data) for name in names[:3]] == [200, 404, 404]
    sealed = {"digest": digest, "media_type": "application/pdf", "size_bytes": len(data)}
    company = {"object_id": "BJ-BODIES", "kind": "organisation", "name": "样例", "investor_code": "R987654321"}
    answer = market.submit([operation("subject.register", "e2e-bodies", **company, sealed_bodies=[sealed])])
    assert answer["status"] == "applied", answer
    for name in names[:3]:
        eventually(lambda name=name: status_of(local, name, digest, data) == 200, f"{name} has the body")
    eventually(lambda: bodies_found(local) == 1, "the relay has fetched it")

    network.start(down)
    eventually(lambda: status_of(local, down, digest, data) == 200, "a node that was down fetches it")
    network.kill(names[0])
    network.start(names[0])
    eventually(lambda: status_of(local, names[0], digest, data) == 200, "a killed node still has it")

    file = kept_by(local, names[1]) / digest
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert status_of(local, names[1], digest, data) == 503
    eventually(lambda: status_of(local, names[1], digest, data) == 200, "a damaged copy is fetched anew")
    assert file.read_bytes() == data
