"""The binary writer and reader: round trips, strictness, bounded allocation."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.core.block import Block
from common.core.certificate import Certificate
from common.core.codec import Reader, Writer
from common.core.errors import CodecError, InvariantBroken, Malformed, TooLarge
from common.core.header import Header
from common.core.validators import ValidatorSet
from tests.support.refusals import refused
from tests.unit.core import builders

FIELDS: dict[str, tuple[Callable[..., Any], st.SearchStrategy[Any]]] = {
    "u8": (lambda reader: reader.u8(), st.integers(0, 2**8 - 1)),
    "u16": (lambda reader: reader.u16(), st.integers(0, 2**16 - 1)),
    "u32": (lambda reader: reader.u32(), st.integers(0, 2**32 - 1)),
    "u64": (lambda reader: reader.u64(), st.integers(0, 2**64 - 1)),
    "text8": (lambda reader: reader.text8(), st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=255)),
    "blob": (lambda reader: reader.blob(64), st.binary(max_size=64)),
}
LISTS = st.lists(st.sampled_from(sorted(FIELDS)).flatmap(lambda kind: st.tuples(st.just(kind), FIELDS[kind][1])))


@given(LISTS)
def test_what_is_written_is_read_back(fields: list[tuple[str, Any]]) -> None:
    writer = Writer()
    for kind, value in fields:
        getattr(writer, kind)(value)
    reader = Reader(writer.bytes())
    assert [(kind, FIELDS[kind][0](reader)) for kind, _ in fields] == fields
    reader.end()


def test_integers_are_big_endian() -> None:
    assert Writer().u8(1).u16(2).u32(3).u64(4).bytes().hex() == "010002000000030000000000000004"


@pytest.mark.parametrize(
    "write",
    [
        lambda writer: writer.u8(256),
        lambda writer: writer.u16(-1),
        lambda writer: writer.u64(2**64),
        lambda writer: writer.fixed(b"x", 2),
        lambda writer: writer.text8("ä"),
        lambda writer: writer.text8("x" * 256),
        lambda writer: writer.text8("a\n"),
    ],
)
def test_values_that_do_not_fit_are_our_own_bug(write: Callable[[Writer], Writer]) -> None:
    with pytest.raises(InvariantBroken):
        write(Writer())


@pytest.mark.parametrize(
    ("data", "read", "code"),
    [
        (b"", lambda reader: reader.u8(), "codec_truncated"),
        (b"\x00" * 7, lambda reader: reader.u64(), "codec_truncated"),
        (b"\x05abcd", lambda reader: reader.text8(), "codec_truncated"),
        (b"\x01\xe4", lambda reader: reader.text8(), "codec_text"),
        (b"\x01\n", lambda reader: reader.text8(), "codec_text"),
        (b"\x00\x00\x00\x05abcd", lambda reader: reader.blob(10), "codec_truncated"),
        (b"\x00\x00\x00\x05abcde", lambda reader: reader.blob(4), "codec_too_long"),
        (b"\x00", lambda reader: reader.end(), "codec_trailing_bytes"),
    ],
)
def test_e2_short_long_and_trailing_bytes_are_refused(data: bytes, read: Callable[[Reader], Any], code: str) -> None:
    with refused(code, CodecError):
        read(Reader(data))


def test_e2_a_claimed_length_allocates_nothing() -> None:
    tracemalloc.start()
    try:
        for data in (b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff" + b"x" * 100):
            with pytest.raises(CodecError):
                Reader(data).blob(2**32)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 100_000


def samples() -> dict[str, tuple[bytes, Callable[[bytes], Any]]]:
    validators = builders.validator_set(4)
    envelopes = (builders.envelope(), builders.envelope(nonce="n-2"))
    header = builders.header(validators, envelopes)
    return {
        "header": (header.encode(), Header.decode),
        "certificate": (builders.certificate(header, [0, 1, 3]).encode(), Certificate.decode),
        "validators": (validators.encode(), ValidatorSet.decode),
        "block": (Block(header, envelopes).encode(), Block.decode),
    }


SAMPLES = samples()


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_e2_structures_round_trip_and_have_one_encoding(name: str) -> None:
    data, decode = SAMPLES[name]
    assert decode(data).encode() == data


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_e2_every_truncation_and_any_trailing_byte_is_refused(name: str) -> None:
    data, decode = SAMPLES[name]
    for end in range(len(data)):
        with pytest.raises(Malformed):
            decode(data[:end])
    with pytest.raises(Malformed):
        decode(data + b"\x00")


@pytest.mark.parametrize("name", sorted(SAMPLES))
@given(seed=st.data())
def test_e2_damaged_structures_are_refused_or_reencode_to_themselves(name: str, seed: st.DataObject) -> None:
    data, decode = SAMPLES[name]
    at = seed.draw(st.integers(0, len(data) - 1))
    damaged = data[:at] + bytes((data[at] ^ seed.draw(st.integers(1, 255)),)) + data[at + 1 :]
    try:
        value = decode(damaged)
    except (Malformed, TooLarge):
        return
    assert value.encode() == damaged


def test_e2_a_block_that_claims_too_many_envelopes_is_refused_at_once() -> None:
    header = builders.header(builders.validator_set(1)).encode()
    with refused("codec_truncated", CodecError):
        Block.decode(Writer().blob(header).u32(2**32 - 1).bytes() + bytes(100))


def test_n1_a_block_above_sixteen_mebibytes_is_refused() -> None:
    with pytest.raises(TooLarge):
        Block.decode(bytes(16 * 1024 * 1024 + 1))
