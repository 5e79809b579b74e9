"""Signatures and keys of the default suite; verdicts on edge cases are pinned (attack E3)."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.core.errors import Malformed
from common.core.suite import parse_hex, suite_named
from tests.support.refusals import refused
from tests.unit.core import builders
from tests.unit.core.builders import SUITE

FIELD_PRIME = 2**255 - 19
IDENTITY = (1).to_bytes(32, "little")
SMALL_ORDER_KEYS = {
    "identity": IDENTITY,
    "order 2": (FIELD_PRIME - 1).to_bytes(32, "little"),
    "order 4": bytes(32),
    "order 4, other sign": bytes(31) + b"\x80",
    "order 8": bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
    "order 8, other": bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
}
NON_CANONICAL_KEYS = {
    "p": FIELD_PRIME.to_bytes(32, "little"),
    "p + 1": (FIELD_PRIME + 1).to_bytes(32, "little"),
    "all ones": b"\xff" * 32,
    "identity with the sign bit": bytes([1]) + bytes(30) + b"\x80",
}


def test_tagged_hash_is_the_written_formula() -> None:
    tag = hashlib.sha256(b"tongjian/test").digest()
    assert SUITE.tagged_hash("tongjian/test", b"data") == hashlib.sha256(tag + tag + b"data").digest()
    assert SUITE.tagged_hash("tongjian/test", b"data") == SUITE.tagged_hash("tongjian/test", b"data")


@settings(max_examples=30)
@given(st.binary(min_size=32, max_size=32), st.binary(max_size=100))
def test_a_signature_verifies_and_no_other_message_or_key_does(seed: bytes, message: bytes) -> None:
    key, signature = SUITE.public_key(seed), SUITE.sign(seed, message)
    assert SUITE.verify(key, message, signature)
    assert not SUITE.verify(key, message + b"x", signature)
    assert not SUITE.verify(SUITE.public_key(bytes([seed[0] ^ 1]) + seed[1:]), message, signature)


@settings(max_examples=50)
@given(st.binary(max_size=70), st.binary(max_size=70), st.binary(max_size=140))
def test_e3_verify_never_raises_on_arbitrary_bytes(key: bytes, message: bytes, signature: bytes) -> None:
    assert not SUITE.verify(key, message, signature)


def test_e3_a_malleated_signature_is_refused() -> None:
    key, signature = SUITE.public_key(builders.seed(1)), SUITE.sign(builders.seed(1), b"m")
    assert not SUITE.verify(key, b"m", builders.malleated(signature))


@pytest.mark.parametrize("name", sorted(SMALL_ORDER_KEYS | NON_CANONICAL_KEYS))
def test_e3_unsafe_keys_are_refused_at_enrolment_and_verify_nothing(name: str) -> None:
    key = (SMALL_ORDER_KEYS | NON_CANONICAL_KEYS)[name]
    for check in (lambda: SUITE.check_public_key(key), lambda: SUITE.parse_key(SUITE.format_key(key))):
        with refused("public_key_unsafe", Malformed):
            check()
    # R = identity and S = 0 satisfy the bare equation under a key of small order, for some or every message.
    for message in range(16):
        assert not SUITE.verify(key, bytes([message]), IDENTITY + bytes(32))


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_e3_keys_and_signatures_of_other_lengths_are_refused(length: int) -> None:
    with refused("public_key_length", Malformed):
        SUITE.check_public_key(b"\x01" * length)
    assert not SUITE.verify(b"\x01" * length, b"m", bytes(64))
    assert not SUITE.verify(SUITE.public_key(builders.seed(1)), b"m", b"\x01" * length if length != 64 else bytes(63))


def test_e3_bytes_do_not_move_between_signature_and_message() -> None:
    """libsodium takes one run of bytes, signature then message; only the length check keeps the two apart."""
    key, signature = SUITE.public_key(builders.seed(1)), SUITE.sign(builders.seed(1), b"abc")
    assert not SUITE.verify(key, b"bc", signature + b"a")
    assert not SUITE.verify(key, signature[63:] + b"abc", signature[:63])


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "public_key_prefix"),
        ("ed25519", "public_key_prefix"),
        ("sm2:" + "00" * 65, "public_key_prefix"),
        ("ED25519:" + "00" * 32, "public_key_prefix"),
        ("ed25519:" + "AB" * 32, "hex_invalid"),
        ("ed25519: " + "ab" * 32, "hex_invalid"),
        ("ed25519:" + "ab" * 31 + "a", "hex_invalid"),
        ("ed25519:" + "ab" * 31, "public_key_length"),
        ("ed25519:" + "éé" * 32, "hex_invalid"),
    ],
)
def test_key_text_has_one_spelling(text: str, code: str) -> None:
    with refused(code, Malformed):
        SUITE.parse_key(text)


def test_key_text_round_trip() -> None:
    key = SUITE.public_key(builders.seed(7))
    assert SUITE.parse_key(SUITE.format_key(key)) == key


def test_seeds_of_another_length_are_refused() -> None:
    with pytest.raises(Malformed):
        SUITE.sign(b"short", b"m")


def test_suites_are_found_by_name_only() -> None:
    assert suite_named("ed25519-sha256") is SUITE
    with refused("unknown_suite", Malformed):
        suite_named("rot13")


def test_hex_of_a_wrong_size_is_refused() -> None:
    assert parse_hex("00ff", "x", 2) == b"\x00\xff"
    with pytest.raises(Malformed) as caught:
        parse_hex("00ff", "x", 3)
    assert (caught.value.code, caught.value.parameters["field"]) == ("hex_length", "x")
