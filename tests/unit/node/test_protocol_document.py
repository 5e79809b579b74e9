"""The examples of docs/protocol-peers.md are what the code makes."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.node.logic.execution.used_nonces import nonce_key
from common.node.logic.wire import body_messages as bm
from common.node.logic.wire import peer_messages as pm
from tests.unit.node.toy import SUITE

DOCUMENT = (Path(__file__).resolve().parents[3] / "docs" / "protocol-peers.md").read_text(encoding="utf-8")
ID = bytes(range(32))
EXAMPLES = {
    "status": pm.Status(7, ID).encode(),
    "transactions": pm.Transactions((b"{}", b"[1]")).encode(),
    "get transactions": pm.GetTransactions(9, (ID,)).encode(),
    "get blocks": pm.GetBlocks(10, 1001, 64).encode(),
    "answer blocks": pm.AnswerBlocks(10, 1000, ()).encode(),
    "get body part": bm.GetBodyPart(11, ID, 0).encode(),
    "answer body part": bm.AnswerBodyPart(11, 0, b"").encode(),
    "greeting": pm.Hello(7, ID, b"").encode(),
}


def documented() -> list[str]:
    """Every line of hexadecimal groups in the document."""
    lines = [line.replace(" ", "") for line in DOCUMENT.splitlines()]
    return [line for line in lines if line and set(line) <= set("0123456789abcdef")]


@pytest.mark.parametrize("name", EXAMPLES)
def test_documented_bytes(name: str) -> None:
    assert EXAMPLES[name].hex() in documented()


def test_every_documented_line_is_an_example() -> None:
    assert sorted(documented()) == sorted(example.hex() for example in EXAMPLES.values())


def test_documented_nonce_key() -> None:
    assert nonce_key(SUITE, "ed25519:" + "0" * 64, "n-1").hex() in DOCUMENT


def test_documented_bounds() -> None:
    for bound in (pm.MAX_HASHES, pm.MAX_ENVELOPES):
        assert f"{bound:,}" in DOCUMENT
    assert f"{bm.MAX_BODY_PART_BYTES:,}" in DOCUMENT
    assert pm.MAX_BLOCKS == 256
    assert pm.ANSWER_BYTES == 4 * 1024 * 1024
    assert pm.MAX_CONSENSUS_BYTES == 8 * 1024 * 1024
    assert pm.MAX_PAYLOAD_BYTES == 17 * 1024 * 1024
