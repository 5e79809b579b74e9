"""docs/protocol.md, checked by a second implementation written from it alone: nothing of the suite is imported but the
signature library."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from nacl.signing import VerifyKey

DOCUMENT = Path(__file__).parents[3] / "docs" / "protocol.md"
EXAMPLES: dict[str, str] = dict(
    re.findall(r"^```(?:hex|text) (\S+)\n(.*?)\n```$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
)


def raw(name: str) -> bytes:
    """A `hex` example as bytes."""
    return bytes.fromhex(EXAMPLES[name].replace("\n", ""))


def h(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def t(tag: str, data: bytes) -> bytes:
    return h(h(tag.encode()) * 2 + data)


def merkle(leaves: list[bytes]) -> bytes:
    if not leaves:
        return h(b"")
    if len(leaves) == 1:
        return h(b"\x00" + leaves[0])
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return h(b"\x01" + merkle(leaves[:split]) + merkle(leaves[split:]))


def canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


class Cursor:
    """Reads the document's binary notation."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, size: int) -> bytes:
        self.at += size
        assert self.at <= len(self.data)
        return self.data[self.at - size : self.at]

    def u(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def text8(self) -> str:
        return self.take(self.u(1)).decode("ascii")

    def blob(self) -> bytes:
        return self.take(self.u(4))

    def end(self) -> None:
        assert self.at == len(self.data)


def header_fields(data: bytes) -> dict[str, Any]:
    cursor = Cursor(data)
    fields: dict[str, Any] = {"protocol_version": cursor.u(2), "network": cursor.text8()}
    fields |= {"genesis_id": cursor.take(32), "height": cursor.u(8), "time_ms": cursor.u(8)}
    fields |= {"parent_id": cursor.take(32), "proposer": cursor.u(2), "tx_root": cursor.take(32)}
    fields |= {"tx_count": cursor.u(4), "receipt_root": cursor.take(32), "receipt_count": cursor.u(4)}
    fields |= {"snapshot_root": cursor.take(32)}
    fields |= {"snapshot_count": cursor.u(4), "change_root": cursor.take(32), "change_count": cursor.u(4)}
    fields |= {"state_root": cursor.take(32), "validators_hash": cursor.take(32)}
    fields["next_validators_hash"] = cursor.take(32)
    cursor.end()
    return fields


def validator_keys(data: bytes) -> list[bytes]:
    cursor = Cursor(data)
    assert cursor.u(1) == 1
    keys = []
    for _ in range(cursor.u(2)):
        cursor.text8()
        cursor.blob().decode()
        keys.append(cursor.blob())
    cursor.end()
    return keys


def test_transaction() -> None:
    envelope = EXAMPLES["transaction.envelope"]
    document = json.loads(envelope)
    assert canonical(document) == envelope.encode()
    identity = t("tongjian/transaction/v1", canonical(document["transaction"]))
    assert identity == raw("transaction.transaction_id")
    assert t("tongjian/envelope/v1", envelope.encode()) == raw("transaction.envelope_hash")
    for signer, signature in zip(document["transaction"]["signers"], document["signatures"], strict=True):
        VerifyKey(bytes.fromhex(signer.removeprefix("ed25519:"))).verify(identity, bytes.fromhex(signature))


def test_validator_set_and_genesis() -> None:
    assert len(validator_keys(raw("validators.bytes"))) == 4
    assert t("tongjian/validators/v1", raw("validators.bytes")) == raw("validators.hash")
    document = EXAMPLES["genesis.document"]
    assert canonical(json.loads(document)) == document.encode()
    assert t("tongjian/genesis/v1", document.encode()) == raw("genesis.id")


def test_header() -> None:
    fields = header_fields(raw("header.bytes"))
    assert fields["protocol_version"] == 1
    assert fields["height"] == 1
    assert fields["parent_id"] == fields["genesis_id"] == raw("genesis.id")
    assert fields["validators_hash"] == raw("validators.hash")
    assert fields["receipt_root"] == merkle([])
    assert fields["receipt_count"] == 0
    assert t("tongjian/header/v1", raw("header.bytes")) == raw("header.id")


def test_certificate_makes_its_header_final() -> None:
    header = header_fields(raw("certificate.header"))
    cursor = Cursor(raw("certificate.bytes"))
    assert cursor.u(1) == 1
    height, view, block_id = cursor.u(8), cursor.u(8), cursor.take(32)
    assert height == header["height"]
    assert block_id == t("tongjian/header/v1", raw("certificate.header"))
    network = header["network"].encode()
    signed = t(
        "tongjian/vote/commit/v1",
        header["genesis_id"]
        + bytes([len(network)])
        + network
        + height.to_bytes(8, "big")
        + view.to_bytes(8, "big")
        + block_id,
    )
    assert signed == raw("certificate.commit_payload")
    keys, members = validator_keys(raw("validators.bytes")), []
    for _ in range(cursor.u(2)):
        members.append(cursor.u(2))
        VerifyKey(keys[members[-1]]).verify(signed, cursor.blob())
    cursor.end()
    n = len(keys)
    quorum = -(-(n + (n - 1) // 3 + 1) // 2)
    assert len(set(members)) >= quorum
    assert members == sorted(set(members))


def test_receipts_and_snapshots() -> None:
    receipts = [line.encode() for line in EXAMPLES["receipt.bytes"].split("\n")]
    assert merkle(receipts) == raw("receipt.root")
    snapshots = [line.encode() for line in EXAMPLES["snapshot.snapshots"].split("\n")]
    assert merkle(snapshots) == raw("snapshot.root")
    for text in (*receipts, *snapshots):
        assert canonical(json.loads(text)) == text
