"""Frames and the send queue: bounds at every stage."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.core.errors import QuotaExceeded
from common.node.logic.node_effects import Channel
from common.node.peer.frames import (
    FRAME_LIMITS,
    GREETING_STAGE,
    OPEN_STAGE,
    FrameDecoder,
    FrameError,
    FrameType,
    encode_frame,
)
from common.node.peer.send_queue import SendQueue
from tests.support.refusals import refused

OPEN_TYPES = [FrameType.CONSENSUS, FrameType.TRANSACTIONS, FrameType.SYNC]


def open_decoder() -> FrameDecoder:
    decoder = FrameDecoder()
    decoder.allowed = OPEN_STAGE
    return decoder


@given(st.lists(st.tuples(st.sampled_from(OPEN_TYPES), st.binary(max_size=300))), st.integers(1, 50))
def test_frames_come_out_as_they_went_in_however_the_stream_is_cut(
    frames: list[tuple[FrameType, bytes]], size: int
) -> None:
    stream = b"".join(encode_frame(kind, payload) for kind, payload in frames)
    decoder = open_decoder()
    seen = [frame for at in range(0, len(stream), size) for frame in decoder.feed(stream[at : at + size])]
    assert seen == frames
    assert decoder.buffered_bytes == 0


@pytest.mark.parametrize("kind", list(FrameType))
def test_n1_an_oversize_frame_is_refused_by_its_header_alone(kind: FrameType) -> None:
    decoder = FrameDecoder()
    decoder.allowed = FRAME_LIMITS
    header = (FRAME_LIMITS[kind] + 1).to_bytes(4, "big") + bytes([kind])
    with refused("frame_too_large", FrameError):
        list(decoder.feed(header))
    with pytest.raises(FrameError):
        encode_frame(kind, bytes(FRAME_LIMITS[kind] + 1))


def test_n1_before_the_hello_only_a_hello_is_read() -> None:
    decoder = FrameDecoder()
    for kind in set(FrameType) - {FrameType.HELLO, FrameType.REFUSAL}:
        with refused("frame_unexpected", FrameError):
            list(FrameDecoder().feed(encode_frame(kind, b"")))
    assert list(decoder.feed(encode_frame(FrameType.HELLO, b"x"))) == [(FrameType.HELLO, b"x")]


def test_n5_a_second_hello_is_refused() -> None:
    for allowed in (GREETING_STAGE, OPEN_STAGE):
        decoder = FrameDecoder()
        decoder.allowed = allowed
        with pytest.raises(FrameError):
            list(decoder.feed(encode_frame(FrameType.HELLO, b"x")))


def test_an_unknown_type_is_refused() -> None:
    with refused("frame_type_unknown", FrameError):
        list(open_decoder().feed(b"\0\0\0\0\x63"))


def test_the_stage_may_change_between_two_frames_of_one_read() -> None:
    decoder = FrameDecoder()
    seen = []
    for kind, _ in decoder.feed(encode_frame(FrameType.HELLO, b"") + encode_frame(FrameType.GREETING, b"")):
        seen.append(kind)
        decoder.allowed = GREETING_STAGE
    assert seen == [FrameType.HELLO, FrameType.GREETING]


def test_urgent_frames_overtake() -> None:
    queue = SendQueue(1000)
    queue.put(Channel.SYNC, b"s")
    queue.put(Channel.TRANSACTIONS, b"t")
    queue.put(Channel.CONSENSUS, b"c")
    assert queue.take(100) == [b"c", b"t", b"s"]
    assert queue.waiting_bytes == 0


def test_n3_gossip_is_dropped_oldest_first_then_sync_and_consensus_never() -> None:
    queue = SendQueue(10)
    queue.put(Channel.TRANSACTIONS, b"t1")
    queue.put(Channel.TRANSACTIONS, b"t2")
    queue.put(Channel.SYNC, b"s1s1")
    queue.put(Channel.TRANSACTIONS, b"t3t3")
    assert (queue.dropped, queue.waiting_bytes) == (1, 10)
    queue.put(Channel.CONSENSUS, b"c1c1c1c1")
    assert queue.dropped == 4
    assert queue.take(100) == [b"c1c1c1c1"]


def test_n3_gossip_does_not_push_out_sync_answers() -> None:
    queue = SendQueue(10)
    queue.put(Channel.SYNC, b"s" * 8)
    queue.put(Channel.TRANSACTIONS, b"t" * 4)
    assert queue.dropped == 1
    assert queue.take(100) == [b"s" * 8]


def test_n5_a_peer_that_takes_no_consensus_messages_is_given_up() -> None:
    queue = SendQueue(10)
    queue.put(Channel.CONSENSUS, b"c" * 8)
    with refused("peer_too_slow", QuotaExceeded):
        queue.put(Channel.CONSENSUS, b"c" * 8)
    assert queue.waiting_bytes == 8


def test_a_frame_above_the_bound_may_wait_alone() -> None:
    queue = SendQueue(10)
    queue.put(Channel.SYNC, b"s" * 20)
    assert queue.take(5) == [b"s" * 20]


@given(st.lists(st.tuples(st.sampled_from(list(Channel)), st.integers(0, 30)), max_size=60))
def test_the_queue_counts_what_it_holds(steps: list[tuple[Channel, int]]) -> None:
    queue = SendQueue(64)
    for channel, size in steps:
        try:
            queue.put(channel, bytes(size))
        except QuotaExceeded:
            assert channel is Channel.CONSENSUS
        assert queue.waiting_bytes <= 64
    held = queue.waiting_bytes
    assert sum(len(frame) for frame in queue.take(1 << 30)) == held
