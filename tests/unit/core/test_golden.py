"""The bytes on the wire are frozen; see `golden.py` for how to change them on purpose."""

from __future__ import annotations

import json

import pytest

from common.core.certificate import Certificate, commit_payload, verify_certificate
from common.core.header import Header
from common.core.validators import ValidatorSet
from tests.unit.core import golden
from tests.unit.core.builders import SUITE

DOCUMENTS = golden.documents()


@pytest.mark.parametrize("name", sorted(DOCUMENTS))
def test_golden_bytes_have_not_changed(name: str) -> None:
    assert (golden.DIRECTORY / f"{name}.json").read_text(encoding="utf-8") == golden.render(DOCUMENTS[name])


def test_the_header_id_follows_from_the_published_layout_alone() -> None:
    """The layout of docs/protocol.md, written out here once more by hand."""
    frozen = json.loads((golden.DIRECTORY / "header_v1.json").read_text(encoding="utf-8"))
    f = frozen["fields"]
    data = f["protocol_version"].to_bytes(2, "big") + bytes([len(f["network"])]) + f["network"].encode()
    data += bytes.fromhex(f["genesis_id"]) + f["height"].to_bytes(8, "big") + f["time_ms"].to_bytes(8, "big")
    data += bytes.fromhex(f["parent_id"]) + f["proposer"].to_bytes(2, "big")
    data += bytes.fromhex(f["tx_root"]) + f["tx_count"].to_bytes(4, "big") + bytes.fromhex(f["receipt_root"])
    data += f["receipt_count"].to_bytes(4, "big")
    data += bytes.fromhex(f["snapshot_root"]) + f["snapshot_count"].to_bytes(4, "big")
    data += bytes.fromhex(f["change_root"]) + f["change_count"].to_bytes(4, "big") + bytes.fromhex(f["state_root"])
    data += bytes.fromhex(f["validators_hash"]) + bytes.fromhex(f["next_validators_hash"])
    assert data.hex() == frozen["bytes"]
    tag = SUITE.hash(b"tongjian/header/v1")
    assert SUITE.hash(tag + tag + data).hex() == frozen["id"]


def test_the_frozen_certificate_proves_the_frozen_header() -> None:
    frozen = json.loads((golden.DIRECTORY / "certificate_v1.json").read_text(encoding="utf-8"))
    members = json.loads((golden.DIRECTORY / "validators_v1.json").read_text(encoding="utf-8"))
    header = Header.decode(bytes.fromhex(frozen["header"]))
    certificate = Certificate.decode(bytes.fromhex(frozen["bytes"]))
    verify_certificate(SUITE, ValidatorSet.decode(bytes.fromhex(members["bytes"])), header, certificate)
    tag = SUITE.hash(b"tongjian/vote/commit/v1")
    body = header.genesis_id + b"\x07beijing" + (1).to_bytes(8, "big") + (2).to_bytes(8, "big") + header.id(SUITE)
    assert SUITE.hash(tag + tag + body).hex() == frozen["commit_payload"]
    assert commit_payload(SUITE, header.genesis_id, "beijing", 1, 2, header.id(SUITE)).hex() == frozen["commit_payload"]
