"""How channels end and come back: silence, restarts, lies, new certificates."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from common.node.peer.frames import FrameType
from common.node.settings import LimitSettings
from tests.unit.runtime.channels import MEMBERS, QUICK, RawPeer, redirect, started
from tests.unit.runtime.network import Recorder, Site, key_of, until


async def test_n5_a_half_open_channel_is_asked_and_then_closed(site: Site, recorder: Recorder) -> None:
    transport = site.transport(1, recorder, limits=QUICK)
    async with started(transport), RawPeer(site, transport.listener.port) as peer:
        peer.greet(2)
        kinds = [(await peer.read())[0] for _ in range(3)]
        assert kinds == [FrameType.HELLO, FrameType.GREETING, FrameType.PING]
        await until(lambda: recorder.events[-1][0] == "disconnected")


async def test_n5_pongs_keep_a_quiet_channel_open(site: Site) -> None:
    one, two = Recorder(MEMBERS), Recorder(MEMBERS)
    first = site.transport(1, one, limits=LimitSettings(keepalive_ms=100, idle_timeout_ms=1_500))
    second = site.transport(2, two, {"node-1": first.listener.port})
    async with started(first, second):
        await until(lambda: bool(one.events))
        await asyncio.sleep(2)
        assert [event for event, _, _ in one.events] == ["connected"]
        assert first.reports()[0].round_trip_ms is not None


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (socket.EAI_NONAME, "host_unknown"),
        (socket.EAI_NODATA, "host_unknown"),
        (socket.EAI_AGAIN, "host_not_resolved"),
    ],
)
@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop])
async def test_a_peers_host_that_cannot_be_resolved_is_told_and_stops_nothing(
    site: Site, recorder: Recorder, monkeypatch: pytest.MonkeyPatch, number: int, told: str, new_loop: Any
) -> None:
    def resolve(host: str, *others: Any, **options: Any) -> Any:
        if host == "peer.invalid":
            raise socket.gaierror(number, "no")
        return getaddrinfo(host, *others, **options)

    getaddrinfo = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    transport = site.transport(2, recorder, {"node-1": 1})
    (dialler,) = transport.diallers
    dialler.address = dialler.address.model_copy(update={"host": "peer.invalid"})
    async with started(transport):
        await until(lambda: dialler.state.attempts > 1, 3)
        assert transport.reports()[0].last_error == told


async def test_a_peer_that_comes_back_is_connected_again(site: Site) -> None:
    one, two = Recorder(MEMBERS), Recorder(MEMBERS)
    first = site.transport(1, one)
    port = first.listener.port
    second = site.transport(2, two, {"node-1": port})
    async with started(second):
        async with started(first):
            await until(lambda: bool(two.events))
        await until(lambda: two.events[-1][0] == "disconnected")
        await until(lambda: second.reports()[0].last_error == "connection_refused")
        third = site.transport(1, one)
        redirect(second, third.listener.port)
        async with started(third):
            await until(lambda: two.events[-1][0] == "connected")


async def test_a_peer_that_lied_is_left_alone_for_a_while(site: Site) -> None:
    one, two = Recorder(MEMBERS), Recorder(MEMBERS)
    first = site.transport(1, one)
    second = site.transport(2, two, {"node-1": first.listener.port})
    async with started(first, second):
        await until(lambda: bool(one.events))
        first.disconnect(key_of(2), "sync_bad_certificate", 3_000)
        await until(lambda: second.reports()[0].last_error == "refused_peer_paused")
        assert one.events[-1][0] == "disconnected"
        await until(lambda: one.events[-1][0] == "connected", 10)


async def test_n3_liars_under_ever_new_keys_are_forgotten_once_their_pause_is_over(site: Site) -> None:
    transport = site.transport(1, Recorder(MEMBERS))
    async with started(transport):
        for number in range(100):
            transport.disconnect(number.to_bytes(32, "big"), "sync_bad_certificate", 0)
        transport.disconnect(key_of(2), "sync_bad_certificate", 60_000)
        transport.disconnect(key_of(3), "sync_bad_certificate", 60_000)
        assert set(transport._paused_until) == {key_of(2), key_of(3)}


async def test_a_rotated_certificate_is_used_for_the_next_channel(
    tmp_path: Path, site: Site, recorder: Recorder
) -> None:
    transport = site.transport(1, recorder)
    async with started(transport):
        seen = []
        for _ in range(2):
            async with RawPeer(site, transport.listener.port) as peer:
                seen.append(peer.binding.peer_certificate)
                peer.greet(2)
                await until(lambda: bool(recorder.events) and recorder.events[-1][0] == "connected")
            await until(lambda: recorder.events[-1][0] == "disconnected")
            site.certificate("node-1")
        assert seen[0] != seen[1]
        (tmp_path / "node-1.key").write_bytes(b"half written")
        async with RawPeer(site, transport.listener.port) as peer:
            assert peer.binding.peer_certificate == seen[1]
