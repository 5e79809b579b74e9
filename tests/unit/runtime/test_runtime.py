"""The runtime: effects in order, durable before sent, sockets before timers, and the end when the disk refuses."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from common.chain.metering import UsedUnits
from common.consensus.effects import Persist
from common.core.errors import Unavailable
from common.node.logic.node_effects import (
    Accusation,
    BlockCommitted,
    CancelTimer,
    Channel,
    CommitBlock,
    Disconnect,
    NodeEffect,
    SendToPeer,
    SendToPeers,
    SetTimer,
    Warned,
)
from common.node.logic.node_events import (
    BlockWritten,
    NodeEvent,
    PeerConnected,
    PeerDisconnected,
    PeerKey,
    PeerMessage,
    Started,
    Timer,
    TimerExpired,
)
from common.node.logic.node_status import NodeStatus, TransactionState
from common.node.logic.wire.peer_messages import KIND_CONSENSUS, KIND_GET_BLOCKS, Status, decode_payload
from common.node.peer.frames import FrameType, encode_frame
from common.node.peer.hello import ChannelBinding, ChannelRole, Side, make_hello
from common.node.runtime import Runtime
from common.node.store.store_errors import StoreFailed
from tests.support.chains import BuiltBlock, ChainBuilder
from tests.unit.runtime.network import Site, identity_of, key_of, now_ms, until

PEER = b"p" * 32


def vote(name: str) -> SendToPeer:
    return SendToPeer(PEER, name.encode(), Channel.CONSENSUS)


def persist(*records: str) -> Persist:
    return Persist(tuple(record.encode() for record in records))


class Journal:
    """Node, disk, channels and listeners in one: what was asked of each, in order."""

    def __init__(self) -> None:
        self.entries: list[str] = []
        self.events: list[NodeEvent] = []
        self.answers: dict[type, list[list[NodeEffect]]] = {}
        self.gate = threading.Event()
        self.gate.set()
        self.fail_sync = False
        self.fail_write = False
        self.fail_step: Exception | None = None
        self.received_bytes = 0
        self.told: list[bytes] = []
        self.keys = frozenset({PEER})

    def note(self, text: str) -> None:
        self.entries.append(text)

    def then(self, event: type, *effects: NodeEffect) -> None:
        """Answer the next event of this type with these effects."""
        self.answers.setdefault(event, []).append(list(effects))

    # The node.

    def step(self, event: NodeEvent, now_ms: int) -> list[NodeEffect]:
        if self.fail_step is not None and not isinstance(event, Started):
            raise self.fail_step
        self.events.append(event)
        queued = self.answers.get(type(event), [])
        return queued.pop(0) if queued else []

    def submit(self, envelope: bytes, now_ms: int) -> tuple[TransactionState, list[NodeEffect]]:
        if self.fail_step is not None:
            raise self.fail_step
        return TransactionState(envelope, "pending"), [SendToPeers(envelope, Channel.TRANSACTIONS)]

    def hello_for(self, peer: PeerKey) -> bytes:
        return b""

    def peer_keys(self) -> frozenset[PeerKey]:
        return self.keys

    def transaction_state(self, tx_id: bytes) -> TransactionState:
        return TransactionState(tx_id, "unknown")

    def status(self) -> NodeStatus:
        raise AssertionError("not asked for here")

    # The disk.

    def append(self, records: Sequence[bytes]) -> None:
        self.note(f"append {b' '.join(records).decode()}")

    def sync(self) -> None:
        assert self.gate.wait(60)
        if self.fail_sync:
            raise StoreFailed("input/output error")
        self.note("synced")

    def compact(self, tip_height: int, tip_id: bytes) -> None:
        self.note(f"compact {tip_height}")

    def write(self, batch: Sequence[tuple[bytes, bytes | None]], sync: bool) -> None:
        assert sync
        assert self.gate.wait(60)
        if self.fail_write:
            raise StoreFailed("no space left on device")
        self.note(f"written {len(batch)}")

    # Channels and listeners.

    def send(self, peer: PeerKey, channel: Channel, payload: bytes) -> None:
        self.note(f"send {payload.decode()}")

    def broadcast(self, channel: Channel, payload: bytes) -> None:
        self.note(f"broadcast {payload.decode()}")

    def tell_observers(self, payload: bytes) -> None:
        self.told.append(payload)

    def disconnect(self, peer: PeerKey, reason: str, pause_ms: int) -> None:
        self.note(f"disconnect {reason}")

    def validators_changed(self) -> None:
        self.note("validators changed")

    def block_committed(self, block: BlockCommitted) -> None:
        self.note(f"committed {block.header.height}")

    def peers_changed(self) -> None:
        self.note("peers changed")

    def accused(self, accusation: Accusation) -> None:
        self.note("accused")

    def warned(self, warning: Warned) -> None:
        self.note(f"warned {warning.code}")


def committed(block: BuiltBlock) -> BlockCommitted:
    return BlockCommitted(block.header, block.id, block.certificate, (), UsedUnits())


def started(journal: Journal, *effects: NodeEffect) -> Runtime:
    journal.then(Started, *effects)
    runtime = Runtime(journal, journal, journal, journal, now_ms, dict)  # type: ignore[arg-type]
    runtime.start(journal)
    return runtime


async def test_s1_a_vote_is_durable_before_it_is_sent() -> None:
    journal = Journal()
    journal.gate.clear()
    runtime = started(journal, vote("before"), persist("p1", "p2"), vote("prepare"), vote("again"))
    await asyncio.sleep(0.05)
    assert journal.entries == ["send before", "append p1 p2"]
    journal.gate.set()
    await until(lambda: len(journal.entries) == 5)
    assert journal.entries[2:] == ["synced", "send prepare", "send again"]
    await runtime.stop()


async def test_s1_effects_of_later_events_queue_up_behind_a_sync_and_share_the_next() -> None:
    journal = Journal()
    journal.gate.clear()
    runtime = started(journal, persist("p1"), vote("v1"))
    for number in (2, 3, 4):
        journal.then(PeerMessage, persist(f"p{number}"), vote(f"v{number}"))
        runtime.peer_message(PEER, b"\x01", True)
    runtime.submit(b"tx")
    await asyncio.sleep(0.05)
    assert journal.entries == ["append p1"]
    assert len(journal.events) == 4
    journal.gate.set()
    await until(lambda: len(journal.entries) == 9)
    assert journal.entries[1:] == [
        "synced", "send v1", "append p2 p3 p4", "synced", "send v2", "send v3", "send v4", "broadcast tx",
    ]  # fmt: skip
    assert runtime.counters.vote_syncs == 2
    assert runtime.counters.vote_records == 4
    await runtime.stop()


async def test_s1_a_vote_made_during_a_sync_is_not_covered_by_it() -> None:
    """What is queued while a sync runs may have missed it: it waits for the next one."""
    journal = Journal()
    journal.gate.clear()
    runtime = started(journal, persist("p1"), vote("v1"))
    journal.then(PeerMessage, vote("without votes"), persist("p2"), vote("v2"))
    runtime.peer_message(PEER, b"\x01", True)
    journal.gate.set()
    await until(lambda: "send v2" in journal.entries)
    assert journal.entries == [
        "append p1", "synced", "send v1", "append p2", "synced", "send without votes", "send v2",
    ] or journal.entries == [
        "append p1", "synced", "send v1", "send without votes", "append p2", "synced", "send v2",
    ]  # fmt: skip
    await runtime.stop()


Steps = st.lists(
    st.lists(st.sampled_from(["persist", "send", "timer"]), min_size=1, max_size=4), min_size=1, max_size=12
)


@settings(max_examples=40)
@given(Steps, st.lists(st.booleans(), min_size=1, max_size=12))
def test_s1_whatever_the_steps_nothing_overtakes_a_sync(steps: list[list[str]], waits: list[bool]) -> None:
    """Sends keep their order, each behind the sync of what it rests on, however the steps fall between syncs."""

    async def case() -> None:
        journal = Journal()
        runtime = started(journal)
        expected: list[str] = []
        rests_on: dict[str, int] = {}
        records = 0
        for step, kinds in enumerate(steps):
            effects: list[NodeEffect] = []
            for position, kind in enumerate(kinds):
                name = f"{step}.{position}"
                if kind == "persist":
                    effects.append(persist(f"r{records}"))
                    records += 1
                elif kind == "send":
                    effects.append(vote(name))
                    expected.append(f"send {name}")
                    rests_on[f"send {name}"] = records
                else:
                    effects.append(SetTimer(Timer.SYNC, step, 60_000))
            journal.then(PeerMessage, *effects)
            runtime.peer_message(PEER, b"\x01", True)
            if waits[step % len(waits)]:
                await asyncio.sleep(0.001)
        await until(lambda: sum(entry.startswith("send") for entry in journal.entries) == len(expected))
        assert [entry for entry in journal.entries if entry.startswith("send")] == expected
        appended = durable = 0
        for entry in journal.entries:
            if entry.startswith("append"):
                appended += len(entry.split()) - 1
            elif entry == "synced":
                durable = appended
            else:
                assert durable >= rests_on[entry]
        await runtime.stop()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(case())


async def test_s1_a_block_is_durable_before_anybody_hears_of_it() -> None:
    journal = Journal()
    journal.gate.clear()
    journal.then(BlockWritten, committed(ChainBuilder().draft()))
    writes = [(b"k", b"v"), (b"k2", None)]
    runtime = started(journal, CommitBlock(1, b"i" * 32, writes), vote("not held up"))
    await asyncio.sleep(0.05)
    assert journal.entries == ["send not held up"]
    journal.gate.set()
    await until(lambda: len(journal.entries) == 4)
    assert journal.entries[1:] == ["written 2", "compact 1", "committed 1"]
    assert [decode_payload(payload) for payload in journal.told] == [Status(1, ChainBuilder().draft().id)]
    await runtime.stop()


@pytest.mark.parametrize("fault", ["sync", "write"])
async def test_s2_after_a_disk_fault_nothing_more_is_sent_or_acknowledged(fault: str) -> None:
    journal = Journal()
    journal.fail_sync, journal.fail_write = fault == "sync", fault == "write"
    runtime = started(journal, persist("p1"), vote("v1"), CommitBlock(1, b"i" * 32, []), vote("v2"))
    reason = await asyncio.wait_for(runtime.failed, 5)
    assert ("input/output error" in reason) == (fault == "sync")
    seen = list(journal.entries)
    assert ("send v1" in seen) == (fault == "write")
    runtime.peer_message(PEER, b"\x01", True)
    with pytest.raises(Unavailable):
        runtime.submit(b"tx")
    await asyncio.sleep(0.02)
    assert journal.entries == seen
    assert BlockWritten(1) not in journal.events
    await runtime.stop()


async def test_s2_a_broken_invariant_stops_the_node() -> None:
    journal = Journal()
    runtime = started(journal, SetTimer(Timer.VIEW, 1, 10))
    journal.fail_step = KeyError("a bug")
    runtime.peer_message(PEER, b"\x01", True)
    assert "a bug" in await runtime.failed
    journal.fail_step = None
    await asyncio.sleep(0.05)
    assert journal.events == [Started()]
    await runtime.stop()


async def test_s2_a_transaction_that_breaks_an_invariant_stops_the_node() -> None:
    """It may complete the block that a proposal waits for: what follows is a step like any other."""
    journal = Journal()
    runtime = started(journal, SetTimer(Timer.VIEW, 1, 10))
    journal.fail_step = Unavailable("mempool_full", "a refusal stops nothing")
    with pytest.raises(Unavailable, match="mempool_full"):
        runtime.submit(b"tx")
    assert not runtime.failed.done()
    journal.fail_step = KeyError("a bug")
    with pytest.raises(Unavailable, match="stopping"):
        runtime.submit(b"tx")
    assert "a bug" in await runtime.failed
    journal.fail_step = None
    with pytest.raises(Unavailable, match="stopping"):
        runtime.submit(b"tx")
    await asyncio.sleep(0.05)
    assert journal.events == [Started()]
    await runtime.stop()


async def test_c9_observers_may_read_only() -> None:
    journal = Journal()
    runtime = started(journal)
    runtime.peer_message(PEER, bytes([KIND_CONSENSUS]), False)
    runtime.peer_message(PEER, bytes([KIND_GET_BLOCKS]), False)
    runtime.peer_message(PEER, bytes([KIND_CONSENSUS]), True)
    assert [event.payload[0] for event in journal.events if isinstance(event, PeerMessage)] == [
        KIND_GET_BLOCKS,
        KIND_CONSENSUS,
    ]
    await runtime.stop()


async def test_c18_a_change_of_the_sets_is_told_to_the_channels() -> None:
    journal = Journal()
    block = committed(ChainBuilder().draft())
    runtime = started(journal, block)
    journal.keys = frozenset()
    journal.then(PeerMessage, block, Disconnect(PEER, "why", 5), Warned("code", ""))
    runtime.peer_message(PEER, b"\x01", True)
    assert journal.entries == ["committed 1", "validators changed", "committed 1", "disconnect why", "warned code"]
    assert runtime.peer_keys() == frozenset()
    await runtime.stop()


async def test_timers_are_replaced_and_cancelled() -> None:
    journal = Journal()
    effects = (
        SetTimer(Timer.VIEW, 1, 20), SetTimer(Timer.VIEW, 2, 30), SetTimer(Timer.SYNC, 3, 10),
        SetTimer(Timer.BUILD, 4, 0), CancelTimer(Timer.SYNC), CancelTimer(Timer.FETCH),
    )  # fmt: skip
    runtime = started(journal, *effects)
    await asyncio.sleep(0.1)
    expired = [event for event in journal.events[1:] if isinstance(event, TimerExpired)]
    assert [(event.timer, event.token) for event in expired] == [(Timer.BUILD, 4), (Timer.VIEW, 2)]
    await runtime.stop()


async def test_a_timer_says_how_late_it_comes() -> None:
    journal = Journal()
    runtime = started(journal, SetTimer(Timer.GOSSIP, 1, 10))
    time.sleep(0.1)  # noqa: ASYNC251  the loop is busy
    await asyncio.sleep(0.02)
    (expired,) = [event for event in journal.events if isinstance(event, TimerExpired)]
    assert expired.late_us >= 60_000
    await runtime.stop()


async def test_who_is_told_of_peers_is_told_after_the_node() -> None:
    journal = Journal()
    runtime = started(journal)
    journal.then(PeerConnected, vote("hello"))
    runtime.peer_connected(PEER, b"greeting")
    runtime.peer_disconnected(PEER)
    assert journal.entries == ["send hello", "peers changed", "peers changed"]
    assert journal.events[1:] == [PeerConnected(PEER, b"greeting"), PeerDisconnected(PEER)]
    await runtime.stop()


class BlockingPeer(threading.Thread):
    """A validator in a thread of its own: says hello, then sends its frames when told to."""

    def __init__(self, site: Site, port: int, frames: list[bytes]) -> None:
        super().__init__(daemon=True)
        self._tls = site.tls("node-2")
        self._port = port
        self._frames = frames
        self.go = threading.Event()
        self.sent = threading.Event()
        self.done = threading.Event()

    def run(self) -> None:
        contexts = self._tls.current()
        with (
            socket.create_connection(("127.0.0.1", self._port)) as plain,
            contexts.dialler.wrap_socket(plain) as channel,
        ):
            certificate = channel.getpeercert(binary_form=True)
            assert certificate is not None
            binding = ChannelBinding(Side.DIALLER, contexts.certificate, certificate)
            hello = make_hello(identity_of(2), binding, ChannelRole.VALIDATOR, now_ms())
            channel.sendall(encode_frame(FrameType.HELLO, hello) + encode_frame(FrameType.GREETING, b""))
            self.go.wait(60)
            for frame in self._frames:
                channel.sendall(frame)
            self.sent.set()
            self.done.wait(10)


@pytest.mark.parametrize("new_loop", [uvloop.new_event_loop, asyncio.new_event_loop])
async def test_c11_s3_what_had_arrived_is_read_before_a_timer_counts(
    tmp_path: Path, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """The loop stands still past the timer's end while megabytes arrive; all of them reach the node first."""
    count = 40
    site = Site(tmp_path)
    journal = Journal()
    journal.keys = frozenset({key_of(1), key_of(2)})
    runtime = Runtime(journal, journal, journal, journal, now_ms, dict)  # type: ignore[arg-type]
    transport = site.transport(1, runtime)
    frames = [encode_frame(FrameType.CONSENSUS, bytes([KIND_CONSENSUS]) * 50_000) for _ in range(count)]
    peer = BlockingPeer(site, transport.listener.port, frames)
    transport.start()
    runtime.start(transport)
    peer.start()
    await until(lambda: bool(transport.link_to(key_of(2))))
    journal.then(PeerMessage, SetTimer(Timer.VIEW, 1, 30))
    runtime.peer_message(key_of(2), b"", True)
    peer.go.set()
    peer.sent.wait(0.3)
    threading.Event().wait(0.1)
    await until(lambda: journal.events[-1] == TimerExpired(Timer.VIEW, 1))
    assert sum(isinstance(event, PeerMessage) for event in journal.events) == count + 1
    peer.done.set()
    await transport.close()
    await runtime.stop()
