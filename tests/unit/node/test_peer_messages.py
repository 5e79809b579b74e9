"""Payloads between peers: strict, bounded, byte for byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.core.codec import Writer
from common.core.errors import CodecError
from common.node.logic.wire import peer_messages as pm
from tests.support.refusals import refused

HASH = bytes(range(32))
MESSAGES: list[pm.PeerPayload] = [
    pm.Consensus(b"\x01\x02abc"),
    pm.Transactions((b"{}", b"[1]")),
    pm.Transactions(()),
    pm.GetTransactions(7, (HASH, HASH[::-1])),
    pm.AnswerTransactions(7, (b"{}",)),
    pm.GetBlocks(8, 12, 64),
    pm.AnswerBlocks(8, 99, ((b"block", b"certificate"),)),
    pm.GetBody(9, 5, HASH),
    pm.AnswerBody(9, b""),
    pm.Status(2**40, HASH),
    pm.BlockDraft(5, 1, 1_700_000_000_000, HASH, (HASH,)),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_what_is_encoded_decodes_to_the_same(message: pm.PeerPayload) -> None:
    assert pm.decode_payload(message.encode()) == message


@pytest.mark.parametrize("message", MESSAGES[1:], ids=lambda message: type(message).__name__)
def test_e2_every_cut_and_every_trailing_byte_is_refused(message: pm.PeerPayload) -> None:
    data = message.encode()
    for size in range(len(data)):
        with pytest.raises(CodecError):
            pm.decode_payload(data[:size])
    with pytest.raises(CodecError):
        pm.decode_payload(data + b"\0")


@given(st.binary(max_size=200))
def test_e2_any_input_decodes_canonically_or_is_refused(data: bytes) -> None:
    try:
        message = pm.decode_payload(data)
    except CodecError:
        return
    assert message.encode() == data


def test_e2_unknown_kind_is_refused_with_its_own_code() -> None:
    with refused("peer_message_kind", CodecError):
        pm.decode_payload(b"\x63")


def test_n1_counts_beyond_their_bound_are_refused_before_their_items_are_read() -> None:
    too_many_hashes = Writer().u8(pm.KIND_GET_TRANSACTIONS).u32(1).u32(pm.MAX_HASHES + 1).bytes()
    too_many_envelopes = Writer().u8(pm.KIND_TRANSACTIONS).u32(0xFFFFFFFF).bytes()
    too_many_blocks = Writer().u8(pm.KIND_ANSWER_BLOCKS).u32(1).u64(1).u16(pm.MAX_BLOCKS + 1).bytes()
    no_blocks_asked = Writer().u8(pm.KIND_GET_BLOCKS).u32(1).u64(1).u16(0).bytes()
    for data in (too_many_hashes, too_many_envelopes, too_many_blocks, no_blocks_asked):
        with refused("peer_message_count", CodecError):
            pm.decode_payload(data)


def test_n1_long_fields_are_refused() -> None:
    long_envelope = Writer().u8(pm.KIND_TRANSACTIONS).u32(1).u32(pm.MAX_ENVELOPE_BYTES + 1).bytes()
    long_block = Writer().u8(pm.KIND_ANSWER_BODY).u32(1).u32(pm.MAX_BLOCK_BYTES + 1).bytes()
    for data in (long_envelope, long_block):
        with refused("codec_too_long", CodecError):
            pm.decode_payload(data)
    with refused("peer_message_too_large", CodecError):
        pm.decode_payload(b"\x01" + bytes(pm.MAX_CONSENSUS_BYTES + 1))


def test_hello_round_trip_and_strictness() -> None:
    hello = pm.Hello(12, HASH, b"signed by you")
    data = hello.encode()
    assert pm.Hello.decode(data) == hello
    for bad in (data[:-1], data + b"\0", b"\x02" + data[1:], b""):
        with pytest.raises(CodecError):
            pm.Hello.decode(bad)
