"""The hello: what binds a channel to a validator, and every way in which it fails to."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from common.core.codec import Writer
from common.core.errors import CodecError, Rejected
from common.core.suite import ED25519_SHA256
from common.node.peer.hello import (
    HELLO_LIFETIME_MS,
    HELLO_TAG,
    MAX_HELLO_LIFETIME_MS,
    ChannelBinding,
    ChannelHello,
    ChannelRole,
    Side,
    make_hello,
    verify_hello,
)
from tests.unit.runtime.network import identity_of, key_of, seed_of

NOW_MS = 1_800_000_000_000
MINE = identity_of(1)
THEIRS = identity_of(2)
MY_BINDING = ChannelBinding(Side.LISTENER, b"certificate of 1", b"certificate of 2")
THEIR_BINDING = ChannelBinding(Side.DIALLER, b"certificate of 2", b"certificate of 1")


def their_hello(**changes: Any) -> bytes:
    """Their hello with some fields changed, signed again with their key."""
    hello = ChannelHello.decode(make_hello(THEIRS, THEIR_BINDING, ChannelRole.VALIDATOR, NOW_MS))
    changed = dataclasses.replace(hello, **changes)
    message = ED25519_SHA256.tagged_hash(HELLO_TAG, changed.signed_part())
    return dataclasses.replace(changed, signature=ED25519_SHA256.sign(seed_of(2), message)).encode()


def code_of(data: bytes, binding: ChannelBinding = MY_BINDING, now_ms: int = NOW_MS) -> str:
    with pytest.raises(Rejected) as caught:
        verify_hello(data, MINE, binding, now_ms)
    return caught.value.code


def test_an_honest_hello_is_accepted() -> None:
    hello = verify_hello(their_hello(), MINE, MY_BINDING, NOW_MS)
    assert hello.public_key == key_of(2)
    assert hello.role is ChannelRole.VALIDATOR
    assert hello.expires_ms == NOW_MS + HELLO_LIFETIME_MS


def test_c15_clocks_an_hour_apart_still_meet() -> None:
    for skew_ms in (-3_600_000, 3_600_000):
        verify_hello(their_hello(), MINE, MY_BINDING, NOW_MS + skew_ms)


def test_c10_a_hello_of_another_deployment_or_network_is_refused() -> None:
    assert code_of(their_hello(genesis_id=bytes(32))) == "hello_wrong_genesis"
    assert code_of(their_hello(network="shanghai")) == "hello_wrong_network"


def test_n5_a_hello_taken_from_another_channel_is_refused() -> None:
    assert (
        code_of(their_hello(), ChannelBinding(Side.LISTENER, b"certificate of 1", b"stolen"))
        == "hello_wrong_certificate"
    )
    assert (
        code_of(their_hello(), ChannelBinding(Side.LISTENER, b"another", b"certificate of 2"))
        == "hello_wrong_certificate"
    )


def test_n5_a_hello_sent_back_to_its_author_is_refused() -> None:
    mine = make_hello(MINE, MY_BINDING, ChannelRole.VALIDATOR, NOW_MS)
    assert code_of(mine) == "hello_wrong_side"
    reflected = ChannelBinding(Side.DIALLER, b"certificate of 2", b"certificate of 1")
    assert code_of(mine, reflected) == "hello_own_key"


def test_c8_a_second_process_with_our_key_is_refused() -> None:
    twin = make_hello(MINE, THEIR_BINDING, ChannelRole.VALIDATOR, NOW_MS)
    assert code_of(twin) == "hello_own_key"


def test_n5_a_key_that_did_not_sign_is_refused() -> None:
    assert code_of(their_hello(public_key=key_of(3))) == "hello_bad_signature"
    data = bytearray(their_hello())
    data[-1] ^= 1
    assert code_of(bytes(data)) == "hello_bad_signature"


def test_e3_a_key_of_small_order_is_refused() -> None:
    assert code_of(their_hello(public_key=bytes([1]) + bytes(31))) == "public_key_unsafe"


def test_n5_an_expired_or_everlasting_hello_is_refused() -> None:
    assert code_of(their_hello(), now_ms=NOW_MS + HELLO_LIFETIME_MS) == "hello_expired"
    assert code_of(their_hello(expires_ms=NOW_MS + MAX_HELLO_LIFETIME_MS + 1)) == "hello_lifetime"


def test_every_changed_byte_is_refused() -> None:
    good = their_hello()
    for at in range(len(good)):
        data = bytearray(good)
        data[at] ^= 0x40
        with pytest.raises(Rejected):
            verify_hello(bytes(data), MINE, MY_BINDING, NOW_MS)


def test_e2_encoding_is_strict() -> None:
    good = their_hello()
    assert ChannelHello.decode(good).encode() == good
    for bad in (good[:-1], good + b"\0", b"", b"\x02" + good[1:]):
        with pytest.raises(CodecError):
            ChannelHello.decode(bad)
    unknown_side = bytearray(good)
    unknown_side[1 + 32 + 1 + len("beijing")] = 3
    with pytest.raises(CodecError):
        ChannelHello.decode(bytes(unknown_side))


def test_e4_the_signed_part_is_length_delimited() -> None:
    """Moving a byte between neighbouring fields changes the signed bytes."""
    hello = ChannelHello.decode(their_hello())
    longer = dataclasses.replace(hello, network="beijingx", public_key=hello.public_key)
    assert hello.signed_part() != longer.signed_part()
    assert hello.signed_part().startswith(Writer().u8(1).fixed(THEIRS.genesis_id, 32).text8("beijing").bytes())
