"""The examples of docs/protocol-consensus.md, recomputed from its rules with SHA-256 and an Ed25519 library alone.

Nothing of `common.consensus` takes part, but for the comparison with the frozen vectors at the end.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
from pathlib import Path

import pytest
from nacl.signing import SigningKey

from common.consensus import messages, params
from common.core.validators import MAX_VALIDATORS

ROOT = Path(__file__).resolve().parents[3]
DOCUMENT = (ROOT / "docs" / "protocol-consensus.md").read_text(encoding="utf-8")
EXAMPLES = {
    name: bytes.fromhex(body.replace("\n", ""))
    for name, body in re.findall(r"```hex (\S+)\n([0-9a-f\n]+)\n```", DOCUMENT)
}
GENESIS_ID = hashlib.sha256(b"genesis").digest()
ENVELOPE = hashlib.sha256(b"an envelope").digest()
KEYS = [SigningKey(number.to_bytes(32, "big")) for number in range(1000, 1004)]
TYPES = {
    "proposal": (1, "tongjian/proposal/v1"),
    "prepare": (2, "tongjian/vote/prepare/v1"),
    "commit": (3, "tongjian/vote/commit/v1"),
    "view_change_empty": (4, "tongjian/view-change/v1"),
    "view_change_prepared": (4, "tongjian/view-change/v1"),
    "new_view": (5, "tongjian/new-view/v1"),
}


def tagged(tag: str, data: bytes) -> bytes:
    """T of protocol.md."""
    digest = hashlib.sha256(tag.encode()).digest()
    return hashlib.sha256(digest + digest + data).digest()


def prefix(height: int, view: int) -> bytes:
    """Section 2."""
    return GENESIS_ID + b"\x07beijing" + struct.pack(">QQ", height, view)


def blob(data: bytes, at: int) -> tuple[bytes, int]:
    """A blob and the place behind it."""
    (size,) = struct.unpack_from(">I", data, at)
    return data[at + 4 : at + 4 + size], at + 4 + size


def rest_of(name: str, body: bytes) -> bytes:
    """What is signed behind the prefix, from the body of the message."""
    match TYPES[name][0]:
        case 1:
            header, at = blob(body, 0)
            (count,) = struct.unpack_from(">I", body, at)
            return tagged("tongjian/header/v1", header) + hashlib.sha256(body[at + 4 : at + 4 + 32 * count]).digest()
        case 2 | 3:
            return body
        case 4:
            return b"\x00" if body == b"\x00" else b"\x01" + hashlib.sha256(blob(body, 1)[0]).digest()
        case _:
            (count,) = struct.unpack_from(">H", body, 0)
            at = 2
            for _ in range(count):
                _, at = blob(body, at)
            proposal, _ = blob(body, at)
            return hashlib.sha256(body[2:at]).digest() + signed_bytes("proposal", proposal)


def signed_bytes(name: str, wire: bytes) -> bytes:
    """The 32 bytes that the signer signs."""
    _, _, height, view, _ = struct.unpack_from(">BBQQH", wire)
    signature_at = len(wire) - 68
    return tagged(TYPES[name][1], prefix(height, view) + rest_of(name, wire[20:signature_at]))


@pytest.mark.parametrize("name", TYPES)
def test_documented_message(name: str) -> None:
    wire = EXAMPLES[f"{name}.wire"]
    version, type_number, height, _, signer = struct.unpack_from(">BBQQH", wire)
    assert (version, type_number, height) == (1, TYPES[name][0], 1)
    payload = signed_bytes(name, wire)
    assert payload == EXAMPLES[f"{name}.signed"]
    assert wire[-68:-64] == b"\x00\x00\x00\x40"
    assert KEYS[signer].sign(payload).signature == wire[-64:]


def test_documented_prefix_and_block() -> None:
    assert EXAMPLES["prefix"] == prefix(1, 0)
    header, at = blob(EXAMPLES["proposal.wire"], 20)
    assert EXAMPLES["block_id"] == tagged("tongjian/header/v1", header)
    assert EXAMPLES["proposal.wire"][at : at + 36] == b"\x00\x00\x00\x01" + ENVELOPE
    for name in ("prepare", "commit"):
        assert EXAMPLES[f"{name}.wire"][20:52] == EXAMPLES["block_id"]


def test_documented_certificate_holds_real_prepares() -> None:
    certificate, _ = blob(EXAMPLES["view_change_prepared.wire"], 21)
    version, height, view, block_id, count = struct.unpack_from(">BQQ32sH", certificate)
    assert (version, height, view, block_id, count) == (1, 1, 0, EXAMPLES["block_id"], 3)
    payload = tagged("tongjian/vote/prepare/v1", prefix(1, 0) + block_id)
    at = 51
    for expected in (0, 1, 2):
        (index,) = struct.unpack_from(">H", certificate, at)
        signature, at = blob(certificate, at + 2)
        assert index == expected
        assert KEYS[index].sign(payload).signature == signature
    assert at == len(certificate)


def test_documented_new_view_repeats_the_same_header() -> None:
    header, _ = blob(EXAMPLES["proposal.wire"], 20)
    assert EXAMPLES["new_view.wire"].count(header) == 1


def test_documented_examples_are_the_vectors() -> None:
    vectors = json.loads((ROOT / "tests" / "vectors" / "consensus_v1.json").read_text())
    for name, case in zip(TYPES, vectors["messages"], strict=True):
        assert EXAMPLES[f"{name}.wire"].hex() == case["wire"]
    assert len(EXAMPLES) == 2 * len(TYPES) + 2


def test_documented_bounds() -> None:
    assert f"{messages.MAX_ENVELOPES:,} envelope hashes" in DOCUMENT
    assert (MAX_VALIDATORS, params.MAX_VOTED_VIEWS_PER_MEMBER, params.MAX_HEIGHTS_AHEAD) == (100, 8, 4)
    assert params.MAX_KEPT_MESSAGES_PER_PEER == 64
    assert params.MAX_KEPT_BYTES_PER_PEER == 4 * 1024 * 1024


def test_documented_quorums() -> None:
    rows = re.findall(r"^\| ([nfq]) \| ([0-9 |]+)\|$", DOCUMENT, re.MULTILINE)
    table = {name: [int(cell) for cell in cells.split("|") if cell.strip()] for name, cells in rows}
    for size, faults, quorum in zip(table["n"], table["f"], table["q"], strict=True):
        assert faults == (size - 1) // 3
        assert quorum == -(-(size + faults + 1) // 2)
