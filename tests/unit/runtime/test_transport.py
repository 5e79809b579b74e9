"""Channels between nodes on loopback: identity, standing, duplicates, silence, reconnects."""

from __future__ import annotations

import asyncio
import resource
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop

from common.node.logic.node_effects import Channel
from common.node.logic.node_events import PeerKey
from common.node.peer.frames import FrameType, encode_frame
from common.node.peer.hello import Binding, Identity, Role, Side, make_hello
from common.node.peer.link import Stage
from common.node.peer.transport import PeerTransport
from common.node.settings import LimitSettings
from tests.unit.runtime.network import Recorder, Site, identity_of, key_of, now_ms, until

MEMBERS = {f"node-{number}": key_of(number) for number in (1, 2, 3, 4)}

QUICK = LimitSettings(handshake_timeout_ms=400, keepalive_ms=100, idle_timeout_ms=300)


def run(
    case: Coroutine[Any, Any, None], factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
) -> None:
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(case)


@asynccontextmanager
async def started(*transports: PeerTransport) -> AsyncIterator[None]:
    for transport in transports:
        transport.start()
    try:
        yield
    finally:
        for transport in transports:
            await transport.close()


class RawPeer:
    """A peer that speaks TLS honestly and everything else as a test wants."""

    def __init__(self, site: Site, port: int, name: str = "raw") -> None:
        self._tls = site.tls(name)
        self._port = port
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter
        self.binding: Binding

    async def __aenter__(self) -> RawPeer:
        contexts = self._tls.current()
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self._port, ssl=contexts.dialler)
        certificate = self.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        self.binding = Binding(Side.DIALLER, contexts.certificate, certificate)
        return self

    async def __aexit__(self, *error: object) -> None:
        self.writer.close()

    def send(self, kind: FrameType, payload: bytes) -> None:
        self.writer.write(encode_frame(kind, payload))

    def hello(self, identity: Identity) -> None:
        self.send(FrameType.HELLO, make_hello(identity, self.binding, Role.VALIDATOR, now_ms()))

    async def read(self) -> tuple[FrameType, bytes]:
        header = await self.reader.readexactly(5)
        payload = await self.reader.readexactly(int.from_bytes(header[:4], "big"))
        return FrameType(header[4]), payload

    async def refusal(self) -> str:
        """Read until the refusal; its code."""
        while True:
            kind, payload = await asyncio.wait_for(self.read(), 3)
            if kind is FrameType.REFUSAL:
                return payload.decode("ascii")


class TornTransport(asyncio.Transport):
    """A TLS transport whose peer has gone: uvloop's refuses to be closed until it has said that it is lost."""

    aborted = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self if name == "ssl_object" else default

    def getpeercert(self, binary_form: bool) -> bytes:
        return b"certificate"

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        pass

    def close(self) -> None:
        raise RuntimeError("cannot switch state from 0 to 4")

    def abort(self) -> None:
        self.aborted = True


def test_n5_a_refusal_to_a_peer_that_has_gone_never_raises_into_the_event_loop(tmp_path: Path) -> None:
    async def case() -> None:
        transport = Site(tmp_path).transport(1, Recorder(MEMBERS))
        torn, link = TornTransport(), transport.new_link(Side.DIALLER, "nowhere")
        link.connection_made(torn)
        link.data_received(encode_frame(FrameType.CONSENSUS, b"before the hello"))
        assert torn.aborted
        assert link.stage is Stage.CLOSED
        assert link.reason == "frame_unexpected"
        await asyncio.wait_for(link.finished(), 1)
        await transport.close()

    run(case())


@pytest.mark.parametrize("factory", [uvloop.new_event_loop, asyncio.new_event_loop])
def test_two_nodes_meet_and_talk(tmp_path: Path, factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def case() -> None:
        site = Site(tmp_path)
        one, two = Recorder(MEMBERS), Recorder(MEMBERS)
        first = site.transport(1, one)
        second = site.transport(2, two, {"node-1": first.listener.port})
        async with started(first, second):
            await until(lambda: bool(one.events and two.events))
            assert one.events == [("connected", key_of(2), b"greeting for " + key_of(1)[:4])]
            first.send(key_of(2), Channel.CONSENSUS, b"vote")
            first.broadcast(Channel.TRANSACTIONS, b"gossip")
            first.send(key_of(2), Channel.SYNC, b"x" * 3_000_000)
            await until(lambda: len(two.payloads()) == 3)
            assert two.payloads() == [b"vote", b"gossip", b"x" * 3_000_000]
            assert [report.connected for report in second.reports()] == [True]
        assert one.events[1:] == []

    run(case(), factory)


def redirect(transport: PeerTransport, port: int) -> None:
    """Point the only configured peer of a transport to another port."""
    (dialler,) = transport.diallers
    dialler.address = dialler.address.model_copy(update={"port": port})


def test_both_dial_and_one_channel_stays_at_both_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.node.peer.dialling.YIELD_S", 0.0)

    async def case() -> None:
        site = Site(tmp_path)
        one, two = Recorder(MEMBERS), Recorder(MEMBERS)
        first = site.transport(1, one, {"node-2": 1})
        second = site.transport(2, two, {"node-1": first.listener.port})
        redirect(first, second.listener.port)
        async with started(first, second):
            await until(lambda: first.link_to(key_of(2)) is not None and second.link_to(key_of(1)) is not None)
            await asyncio.sleep(0.5)
            left, right = first.link_to(key_of(2)), second.link_to(key_of(1))
            assert left is not None
            assert right is not None
            assert left.side is (Side.DIALLER if key_of(1) < key_of(2) else Side.LISTENER)
            assert left.side is right.side.other
            first.send(key_of(2), Channel.CONSENSUS, b"still there")
            await until(lambda: two.payloads() == [b"still there"])

    run(case())


@pytest.mark.parametrize(
    ("identity", "code"),
    [
        (identity_of(2, genesis_id=bytes(32)), "hello_wrong_genesis"),
        (identity_of(2, network="shanghai"), "hello_wrong_network"),
        (identity_of(1), "hello_own_key"),
        (
            Identity(identity_of(2).suite, identity_of(2).genesis_id, "beijing", b"\x09" * 32, key_of(2)),
            "hello_bad_signature",
        ),
    ],
)
def test_n5_a_spoofed_identity_is_refused_with_its_reason(tmp_path: Path, identity: Identity, code: str) -> None:
    async def case() -> None:
        site = Site(tmp_path)
        recorder = Recorder(MEMBERS)
        transport = site.transport(1, recorder)
        async with started(transport), RawPeer(site, transport.listener.port) as peer:
            peer.hello(identity)
            assert await peer.refusal() == code
        assert recorder.events == []

    run(case())


def test_n5_a_hello_from_another_channel_is_refused(tmp_path: Path) -> None:
    async def case() -> None:
        site = Site(tmp_path)
        recorder = Recorder(MEMBERS)
        transport = site.transport(1, recorder)
        async with started(transport), RawPeer(site, transport.listener.port, "honest") as honest:
            stolen = make_hello(identity_of(2), honest.binding, Role.VALIDATOR, now_ms())
            async with RawPeer(site, transport.listener.port, "thief") as thief:
                thief.send(FrameType.HELLO, stolen)
                assert await thief.refusal() == "hello_wrong_certificate"
        assert recorder.events == []

    run(case())


async def first_byte(port: int, context: ssl.SSLContext) -> bytes:
    """What a listener says first; under TLS 1.3 a refused client hears of it only when it reads."""
    reader, _ = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    return await reader.readexactly(1)


def test_n5_a_certificate_of_a_foreign_authority_does_not_get_as_far_as_a_hello(tmp_path: Path) -> None:
    async def case() -> None:
        site = Site(tmp_path)
        (tmp_path / "foreign").mkdir()
        foreign = Site(tmp_path / "foreign", "foreign")
        recorder = Recorder(MEMBERS)
        transport = site.transport(1, recorder)
        certificate_file, private_key_file = foreign.certificate("thief")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(site.ca_file)
        async with started(transport):
            for chain in (None, (certificate_file, private_key_file)):
                if chain is not None:
                    context.load_cert_chain(*chain)
                with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
                    await first_byte(transport.listener.port, context)
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await first_byte(transport.listener.port, context)
            assert transport.listener.connections == 0
        assert recorder.events == []

    run(case())


def test_n5_another_validator_than_the_configured_one_is_refused(tmp_path: Path) -> None:
    async def case() -> None:
        site = Site(tmp_path)
        one, two = Recorder(MEMBERS), Recorder(MEMBERS)
        first = site.transport(1, one)
        second = site.transport(2, two, {"node-3": first.listener.port})
        async with started(first, second):
            await until(lambda: second.reports()[0].last_error == "hello_unexpected_peer")
        assert [event for event, _, _ in two.events] == []

    run(case())


def test_c9_an_unknown_key_may_read_but_not_vote(tmp_path: Path) -> None:
    async def case() -> None:
        site = Site(tmp_path)
        one, nine = Recorder(MEMBERS), Recorder(MEMBERS)
        validator = site.transport(1, one)
        observer = site.transport(9, nine, {"node-1": validator.listener.port})
        async with started(validator, observer):
            await until(lambda: bool(one.events and nine.events))
            observer.send(key_of(1), Channel.CONSENSUS, b"vote of a stranger")
            observer.send(key_of(1), Channel.TRANSACTIONS, b"gossip of a stranger")
            observer.send(key_of(1), Channel.SYNC, b"which blocks?")
            validator.broadcast(Channel.CONSENSUS, b"vote")
            validator.broadcast(Channel.SYNC, b"block")
            validator.tell_observers(b"status")
            await until(lambda: bool(one.payloads("observer")) and len(nine.payloads()) == 2)
            await asyncio.sleep(0.05)
            assert one.payloads("observer") == [b"which blocks?"]
            assert one.payloads() == []
            assert nine.payloads() == [b"block", b"status"]

    run(case())


def test_n3_an_observer_s_flood_of_questions_does_not_reach_the_node(tmp_path: Path) -> None:
    async def case() -> None:
        site = Site(tmp_path)
        recorder = Recorder(MEMBERS)
        transport = site.transport(1, recorder)
        async with started(transport), RawPeer(site, transport.listener.port) as peer:
            peer.hello(identity_of(9))
            peer.send(FrameType.GREETING, b"")
            for _ in range(2_000):
                peer.send(FrameType.SYNC, b"which blocks?")
            await until(lambda: transport.received_bytes > 2_000 * 18)
            assert 0 < len(recorder.payloads("observer")) <= 100

    run(case())


class Slow(Recorder):
    """A node that takes a millisecond for each message."""

    def peer_message(self, peer: PeerKey, payload: bytes, member: bool) -> None:
        began = time.perf_counter()
        while time.perf_counter() < began + 0.001:
            pass
        super().peer_message(peer, payload, member)


def test_c13_n3_a_member_that_floods_does_not_hold_up_the_others(tmp_path: Path) -> None:
    """Its frames are all taken in the end, in order; what another member says meanwhile is not behind them."""
    flood = [b"%08d" % number for number in range(600)]

    async def case() -> None:
        site, recorder = Site(tmp_path), Slow(MEMBERS)
        transport = site.transport(1, recorder)
        port = transport.listener.port
        async with started(transport), RawPeer(site, port, "a") as hostile, RawPeer(site, port, "b") as honest:
            for number, peer in ((2, hostile), (3, honest)):
                peer.hello(identity_of(number))
                peer.send(FrameType.GREETING, b"")
            await until(lambda: len(recorder.events) == 2)
            for payload in flood:
                hostile.send(FrameType.CONSENSUS, payload)
            await until(lambda: len(recorder.payloads()) > 10)
            honest.send(FrameType.CONSENSUS, b"vote")
            await until(lambda: len(recorder.payloads()) == len(flood) + 1, 30)
            payloads = recorder.payloads()
            assert payloads.index(b"vote") < 300
            assert [payload for payload in payloads if payload != b"vote"] == flood

    run(case())


def test_n3_pings_of_a_peer_that_does_not_read_pile_up_nothing(tmp_path: Path) -> None:
    async def case() -> None:
        site = Site(tmp_path)
        recorder = Recorder(MEMBERS)
        transport = site.transport(1, recorder)
        async with started(transport), RawPeer(site, transport.listener.port) as peer:
            peer.hello(identity_of(2))
            peer.send(FrameType.GREETING, b"")
            await until(lambda: len(recorder.events) == 1)
            link = transport.link_to(key_of(2))
            assert link is not None
            link.pause_writing()
            before = link.sent_bytes
            peer.send(FrameType.PING, b"12345678")
            peer.send(FrameType.CONSENSUS, b"vote")
            await until(lambda: recorder.payloads() == [b"vote"])
            assert link.sent_bytes == before

    run(case())


def test_n3_observers_are_counted(tmp_path: Path) -> None:
    async def case() -> None:
        site = Site(tmp_path)
        recorder = Recorder(MEMBERS)
        transport = site.transport(1, recorder, limits=LimitSettings(observers=2))
        port = transport.listener.port
        async with started(transport), RawPeer(site, port, "a") as a, RawPeer(site, port, "b") as b:
            for number, peer in ((7, a), (8, b)):
                peer.hello(identity_of(number))
                peer.send(FrameType.GREETING, b"")
            await until(lambda: len(recorder.events) == 2)
            async with RawPeer(site, port, "c") as c:
                c.hello(identity_of(9))
                assert await c.refusal() == "observers_full"
            async with RawPeer(site, port, "d") as d:
                d.hello(identity_of(2))
                d.send(FrameType.GREETING, b"")
                await until(lambda: len(recorder.events) == 3)

    run(case())


def test_c18_a_removed_validator_loses_its_channel_and_returns_as_an_observer(tmp_path: Path) -> None:
    async def case() -> None:
        site = Site(tmp_path)
        one, two = Recorder(dict(MEMBERS)), Recorder(MEMBERS)
        first = site.transport(1, one)
        second = site.transport(2, two, {"node-1": first.listener.port})
        async with started(first, second):
            await until(lambda: bool(one.events))
            del one.members["node-2"]
            second.send(key_of(1), Channel.CONSENSUS, b"sent before the news")
            first.validators_changed()
            await until(lambda: [event for event, _, _ in one.events] == ["connected", "disconnected", "connected"])
            second.send(key_of(1), Channel.CONSENSUS, b"vote of a removed validator")
            second.send(key_of(1), Channel.SYNC, b"which blocks?")
            await until(lambda: one.payloads("observer") == [b"which blocks?"])
            assert one.payloads() == []

    run(case())


def test_n5_a_replaced_channel_is_reported_before_the_new_one(tmp_path: Path) -> None:
    """A validator that was cut off without a word (half-open) comes back at once: the newer dialling wins."""

    async def case() -> None:
        site = Site(tmp_path)
        recorder = Recorder(MEMBERS)
        transport = site.transport(1, recorder)
        async with started(transport), RawPeer(site, transport.listener.port, "before") as before:
            before.hello(identity_of(2))
            before.send(FrameType.GREETING, b"1")
            await until(lambda: len(recorder.events) == 1)
            async with RawPeer(site, transport.listener.port, "after") as after:
                after.hello(identity_of(2))
                after.send(FrameType.GREETING, b"2")
                assert await before.refusal() == "duplicate_channel"
                await until(lambda: len(recorder.events) == 3)
        assert [event for event, _, _ in recorder.events] == ["connected", "disconnected", "connected"]

    run(case())


def test_n5_a_half_open_channel_is_asked_and_then_closed(tmp_path: Path) -> None:
    async def case() -> None:
        site = Site(tmp_path)
        recorder = Recorder(MEMBERS)
        transport = site.transport(1, recorder, limits=QUICK)
        async with started(transport), RawPeer(site, transport.listener.port) as peer:
            peer.hello(identity_of(2))
            peer.send(FrameType.GREETING, b"")
            kinds = [(await peer.read())[0] for _ in range(3)]
            assert kinds == [FrameType.HELLO, FrameType.GREETING, FrameType.PING]
            await until(lambda: recorder.events[-1][0] == "disconnected")

    run(case())


def test_n5_pongs_keep_a_quiet_channel_open(tmp_path: Path) -> None:
    async def case() -> None:
        site = Site(tmp_path)
        one, two = Recorder(MEMBERS), Recorder(MEMBERS)
        first = site.transport(1, one, limits=QUICK)
        second = site.transport(2, two, {"node-1": first.listener.port})
        async with started(first, second):
            await until(lambda: bool(one.events))
            await asyncio.sleep(0.8)
            assert [event for event, _, _ in one.events] == ["connected"]
            assert first.reports()[0].round_trip_ms is not None

    run(case())


def test_n2_a_slow_handshake_times_out_at_every_stage(tmp_path: Path) -> None:
    async def case() -> None:
        site = Site(tmp_path)
        recorder = Recorder(MEMBERS)
        transport = site.transport(1, recorder, limits=QUICK)
        async with started(transport):
            with socket.create_connection(("127.0.0.1", transport.listener.port)):
                async with (
                    RawPeer(site, transport.listener.port, "a"),
                    RawPeer(site, transport.listener.port, "b") as b,
                ):
                    b.hello(identity_of(2))
                    await until(lambda: transport.listener.handshakes == 3)
                    await until(lambda: transport.listener.connections == 0, 2)
        assert recorder.events == []

    run(case())


def test_n3_unfinished_handshakes_give_way_oldest_first(tmp_path: Path) -> None:
    async def case() -> None:
        site = Site(tmp_path)
        recorder = Recorder(MEMBERS)
        transport = site.transport(1, recorder, limits=LimitSettings(handshakes=4))
        async with started(transport):
            sockets = [socket.create_connection(("127.0.0.1", transport.listener.port)) for _ in range(40)]
            await until(lambda: transport.listener.evicted >= 36)
            assert transport.listener.handshakes <= 4
            async with RawPeer(site, transport.listener.port) as peer:
                peer.hello(identity_of(2))
                peer.send(FrameType.GREETING, b"")
                await until(lambda: len(recorder.events) == 1)
            for connection in sockets:
                connection.close()

    run(case())


def test_n3_a_flood_from_one_address_displaces_itself(tmp_path: Path) -> None:
    async def case() -> None:
        site = Site(tmp_path)
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

    run(case())


async def hung_up(peer: RawPeer, timeout_s: float) -> bool:
    """Whether the other end closes the socket, whatever it says before."""
    try:
        await asyncio.wait_for(peer.reader.read(-1), timeout_s)
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return True


@pytest.mark.parametrize("hello", [False, True])
def test_n3_n5_silence_after_tls_ends_in_time(tmp_path: Path, hello: bool) -> None:
    """A trusted certificate is no identity: who says nothing after TLS, or nothing after the hello, is cut off."""

    async def case() -> None:
        site = Site(tmp_path)
        transport = site.transport(1, Recorder(MEMBERS), limits=QUICK)
        async with started(transport), AsyncExitStack() as stack:
            port = transport.listener.port
            silent = [await stack.enter_async_context(RawPeer(site, port)) for _ in range(6)]
            if hello:
                for peer in silent:
                    peer.hello(identity_of(2))
            assert all(await asyncio.gather(*[hung_up(peer, 2) for peer in silent]))
            assert transport.listener.connections == 0

    run(case())


def test_n3_connections_that_are_silent_after_tls_give_way_oldest_first(tmp_path: Path) -> None:
    async def case() -> None:
        site, recorder = Site(tmp_path), Recorder(MEMBERS)
        limits = LimitSettings(handshakes=4, handshake_timeout_ms=30_000)
        transport = site.transport(1, recorder, limits=limits)
        async with started(transport), AsyncExitStack() as stack:
            port = transport.listener.port
            silent = [await stack.enter_async_context(RawPeer(site, port)) for _ in range(12)]
            assert all(await asyncio.gather(*[hung_up(peer, 1) for peer in silent[:8]]))
            assert not any(await asyncio.gather(*[hung_up(peer, 0.1) for peer in silent[8:]]))
            assert transport.listener.connections == 4
            honest = await stack.enter_async_context(RawPeer(site, port))
            honest.hello(identity_of(2))
            honest.send(FrameType.GREETING, b"")
            await until(lambda: len(recorder.events) == 1)

    run(case())


def test_n3_n6_a_lack_of_descriptors_is_not_logged_at_every_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("common.node.peer.listener.ACCEPT_PAUSE_S", 0.01)

    async def case() -> None:
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

    run(case())
    assert [record.message for record in caplog.records].count("accept failed") == 1


def test_n1_an_oversize_frame_closes_the_channel(tmp_path: Path) -> None:
    async def case() -> None:
        site = Site(tmp_path)
        recorder = Recorder(MEMBERS)
        transport = site.transport(1, recorder)
        async with started(transport):
            async with RawPeer(site, transport.listener.port, "a") as stranger:
                stranger.writer.write((1025).to_bytes(4, "big") + bytes([FrameType.HELLO]))
                assert await stranger.refusal() == "frame_too_large"
            async with RawPeer(site, transport.listener.port, "b") as member:
                member.hello(identity_of(2))
                member.send(FrameType.GREETING, b"")
                member.writer.write((0xFFFFFFFF).to_bytes(4, "big") + bytes([FrameType.SYNC]))
                assert await member.refusal() == "frame_too_large"
            await until(lambda: len(recorder.events) == 2)

    run(case())


def test_n5_a_peer_that_does_not_read_is_closed_and_memory_stays_bounded(tmp_path: Path) -> None:
    async def case() -> None:
        site = Site(tmp_path)
        recorder = Recorder(MEMBERS)
        limits = LimitSettings(peer_queue_bytes=1 << 20, keepalive_ms=100, idle_timeout_ms=300)
        transport = site.transport(1, recorder, limits=limits)
        async with started(transport), RawPeer(site, transport.listener.port) as peer:
            peer.hello(identity_of(2))
            peer.send(FrameType.GREETING, b"")
            await until(lambda: len(recorder.events) == 1)
            link = transport.link_to(key_of(2))
            assert link is not None
            for _ in range(64):
                transport.send(key_of(2), Channel.TRANSACTIONS, bytes(256 * 1024))
                assert link.waiting_bytes <= 1 << 20
                await asyncio.sleep(0)
            assert link.dropped > 0
            await until(lambda: recorder.events[-1][0] == "disconnected", 3)
            assert link.reason in ("peer_too_slow", "idle_timeout")

    run(case())


def test_a_peers_host_that_cannot_be_resolved_is_told_and_stops_nothing(tmp_path: Path) -> None:
    async def case() -> None:
        transport = Site(tmp_path).transport(2, Recorder(MEMBERS), {"node-1": 1})
        (dialler,) = transport.diallers
        dialler.address = dialler.address.model_copy(update={"host": "a..b"})
        async with started(transport):
            await until(lambda: dialler.state.attempts > 1, 3)
            assert transport.reports()[0].last_error == "host_invalid"

    run(case())


def test_a_peer_that_comes_back_is_connected_again(tmp_path: Path) -> None:
    async def case() -> None:
        site = Site(tmp_path)
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

    run(case())


def test_a_peer_that_lied_is_left_alone_for_a_while(tmp_path: Path) -> None:
    async def case() -> None:
        site = Site(tmp_path)
        one, two = Recorder(MEMBERS), Recorder(MEMBERS)
        first = site.transport(1, one)
        second = site.transport(2, two, {"node-1": first.listener.port})
        async with started(first, second):
            await until(lambda: bool(one.events))
            first.disconnect(key_of(2), "sync_bad_certificate", 700)
            await until(lambda: second.reports()[0].last_error == "refused_peer_paused")
            assert one.events[-1][0] == "disconnected"
            await until(lambda: one.events[-1][0] == "connected", 4)

    run(case())


def test_n3_liars_under_ever_new_keys_are_forgotten_once_their_pause_is_over(tmp_path: Path) -> None:
    async def case() -> None:
        transport = Site(tmp_path).transport(1, Recorder(MEMBERS))
        async with started(transport):
            for number in range(100):
                transport.disconnect(number.to_bytes(32, "big"), "sync_bad_certificate", 0)
            transport.disconnect(key_of(2), "sync_bad_certificate", 60_000)
            transport.disconnect(key_of(3), "sync_bad_certificate", 60_000)
            assert set(transport._paused_until) == {key_of(2), key_of(3)}

    run(case())


def test_a_rotated_certificate_is_used_for_the_next_channel(tmp_path: Path) -> None:
    async def case() -> None:
        site = Site(tmp_path)
        recorder = Recorder(MEMBERS)
        transport = site.transport(1, recorder)
        async with started(transport):
            seen = []
            for _ in range(2):
                async with RawPeer(site, transport.listener.port) as peer:
                    seen.append(peer.binding.peer_certificate)
                    peer.hello(identity_of(2))
                    peer.send(FrameType.GREETING, b"")
                    await until(lambda: bool(recorder.events) and recorder.events[-1][0] == "connected")
                await until(lambda: recorder.events[-1][0] == "disconnected")
                site.certificate("node-1")
            assert seen[0] != seen[1]
            (tmp_path / "node-1.key").write_bytes(b"half written")
            async with RawPeer(site, transport.listener.port) as peer:
                assert peer.binding.peer_certificate == seen[1]

    run(case())
