"""Channels between nodes on loopback: who meets, with what standing, and which of two channels stays."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop

from common.node.logic.node_effects import Channel
from common.node.peer.frames import FrameType, encode_frame
from common.node.peer.hello import ChannelIdentity, ChannelRole, Side, make_hello
from common.node.peer.link import LinkStage
from tests.unit.runtime.channels import MEMBERS, RawPeer, redirect, started
from tests.unit.runtime.network import Recorder, Site, identity_of, key_of, now_ms, until


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


async def test_n5_a_refusal_to_a_peer_that_has_gone_never_raises_into_the_event_loop(site: Site) -> None:
    transport = site.transport(1, Recorder(MEMBERS))
    torn, link = TornTransport(), transport.new_link(Side.DIALLER, "nowhere")
    link.connection_made(torn)
    frame = encode_frame(FrameType.CONSENSUS, b"before the hello")
    link.get_buffer(-1)[: len(frame)] = frame
    link.buffer_updated(len(frame))
    assert torn.aborted
    assert link.stage is LinkStage.CLOSED
    assert link.reason == "frame_unexpected"
    await asyncio.wait_for(link.finished(), 1)
    await transport.close()


@pytest.mark.parametrize("new_loop", [uvloop.new_event_loop, asyncio.new_event_loop])
async def test_two_nodes_meet_and_talk(site: Site, new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
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


async def test_both_dial_and_one_channel_stays_at_both_ends(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.node.peer.dialling.YIELD_S", 0.0)
    one, two = Recorder(MEMBERS), Recorder(MEMBERS)
    first = site.transport(1, one, {"node-2": 1})
    second = site.transport(2, two, {"node-1": first.listener.port})
    redirect(first, second.listener.port)
    async with started(first, second):
        await until(lambda: first.link_to(key_of(2)) is not None and second.link_to(key_of(1)) is not None)
        await asyncio.sleep(0.5)
        left, right = first.link_to(key_of(2)), second.link_to(key_of(1))
        assert left.side is (Side.DIALLER if key_of(1) < key_of(2) else Side.LISTENER)
        assert left.side is right.side.other
        first.send(key_of(2), Channel.CONSENSUS, b"still there")
        await until(lambda: two.payloads() == [b"still there"])


@pytest.mark.parametrize(
    ("identity", "code"),
    [
        (identity_of(2, genesis_id=bytes(32)), "hello_wrong_genesis"),
        (identity_of(2, network="shanghai"), "hello_wrong_network"),
        (identity_of(1), "hello_own_key"),
        (
            ChannelIdentity(identity_of(2).suite, identity_of(2).genesis_id, "beijing", b"\x09" * 32, key_of(2)),
            "hello_bad_signature",
        ),
    ],
)
async def test_n5_a_spoofed_identity_is_refused_with_its_reason(
    site: Site, recorder: Recorder, identity: ChannelIdentity, code: str
) -> None:
    transport = site.transport(1, recorder)
    async with started(transport), RawPeer(site, transport.listener.port) as peer:
        peer.hello(identity)
        assert await peer.refusal() == code
    assert recorder.events == []


async def test_n5_a_hello_from_another_channel_is_refused(site: Site, recorder: Recorder) -> None:
    transport = site.transport(1, recorder)
    async with started(transport), RawPeer(site, transport.listener.port, "honest") as honest:
        stolen = make_hello(identity_of(2), honest.binding, ChannelRole.VALIDATOR, now_ms())
        async with RawPeer(site, transport.listener.port, "thief") as thief:
            thief.send(FrameType.HELLO, stolen)
            assert await thief.refusal() == "hello_wrong_certificate"
    assert recorder.events == []


async def first_byte(port: int, context: ssl.SSLContext) -> bytes:
    """What a listener says first; under TLS 1.3 a refused client hears of it only when it reads."""
    reader, _ = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    return await reader.readexactly(1)


async def test_n5_a_certificate_of_a_foreign_authority_does_not_get_as_far_as_a_hello(
    tmp_path: Path, site: Site, recorder: Recorder
) -> None:
    (tmp_path / "foreign").mkdir()
    foreign = Site(tmp_path / "foreign", "foreign")
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


async def test_n5_another_validator_than_the_configured_one_is_refused(site: Site) -> None:
    one, two = Recorder(MEMBERS), Recorder(MEMBERS)
    first = site.transport(1, one)
    second = site.transport(2, two, {"node-3": first.listener.port})
    async with started(first, second):
        await until(lambda: second.reports()[0].last_error == "hello_unexpected_peer")
    assert [event for event, _, _ in two.events] == []


async def test_c9_an_unknown_key_may_read_but_not_vote(site: Site) -> None:
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


async def test_c18_a_removed_validator_loses_its_channel_and_returns_as_an_observer(site: Site) -> None:
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


async def test_n5_a_replaced_channel_is_reported_before_the_new_one(site: Site, recorder: Recorder) -> None:
    """A validator that was cut off without a word (half-open) comes back at once: the newer dialling wins."""
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
