"""The relay against real HTTPS servers: lying, stopped, stalled and broken nodes, lost answers, two relays (R7, R9,
R10, N1)."""

from __future__ import annotations

import asyncio
import ssl
import threading
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from starlette.responses import JSONResponse, PlainTextResponse, Response

from common.core.errors import Rejected
from common.core.suite import ED25519_SHA256
from common.model.sealed import SealedBody, sealed_metadata
from common.node.settings import SettingsError
from crosslink.relay.main import Relay
from crosslink.relay.node_http import Connection, tls_context
from crosslink.relay.settings import load_relay_settings
from tests.api.relay_servers import RelayFixture, Sites, as_json, build_world, problem, wait_for
from tests.support.chains import ChainBuilder, member_names, sample_snapshot, validator_set
from tests.support.custody import person


def a_chain(network: str = "beijing", blocks: int = 12) -> ChainBuilder:
    chain = ChainBuilder(network)
    for height in range(1, blocks + 1):
        following = validator_set(member_names(network, 5)) if height == 5 else None
        chain.extend([sample_snapshot(f"{height}:{index}") for index in range(height % 3)], next_validators=following)
    return chain


@pytest.fixture
def sites(tmp_path: Path) -> Iterator[Sites]:
    with Sites(tmp_path) as running:
        yield running


class RunningRelay:
    """A relay in a thread."""

    def __init__(self, world: RelayFixture) -> None:
        self._world = world
        self._ended = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=asyncio.run, args=(self._main(),), daemon=True)
        self.relay: Relay | None = None

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.relay = Relay(load_relay_settings(self._world.config))
        await self.relay.start()
        self._ready.set()
        await self._ended.wait()
        await self.relay.stop()

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(10)

    def stop(self) -> None:
        started = time.monotonic()
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(60)
        assert not self._thread.is_alive()
        assert time.monotonic() - started < 30

    def status(self) -> dict[str, Any]:
        assert self.relay is not None
        return self.relay._status()

    def region(self, network: str = "beijing") -> dict[str, Any]:
        return next(region for region in self.status()["regions"] if region["network"] == network)


@contextmanager
def running(world: RelayFixture) -> Iterator[RunningRelay]:
    relay = RunningRelay(world)
    relay.start()
    try:
        yield relay
    finally:
        relay.stop()


def test_everything_arrives_over_the_wire_and_the_business_chain_is_only_read(sites: Sites) -> None:
    world = build_world(sites, [a_chain("beijing"), a_chain("shanghai")])
    with running(world) as relay:
        wait_for(world.complete, "all anchored")
        world.chains["beijing"].grow(3, snapshots_each=2)
        wait_for(world.complete, "new blocks anchored")
        wait_for(lambda: relay.region()["cursor"]["anchored_height"] == 15, "the cursor is shown")
        assert relay.region()["endpoint"].startswith("https://127.0.0.1:")
        assert relay.region()["last_error"] is None
    assert {method for nodes in world.nodes.values() for node in nodes for method, _ in node.requests} == {"GET"}
    assert all(result.applied for result in world.model.results)


def test_bodies_off_the_chain_are_looked_for_and_a_node_that_gives_other_bytes_is_blamed(sites: Sites) -> None:
    chain, data = ChainBuilder("beijing"), b"a court order"
    body = SealedBody(digest=ED25519_SHA256.hash(data).hex(), media_type="application/pdf", size_bytes=999)
    chain.extend([person("p1", "Q000000001", metadata=sealed_metadata([body]))])
    world = build_world(sites, [chain])
    liar, honest_node = world.nodes["beijing"]
    liar.bodies[body.digest], honest_node.bodies[body.digest] = b"a c0urt order", data

    def found(relay: RunningRelay) -> bool:
        return relay.relay is not None and relay.relay._metrics.bodies.labels("beijing", "found")._value.get() == 1

    with running(world) as relay:
        wait_for(world.complete, "all anchored")
        wait_for(lambda: found(relay), "the body is found at the other node")
        assert [node["lies"] for node in relay.region()["nodes"]] == [1, 0]
        assert relay.region()["missing_bodies"] == []
    assert all(result.applied for result in world.model.results)


def huge() -> Response:
    return PlainTextResponse("x" * (30 << 20))


BROKEN = {
    "garbage": lambda: PlainTextResponse("<html>"),
    "wrong shape": lambda: JSONResponse({"blocks": {}, "tip": "all"}),
    "blocks without hex": lambda: JSONResponse(
        {"blocks": [{"height": 1, "header": "zz", "certificate": "", "snapshots": []}], "tip": 1}
    ),
    "claims blocks and gives none": lambda: JSONResponse({"blocks": [], "tip": 12}),
    "too much": huge,
    "forbidden": lambda: problem(403, "role_missing"),
    "failing": lambda: problem(500, "internal_error"),
    "redirect": lambda: Response(status_code=307, headers={"location": "https://127.0.0.1:1/"}),
}


@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN.keys())
def test_r10_n1_a_broken_node_is_left_for_the_other(sites: Sites, answer: Any) -> None:
    world = build_world(sites, [a_chain()])
    world.nodes["beijing"][0].answer = answer
    with running(world):
        wait_for(world.complete, "all anchored through the other node")


def test_r10_a_node_that_is_down_or_falls_behind_is_replaced(sites: Sites) -> None:
    chain = a_chain()
    world = build_world(sites, [chain], pace={"wait_s": 10})
    stopped, other = world.nodes["beijing"]
    stopped.visible = 6
    with running(world):
        wait_for(world.complete, "a stopped node is noticed by comparing", 8)
        sites.stop(other.url)
        stopped.visible = None
        chain.grow(2, snapshots_each=1)
        wait_for(world.complete, "a dead node is replaced", 25)


def test_r9_a_lost_answer_never_makes_a_second_transaction(sites: Sites) -> None:
    world = build_world(sites, [a_chain()])
    world.custody[0].lose_answers = world.custody[1].lose_answers = 2
    world.custody[0].busy = 1
    with running(world):
        wait_for(world.complete, "all anchored")
        wait_for(lambda: not world.custody[0].lose_answers, "answers were lost")
    seen = [identity for node in world.custody for identity in node.seen]
    assert len(seen) > len(set(seen)), "the same bytes were sent again"
    assert len(set(seen)) == len(world.model.results)


def test_custody_node_that_is_behind_or_down_is_passed_over(sites: Sites) -> None:
    chain = a_chain()
    world = build_world(sites, [chain])
    world.custody[0].behind = True
    with running(world) as relay:
        wait_for(world.complete, "all anchored")
        chain.grow(1, snapshots_each=1)
        wait_for(world.complete, "goes on after the receipt")
        sites.stop(world.custody[0].url)
        chain.grow(1, snapshots_each=1)
        wait_for(world.complete, "goes on with the other custody node")
        assert relay.status()["custody"]["endpoint"] == world.custody[1].url


def test_region_that_the_custody_chain_does_not_know_waits_with_the_reason(sites: Sites) -> None:
    world = build_world(sites, [a_chain(), a_chain("shanghai")])
    del world.model.regions["shanghai"]
    del world.chains["shanghai"]
    with running(world) as relay:
        wait_for(world.complete, "the other region is served")
        wait_for(lambda: relay.region("shanghai")["last_error"], "the reason is shown")
        error = relay.region("shanghai")["last_error"]
        assert error["code"] == "region_unknown"
        assert relay.region("shanghai")["next_retry_ms"] > error["at_ms"]


def test_server_of_another_authority_is_not_spoken_to(sites: Sites, tmp_path: Path) -> None:
    world = build_world(sites, [a_chain()])
    (tmp_path / "other").mkdir()
    strangers = Sites(tmp_path / "other")

    async def ask() -> None:
        connection = Connection(tls_context(strangers.ca_file), None)
        try:
            url = f"{world.custody[0].url}/v1/regions/beijing"
            await connection.get(url, {}, timeout_s=5, max_bytes=1000)
        finally:
            await connection.close()

    with pytest.raises(Rejected, match="node_down"):
        asyncio.run(ask())


def test_a_token_that_was_replaced_is_read_again(sites: Sites) -> None:
    world = build_world(sites, [a_chain()])
    with running(world):
        wait_for(world.complete, "all anchored")
        for node in world.nodes["beijing"]:
            node.token = "renewed"
        (sites.directory / "beijing.token").write_text("renewed")
        world.chains["beijing"].grow(1, snapshots_each=1)
        wait_for(world.complete, "goes on with the new token", 30)


def test_a_region_is_read_without_a_token_where_its_nodes_ask_for_none(sites: Sites) -> None:
    """Else the reason is shown. What it is asked for is the client type's and the nodes'."""
    world = build_world(sites, [a_chain(), a_chain("shanghai")])
    settings = tomllib.loads(world.config.read_text())
    for region in settings["regions"]:
        del region["token_file"]
    world.config.write_text(tomli_w.dumps(settings))
    for node in world.nodes["beijing"]:
        node.token = None
    with running(world) as relay:
        wait_for(lambda: world.model.complete(world.chains["beijing"]), "the open region is served")
        wait_for(lambda: relay.region("shanghai")["last_error"], "the reason is shown")
        error = relay.region("shanghai")["last_error"]
        assert error["code"] == "no_node_serves"
        assert "token_missing" in error["detail"]


def test_n2_a_stalled_node_does_not_hold_the_region_up(sites: Sites) -> None:
    world = build_world(sites, [a_chain()], pace={"wait_s": 1})
    world.nodes["beijing"][0].stall_s = 60
    with running(world):
        wait_for(world.complete, "the other node is asked while one stalls", 10)


def test_the_status_interface_over_https(sites: Sites) -> None:
    world = build_world(sites, [a_chain()])
    relay = RunningRelay(world)
    relay.start()
    try:
        assert relay.relay is not None
        port = relay.relay.address[1]
        context = ssl.create_default_context(cafile=str(sites.ca_file))

        def get(path: str, method: str = "GET") -> bytes:
            request = urllib.request.Request(f"https://127.0.0.1:{port}{path}", method=method)
            with urllib.request.urlopen(request, context=context, timeout=60) as answer:
                body: bytes = answer.read()
                return body

        assert as_json(get("/healthz")) == {"status": "ok"}
        wait_for(world.complete, "all anchored")
        wait_for(lambda: b'tongjian_relay_anchored_height{region="beijing"} 12.0' in get("/metrics"), "metrics")
        region = as_json(get("/v1/relay/regions"))["regions"][0]
        assert region["network"] == "beijing"
        assert {"endpoint", "cursor", "last_error", "next_retry_ms"} <= region.keys()
        for method, path, status, code in (
            ("GET", "/v1/relay", 404, "route_unknown"),
            ("POST", "/v1/relay/regions", 405, "method_not_allowed"),
        ):
            with pytest.raises(urllib.error.HTTPError) as refusal:
                get(path, method)
            assert (refusal.value.code, refusal.value.headers["content-type"]) == (status, "application/problem+json")
            assert as_json(refusal.value.read())["code"] == code
    finally:
        relay.stop()


BAD_SETTINGS = {
    "one node only": lambda text: text.replace('nodes = [\n    "https', "nodes = [] #", 1),
    "plain http": lambda text: text.replace("https://", "http://"),
    "unknown setting": lambda text: "speed = 9\n" + text,
    "missing key": lambda text: text.replace("relay.key", "nowhere.key"),
    "no toml": lambda text: text + "\n=",
    "custody as a region": lambda text: text.replace('network = "beijing"', 'network = "custody"'),
}


@pytest.mark.parametrize("change", BAD_SETTINGS.values(), ids=BAD_SETTINGS.keys())
def test_settings_that_cannot_work_are_refused_with_the_field(sites: Sites, change: Any) -> None:
    world = build_world(sites, [a_chain()])
    assert load_relay_settings(world.config).regions[0].network == "beijing"
    world.config.write_text(change(world.config.read_text()))
    with pytest.raises(SettingsError):
        load_relay_settings(world.config)


def test_the_same_node_twice_is_not_two_nodes(sites: Sites) -> None:
    world = build_world(sites, [a_chain()])
    first, second = (node.url for node in world.nodes["beijing"])
    world.config.write_text(world.config.read_text().replace(second, first))
    with pytest.raises(SettingsError, match="two different nodes"):
        load_relay_settings(world.config)


def test_r3_nodes_on_two_branches_freeze_the_region(sites: Sites) -> None:
    chain = a_chain()
    world = build_world(sites, [chain])
    fork = ChainBuilder()
    fork.blocks, fork.validators = list(chain.blocks[:11]), chain.validators
    fork.extend([sample_snapshot("rival")], time_ms=chain.block(12).header.time_ms + 1)
    fork.grow(2)
    with running(world):
        wait_for(world.complete, "all anchored")
        world.nodes["beijing"][0].chain = fork
        wait_for(lambda: world.model.regions["beijing"].frozen, "frozen")
    assert len(world.model.culprits) == 4
