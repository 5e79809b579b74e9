"""docs/protocol-transport.md: its examples, recomputed from its words alone, and what the code makes of the same."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from nacl.signing import SigningKey

from common.core.suite import ED25519_SHA256
from common.node.peer.frames import FRAME_LIMITS, FrameType, encode_frame
from common.node.peer.hello import HELLO_LIFETIME_MS, ChannelBinding, ChannelIdentity, ChannelRole, Side, make_hello

DOCUMENT = (Path(__file__).resolve().parents[3] / "docs" / "protocol-transport.md").read_text()
EXAMPLES = {name: bytes.fromhex(digits) for name, digits in re.findall(r"```hex (\S+)\n([0-9a-f\n]+)\n```", DOCUMENT)}

SEED = bytes([2]) * 32
GENESIS_ID = bytes(range(32))
DIALLER, LISTENER = b"certificate of the dialler", b"certificate of the listener"
EXPIRES_MS = 1_800_043_200_000


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def tagged(tag: bytes, data: bytes) -> bytes:
    return sha256(sha256(tag) * 2 + data)


def u(size: int, value: int) -> bytes:
    return value.to_bytes(size, "big")


def signed_part() -> bytes:
    key = bytes(SigningKey(SEED).verify_key)
    return b"".join(
        [
            u(1, 1), GENESIS_ID, u(1, 7), b"beijing", u(1, 1), u(1, 1), u(4, 32), key,
            sha256(DIALLER), sha256(LISTENER), u(8, EXPIRES_MS),
        ]
    )  # fmt: skip


def test_the_examples_follow_from_the_words() -> None:
    signed = signed_part()
    digest = tagged(b"tongjian/hello/v1", signed)
    payload = signed + u(4, 64) + SigningKey(SEED).sign(digest).signature
    assert EXAMPLES["hello.signed_part"] == signed
    assert EXAMPLES["hello.signed_hash"] == digest
    assert EXAMPLES["hello.frame"] == u(4, len(payload)) + u(1, 1) + payload
    assert EXAMPLES["frame.ping"] == u(4, 8) + u(1, 4) + bytes.fromhex("0000018bcfe56800")


def test_the_code_makes_the_same_bytes() -> None:
    suite = ED25519_SHA256
    identity = ChannelIdentity(suite, GENESIS_ID, "beijing", SEED, suite.public_key(SEED))
    binding = ChannelBinding(Side.DIALLER, DIALLER, LISTENER)
    hello = make_hello(identity, binding, ChannelRole.VALIDATOR, EXPIRES_MS - HELLO_LIFETIME_MS)
    assert encode_frame(FrameType.HELLO, hello) == EXAMPLES["hello.frame"]
    assert encode_frame(FrameType.PING, bytes.fromhex("0000018bcfe56800")) == EXAMPLES["frame.ping"]


def test_the_table_of_frames_is_the_code_s() -> None:
    rows = re.findall(r"^\| (\d+) \| ([A-Z]+) \| ([^|]+) \|", DOCUMENT, re.MULTILINE)
    table = {}
    for number, name, size in rows:
        millions = re.fullmatch(r"(\d+) MiB(?: \+ (\d+))?", size.strip())
        limit = int(millions[1]) * 2**20 + int(millions[2] or 0) if millions else int(size.replace(",", ""))
        table[FrameType(int(number))] = (name, limit)
    assert table == {kind: (FrameType(kind).name, limit) for kind, limit in FRAME_LIMITS.items()}
