"""Blocks, receipts, snapshots and genesis documents: round trips, commitments, strictness."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.core import merkle
from common.core.block import Block
from common.core.codec import canonical_json, parse_json
from common.core.errors import InvariantBroken, Malformed, TooLarge
from common.core.genesis import build_genesis, parse_genesis
from common.core.header import Header
from common.core.parameters import PARAMETERS, ChainParameters, Parameter
from common.core.protocol import rehearse_next_version
from common.core.receipt import Receipt, receipt_root
from common.core.snapshot import MAX_SNAPSHOT_BYTES, snapshot_root
from common.model.object_header import SnapshotHeader, build_snapshot, read_header
from tests.support.refusals import refused
from tests.unit.core import builders
from tests.unit.core.builders import SUITE

TX_ID = bytes(range(32))
ENVELOPES = (builders.envelope(), builders.envelope(nonce="n-2"), builders.envelope(nonce="n-3"))
HEADER = builders.header(builders.validator_set(4), ENVELOPES)


def test_a_block_holds_exactly_the_envelopes_of_its_header() -> None:
    Block(HEADER, ENVELOPES).check_body(SUITE)
    Block(builders.header(builders.validator_set(1)), ()).check_body(SUITE)


@pytest.mark.parametrize(
    "envelopes", [ENVELOPES[:2], ENVELOPES[::-1], (*ENVELOPES, ENVELOPES[2]), (), (*ENVELOPES[:2], b"other")]
)
def test_e7_any_other_body_is_refused_under_the_same_id(envelopes: tuple[bytes, ...]) -> None:
    block = Block(HEADER, envelopes)
    assert block.header.id(SUITE) == Block(HEADER, ENVELOPES).header.id(SUITE)
    with refused("block_body_mismatch", Malformed):
        block.check_body(SUITE)


def test_e8_the_count_beside_the_root_is_checked() -> None:
    with pytest.raises(Malformed):
        Block(replace(HEADER, tx_count=2), ENVELOPES).check_body(SUITE)


@pytest.mark.parametrize("name", list(Header.__dataclass_fields__))
def test_e4_every_field_of_a_header_changes_its_id(name: str) -> None:
    value = getattr(HEADER, name)
    changed: Any = "shanghai" if name == "network" else value + 1 if isinstance(value, int) else SUITE.hash(value)
    assert replace(HEADER, **{name: changed}).id(SUITE) != HEADER.id(SUITE)


@pytest.mark.parametrize(
    "changes", [{"height": 2**64}, {"proposer": -1}, {"state_root": b"short"}, {"tx_count": 2**32}]
)
def test_a_header_that_does_not_fit_is_our_own_bug(changes: dict[str, Any]) -> None:
    with pytest.raises(InvariantBroken):
        replace(HEADER, **changes).encode()


def test_e2_headers_of_other_network_names_and_without_version_are_refused() -> None:
    data = HEADER.encode()
    for broken in (b"\0\0" + data[2:], data.replace(b"beijing", b"BEIJING"), data.replace(b"beijing", b"b\xffijing")):
        with pytest.raises(Malformed):
            Header.decode(broken)
    zero: dict[str, Any]
    for zero in ({"height": 0}, {"protocol_version": 0}):
        with refused("header_range", Malformed):
            Header.decode(replace(HEADER, **zero).encode())  # type: ignore[arg-type]


APPLIED = Receipt(TX_ID, "applied", objects=(("b-1:0", 0), ("BJ000001", 3)))
REJECTED = Receipt(TX_ID, "rejected", "insufficient_balance", 4, {"available": 5, "account": "A1"})


def test_receipts_round_trip() -> None:
    for receipt in (APPLIED, REJECTED, msgspec.structs.replace(APPLIED, tx_id=b"")):
        assert Receipt.decode(receipt.encode()) == receipt
    assert APPLIED.encode() == canonical_json(APPLIED.to_json())
    assert receipt_root(SUITE, [APPLIED, REJECTED]) == merkle.root(SUITE.hash, [APPLIED.encode(), REJECTED.encode()])


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "rejected"},
        {"code": "other"},
        {"tx_id": b"short"},
        {"tx_id": b"", "objects": ()},
        {"status": "rejected", "code": "x"},
    ],
)
def test_receipts_that_contradict_themselves_are_our_own_bug(changes: dict[str, Any]) -> None:
    with pytest.raises(InvariantBroken):
        msgspec.structs.replace(APPLIED, **changes)


@pytest.mark.parametrize(
    "change",
    [
        {"status": "pending"},
        {"code": "x"},
        {"code": 1},
        {"tx_id": "00"},
        {"tx_id": 5},
        {"operation_index": "1"},
        {"objects": {}},
        {"objects": [["a"]]},
        {"objects": [["a", "0"]]},
        {"objects": [["a", True]]},
        {"parameters": []},
        {"parameters": {"a": None}},
        {"parameters": {"A": 1}},
        {"extra": 1},
    ],
)
def test_e2_other_receipts_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        Receipt.decode(canonical_json(APPLIED.to_json() | change))


def test_e2_a_receipt_in_another_formatting_is_refused() -> None:
    with pytest.raises(Malformed):
        Receipt.decode(json.dumps(APPLIED.to_json()).encode())


def snapshot(**changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "kind": "account",
        "object_id": "A1",
        "version": 0,
        "operation": "create",
        "timestamp_s": 1_700_000_000,
        "body": {"account_object_information": {"account_type": 1}},
    }
    return build_snapshot(**(fields | changes))


def test_snapshots_have_the_header_of_jrt_0314() -> None:
    document = parse_json(snapshot(remark="备注", metadata={"k": 1}), max_size=MAX_SNAPSHOT_BYTES)
    assert document["header"]["model"] == {"protocol": "区域性股权市场跨链业务数据模型", "version": "2.0.0"}
    assert document["header"]["content"] == {
        "type": "account",
        "object_id": "A1",
        "version": 0,
        "operation": "create",
        "timestamp": 1_700_000_000,
    }
    assert (document["header"]["remark"], document["header"]["metadata"]) == ("备注", {"k": 1})
    assert read_header(document) == SnapshotHeader("account", "A1", 0, "create", 1_700_000_000)


def test_a_delete_has_no_body() -> None:
    document = parse_json(snapshot(operation="delete", version=3, body=None), max_size=MAX_SNAPSHOT_BYTES)
    assert "body" not in document


@pytest.mark.parametrize(
    "changes",
    [{"operation": "destroy"}, {"operation": "delete"}, {"body": None}, {"version": 1}],
)
def test_snapshot_headers_that_contradict_themselves_are_our_own_bug(changes: dict[str, Any]) -> None:
    with pytest.raises(InvariantBroken):
        snapshot(**changes)


def test_n1_a_snapshot_above_sixty_four_kibibytes_is_refused() -> None:
    with pytest.raises(TooLarge):
        snapshot(body={"a": "x" * MAX_SNAPSHOT_BYTES})


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("header", None),
        ("header.model", 1),
        ("header.model.protocol", ""),
        ("header.model.protocol", "x" * 65),
        ("header.model.version", 2),
        ("header.content", []),
        ("header.content.type", "x" * 33),
        ("header.content.object_id", ""),
        ("header.content.object_id", "x" * 129),
        ("header.content.version", -1),
        ("header.content.version", True),
        ("header.content.version", 1),
        ("header.content.operation", "upsert"),
        ("header.content.timestamp", "1"),
        ("header.remark", "x" * 2049),
    ],
)
def test_foreign_snapshot_headers_are_checked_field_by_field(path: str, value: Any) -> None:
    document = parse_json(snapshot(), max_size=MAX_SNAPSHOT_BYTES)
    *parents, last = path.split(".")
    target = document
    for name in parents:
        target = target[name]
    target[last] = value
    with pytest.raises(Malformed) as caught:
        read_header(document)
    assert caught.value.parameters["field"] == last
    with pytest.raises(Malformed):
        read_header([])


@given(st.lists(st.binary(min_size=1, max_size=5), max_size=8))
def test_r6_snapshot_root_depends_on_order_number_and_content(snapshots: list[bytes]) -> None:
    root = snapshot_root(SUITE, snapshots)
    assert root == merkle.root(SUITE.hash, snapshots)
    for at in range(len(snapshots)):
        assert snapshot_root(SUITE, snapshots[:at] + snapshots[at + 1 :]) != root
        assert snapshot_root(SUITE, [*snapshots, snapshots[at]]) != root
    if snapshots != snapshots[::-1]:
        assert snapshot_root(SUITE, snapshots[::-1]) != root


def test_genesis_is_read_back_from_any_formatting() -> None:
    built = builders.genesis()
    pretty = json.dumps(json.loads(built.document), indent=2, ensure_ascii=False).encode()
    parsed = parse_genesis(pretty)
    assert (parsed.id, parsed.document) == (built.id, built.document)
    assert parsed.id == SUITE.tagged_hash("tongjian/genesis/v1", built.document)
    assert parsed.validators == builders.validator_set(4)
    assert parsed.parameters == ChainParameters()
    assert parsed.application == {"name": "示例市场", "region_letters": "BJ"}


def altered_genesis(change: dict[str, Any]) -> bytes:
    return canonical_json(json.loads(builders.genesis().document) | change)


@pytest.mark.parametrize(
    "change",
    [{"network": "shanghai"}, {"tier": "custody"}, {"time_ms": 1}, {"protocol_version": 2}, {"application": {}}],
)
def test_e4_every_field_of_genesis_changes_the_id(change: dict[str, Any]) -> None:
    assert parse_genesis(altered_genesis(change)).id != builders.genesis().id


def test_the_specification_lists_every_parameter_with_its_default_and_bounds() -> None:
    text = (Path(__file__).parents[3] / "docs" / "protocol.md").read_text(encoding="utf-8")
    section = text.partition("## 4 Genesis")[2].partition("## 5 ")[0]
    listed = re.findall(r"^\| `([a-z_]+)` \| ([0-9]+) \| ([0-9]+)\.\.([0-9]+) \|$", section, re.MULTILINE)
    found = {name: Parameter(int(default), int(low), int(high)) for name, default, low, high in listed}
    assert found == dict(PARAMETERS.at(1))


def test_parameters_that_a_document_leaves_out_have_the_defaults_of_its_version() -> None:
    document = json.loads(builders.genesis().document)
    sparse = parse_genesis(json.dumps(document | {"parameters": {"heartbeat_ms": 5_000}}).encode())
    assert sparse.parameters == ChainParameters(heartbeat_ms=5_000)
    assert sparse.chosen_parameters == {"heartbeat_ms": 5_000}
    with rehearse_next_version() as version:
        PARAMETERS.add("dummy_blocks", Parameter(7, 1, 9), since=version)
        assert parse_genesis(builders.genesis().document).parameters == ChainParameters()
        named = document | {"parameters": {"dummy_blocks": 8}}
        with pytest.raises(Malformed, match="dummy_blocks"):
            parse_genesis(json.dumps(named).encode())
        later = parse_genesis(json.dumps(named | {"protocol_version": version}).encode())
        assert later.parameters.more == {"dummy_blocks": 8}


@pytest.mark.parametrize(
    "change",
    [
        {"format": "tongjian/genesis/v2"},
        {"network": "B"},
        {"tier": "other"},
        {"tier": []},
        {"suite": "rot13"},
        {"suite": 1},
        {"time_ms": -1},
        {"time_ms": "0"},
        {"protocol_version": 0},
        {"protocol_version": 65536},
        {"validators": []},
        {"validators": {}},
        {"application": []},
        {"extra": 1},
        {"parameters": []},
        {"parameters": ChainParameters().to_json() | {"extra": 1}},
        {"parameters": ChainParameters().to_json() | {"heartbeat_ms": 0}},
        {"parameters": ChainParameters().to_json() | {"heartbeat_ms": True}},
        {"parameters": ChainParameters().to_json() | {"view_timeout_ms": 90_000}},
    ],
)
def test_e2_other_genesis_documents_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        parse_genesis(altered_genesis(change))


def test_genesis_without_any_field_is_refused() -> None:
    for data in (b"[]", b"{}", b"x"):
        with pytest.raises(Malformed):
            parse_genesis(data)


def test_a_genesis_with_an_unsafe_validator_key_is_refused() -> None:
    with pytest.raises(Malformed):
        build_genesis(
            network="beijing",
            tier="business",
            suite=SUITE,
            time_ms=0,
            validators=replace(builders.validator_set(1), members=(_unsafe(),)),
            application={},
        )


def _unsafe() -> Any:
    return replace(builders.validator_set(1).members[0], public_key=bytes(32))
