"""A follower rebuilds the whole state of either tier from the changes that a node serves, and is not deceived."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from common.core.header import Header
from common.core.suite import ED25519_SHA256 as SUITE
from common.node.store.chain_prune import prune
from tests.api.custody_server import CustodyServer
from tests.api.market_server import MarketServer
from tests.api.server import LiveServer
from tests.support.follower import Change, Deceived, Follower
from tests.unit.business.market import Operations

OPERATIONS = Operations()


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MarketServer]:
    """A market with holdings, a transfer and one that was refused."""
    with MarketServer(tmp_path_factory.mktemp("market")) as server:
        for operations in (
            OPERATIONS.foundations(700, 300),
            [OPERATIONS.transfer(1, 2, 100)],
            [OPERATIONS.transfer(1, 2, 10**9)],
            [OPERATIONS.pledge(1, 100)],
        ):
            assert server.submit(*operations)[0] == 200
        yield server


@pytest.fixture(params=["market", "custody"])
def server(request: pytest.FixtureRequest) -> LiveServer:
    """Each tier."""
    found: LiveServer = request.getfixturevalue(request.param)
    return found


def get(server: LiveServer, path: str, **query: Any) -> tuple[int, dict[str, Any]]:
    with server.client("operator") as client:
        answer = client.get(path, params=query)
    return answer.status_code, answer.json()


def changes_of(server: LiveServer, height: int, limit: int = 1000) -> list[Change]:
    """All pages of one block's changes."""
    found: list[Change] = []
    following: int | None = 0
    while following is not None:
        status, page = get(server, f"/v1/blocks/{height}/changes", first=following, limit=limit)
        assert (status, page["height"], page["first"]) == (200, height, len(found))
        assert 0 < len(page["changes"]) <= limit or page["next"] is None
        for change in page["changes"]:
            value = change["value"]
            found.append((change["key"].encode(), None if value is None else value.encode()))
        following = page["next"]
    return found


def headers_of(server: LiveServer) -> list[Header]:
    """All headers, in order."""
    status, networks = get(server, "/v1/networks")
    assert status == 200
    network = networks["networks"][0]["network_id"]
    _, answer = get(server, f"/v1/networks/{network}/blocks", limit=512)
    return [Header.decode(bytes.fromhex(block["header"])) for block in answer["blocks"]]


@pytest.mark.parametrize("limit", [1, 3, 1000])
def test_a_follower_arrives_at_every_state_root(server: LiveServer, limit: int) -> None:
    follower = Follower(SUITE, changes_of(server, 0, limit))
    headers = headers_of(server)
    assert len(headers) >= 3
    for header in headers:
        follower.follow(header, changes_of(server, header.height, limit))
    assert len(follower.state) > 10


def omitted(changes: list[Change]) -> list[Change]:
    return changes[1:]


def altered(changes: list[Change]) -> list[Change]:
    key, _ = changes[-1]
    return [*changes[:-1], (key, b'"something else"')]


def added(changes: list[Change]) -> list[Change]:
    return sorted([*changes, (b"holding/of/nobody", b"1")])


def removed(changes: list[Change]) -> list[Change]:
    return [(changes[0][0], None), *changes[1:]]


@pytest.mark.parametrize("lie", [omitted, altered, added, removed])
def test_n7_an_omitted_altered_or_added_change_is_found(
    server: LiveServer, lie: Callable[[list[Change]], list[Change]]
) -> None:
    follower = Follower(SUITE, changes_of(server, 0))
    for header in headers_of(server):
        told = changes_of(server, header.height)
        state = dict(follower.state)
        if told:
            with pytest.raises(Deceived, match="change_root"):
                follower.follow(header, lie(told))
        assert follower.state == state
        follower.follow(header, told)
    assert follower.state != dict(changes_of(server, 0))


def test_a_lie_about_genesis_is_found_by_the_first_state_root(server: LiveServer) -> None:
    header = headers_of(server)[0]
    follower = Follower(SUITE, altered(changes_of(server, 0)))
    with pytest.raises(Deceived, match="state_root"):
        follower.follow(header, changes_of(server, header.height))


def test_who_may_not_read_blocks_may_not_read_changes(custody: CustodyServer) -> None:
    assert custody.ask("/v1/blocks/1/changes", "provincial").status_code == 403
    assert custody.ask("/v1/blocks/1/changes", "supervisor").status_code == 403


def test_changes_of_unknown_and_pruned_blocks_are_refused(tmp_path: Path) -> None:
    with MarketServer(tmp_path) as server:
        server.submit(*OPERATIONS.foundations(700, 300))
        server.submit(OPERATIONS.transfer(1, 2, 100))
        status, problem = get(server, "/v1/blocks/99/changes")
        assert (status, problem["code"]) == (404, "height_unknown")
        tip = server.call(lambda node: node.chain.tip().height)
        server.call(lambda node: prune(node.chain, tip))
        for height in range(tip):
            status, problem = get(server, f"/v1/blocks/{height}/changes")
            assert (status, problem["code"], problem["lowest"]) == (410, "state_pruned", tip)
        assert changes_of(server, tip)
