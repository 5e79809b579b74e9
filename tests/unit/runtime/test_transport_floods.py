"""What strangers and members may make a node hold: handshakes, frames, questions, silence (N1, N2, N3)."""

from __future__ import annotations

import asyncio
import resource
import socket
import time
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from common.node.logic.node_effects import Channel
from common.node.logic.node_events import PeerKey
from common.node.peer.frames import FrameType
from common.node.peer.transport import OBSERVER_MESSAGES_PER_S
from common.node.settings import LimitSettings
from tests.unit.runtime.channels import MEMBERS, QUICK, RawPeer, hung_up, started
from tests.unit.runtime.network import Recorder, Site, identity_of, key_of, until


async def test_n3_an_observer_s_flood_of_questions_does_not_reach_the_node(site: Site, recorder: Recorder) -> None:
    transport = site.transport(1, recorder)
    async with started(transport), RawPeer(site, transport.listener.port) as peer:
        began = time.monotonic()
        peer.greet(9)
        for _ in range(2_000):
            peer.send(FrameType.SYNC, b"which blocks?")
        await until(lambda: transport.received_bytes > 2_000 * 18, 20)
        seconds_begun = int(time.monotonic() - began) + 2
        assert 0 < len(recorder.payloads("observer")) <= OBSERVER_MESSAGES_PER_S * seconds_begun < 2_000


class Slow(Recorder):
    """A node that takes a millisecond for each message."""

    def peer_message(self, peer: PeerKey, payload: bytes, member: bool) -> None:
        began = time.perf_counter()
        while time.perf_counter() < began + 0.001:
            pass
        super().peer_message(peer, payload, member)


async def test_c13_n3_a_member_that_floods_does_not_hold_up_the_others(tmp_path: Path) -> None:
    """Its frames are all taken in the end, in order; what another member says meanwhile is not behind them."""
    flood = [b"%08d" % number for number in range(600)]
    site, recorder = Site(tmp_path), Slow(MEMBERS)
    transport = site.transport(1, recorder)
    port = transport.listener.port
    async with started(transport), RawPeer(site, port, "a") as hostile, RawPeer(site, port, "b") as honest:
        for number, peer in ((2, hostile), (3, honest)):
            peer.greet(number)
        await until(lambda: len(recorder.events) == 2)
        for payload in flood:
            hostile.send(FrameType.CONSENSUS, payload)
        await until(lambda: len(recorder.payloads()) > 10)
        honest.send(FrameType.CONSENSUS, b"vote")
        await until(lambda: len(recorder.payloads()) == len(flood) + 1, 30)
        payloads = recorder.payloads()
        assert payloads.index(b"vote") < 300
        assert [payload for payload in payloads if payload != b"vote"] == flood


async def test_n3_pings_of_a_peer_that_does_not_read_pile_up_nothing(site: Site, recorder: Recorder) -> None:
    transport = site.transport(1, recorder)
    async with started(transport), RawPeer(site, transport.listener.port) as peer:
        peer.greet(2)
        await until(lambda: len(recorder.events) == 1)
        link = transport.link_to(key_of(2))
        link.pause_writing()
        before = link.sent_bytes
        peer.send(FrameType.PING, b"12345678")
        peer.send(FrameType.CONSENSUS, b"vote")
        await until(lambda: recorder.payloads() == [b"vote"])
        assert link.sent_bytes == before


async def test_n3_observers_are_counted(site: Site, recorder: Recorder) -> None:
    transport = site.transport(1, recorder, limits=LimitSettings(observers=2))
    port = transport.listener.port
    async with started(transport), RawPeer(site, port, "a") as a, RawPeer(site, port, "b") as b:
        for number, peer in ((7, a), (8, b)):
            peer.greet(number)
        await until(lambda: len(recorder.events) == 2)
        async with RawPeer(site, port, "c") as c:
            c.hello(identity_of(9))
            assert await c.refusal() == "observers_full"
        async with RawPeer(site, port, "d") as d:
            d.greet(2)
            await until(lambda: len(recorder.events) == 3)


async def test_n2_a_slow_handshake_times_out_at_every_stage(site: Site, recorder: Recorder) -> None:
    transport = site.transport(1, recorder, limits=LimitSettings(handshake_timeout_ms=2_000))
    async with started(transport):
        with socket.create_connection(("127.0.0.1", transport.listener.port)):
            async with (
                RawPeer(site, transport.listener.port, "a"),
                RawPeer(site, transport.listener.port, "b") as b,
            ):
                b.hello(identity_of(2))
                await until(lambda: transport.listener.handshakes == 3)
                await until(lambda: transport.listener.connections == 0)
    assert recorder.events == []


async def test_n3_unfinished_handshakes_give_way_oldest_first(site: Site, recorder: Recorder) -> None:
    transport = site.transport(1, recorder, limits=LimitSettings(handshakes=4))
    async with started(transport):
        sockets = [socket.create_connection(("127.0.0.1", transport.listener.port)) for _ in range(40)]
        await until(lambda: transport.listener.evicted >= 36)
        assert transport.listener.handshakes <= 4
        async with RawPeer(site, transport.listener.port) as peer:
            peer.greet(2)
            await until(lambda: len(recorder.events) == 1)
        for connection in sockets:
            connection.close()


async def test_n3_a_flood_from_one_address_displaces_itself(site: Site) -> None:
    transport = site.transport(1, Recorder(MEMBERS), limits=LimitSettings(handshakes=4))
    address = ("127.0.0.1", transport.listener.port)
    async with started(transport):
        with socket.create_connection(address, source_address=("127.0.0.2", 0)) as honest:
            await until(lambda: transport.listener.handshakes == 1)
            flood = [socket.create_connection(address) for _ in range(20)]
            await until(lambda: transport.listener.evicted >= 17)
            honest.setblocking(False)
            with pytest.raises(BlockingIOError):
                honest.recv(1)
            for connection in flood:
                connection.close()


@pytest.mark.parametrize("hello", [False, True])
async def test_n3_n5_silence_after_tls_ends_in_time(site: Site, hello: bool) -> None:
    """A trusted certificate is no identity: who says nothing after TLS, or nothing after the hello, is cut off."""
    transport = site.transport(1, Recorder(MEMBERS), limits=QUICK)
    async with started(transport), AsyncExitStack() as stack:
        port = transport.listener.port
        silent = [await stack.enter_async_context(RawPeer(site, port)) for _ in range(6)]
        if hello:
            for peer in silent:
                peer.hello(identity_of(2))
        assert all(await asyncio.gather(*[hung_up(peer, 2) for peer in silent]))
        assert transport.listener.connections == 0


async def test_n3_connections_that_are_silent_after_tls_give_way_oldest_first(site: Site, recorder: Recorder) -> None:
    limits = LimitSettings(handshakes=4, handshake_timeout_ms=30_000)
    transport = site.transport(1, recorder, limits=limits)
    async with started(transport), AsyncExitStack() as stack:
        port = transport.listener.port
        silent = [await stack.enter_async_context(RawPeer(site, port)) for _ in range(12)]
        assert all(await asyncio.gather(*[hung_up(peer, 1) for peer in silent[:8]]))
        assert not any(await asyncio.gather(*[hung_up(peer, 0.1) for peer in silent[8:]]))
        assert transport.listener.connections == 4
        honest = await stack.enter_async_context(RawPeer(site, port))
        honest.greet(2)
        await until(lambda: len(recorder.events) == 1)


async def test_n3_n6_a_lack_of_descriptors_is_not_logged_at_every_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("common.node.peer.listener.ACCEPT_PAUSE_S", 0.01)
    site = Site(tmp_path)
    transport = site.transport(1, Recorder(MEMBERS))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with started(transport):
        first = socket.create_connection(("127.0.0.1", transport.listener.port))
        await until(lambda: transport.listener.connections == 1)
        second = socket.socket()
        resource.setrlimit(resource.RLIMIT_NOFILE, (second.fileno() + 1, hard))
        try:
            second.connect(("127.0.0.1", transport.listener.port))
            await asyncio.sleep(0.3)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        await until(lambda: transport.listener.connections == 2)
        first.close()
        second.close()
    assert [record.message for record in caplog.records].count("accept failed") == 1


async def test_n1_an_oversize_frame_closes_the_channel(site: Site, recorder: Recorder) -> None:
    transport = site.transport(1, recorder)
    async with started(transport):
        async with RawPeer(site, transport.listener.port, "a") as stranger:
            stranger.writer.write((1025).to_bytes(4, "big") + bytes([FrameType.HELLO]))
            assert await stranger.refusal() == "frame_too_large"
        async with RawPeer(site, transport.listener.port, "b") as member:
            member.greet(2)
            member.writer.write((0xFFFFFFFF).to_bytes(4, "big") + bytes([FrameType.SYNC]))
            assert await member.refusal() == "frame_too_large"
        await until(lambda: len(recorder.events) == 2)


async def test_n5_a_peer_that_does_not_read_is_closed_and_memory_stays_bounded(site: Site, recorder: Recorder) -> None:
    limits = LimitSettings(peer_queue_bytes=1 << 20, keepalive_ms=100, idle_timeout_ms=300)
    transport = site.transport(1, recorder, limits=limits)
    async with started(transport), RawPeer(site, transport.listener.port) as peer:
        peer.greet(2)
        await until(lambda: len(recorder.events) == 1)
        link = transport.link_to(key_of(2))
        for _ in range(64):
            transport.send(key_of(2), Channel.TRANSACTIONS, bytes(256 * 1024))
            assert link.waiting_bytes <= 1 << 20
            await asyncio.sleep(0)
        assert link.dropped > 0
        await until(lambda: recorder.events[-1][0] == "disconnected", 3)
        assert link.reason in ("peer_too_slow", "idle_timeout")
