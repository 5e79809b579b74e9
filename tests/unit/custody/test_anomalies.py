"""Snapshots that cannot be used: anchored, kept out of the positions, logged, and cleared by their correction."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from common.core.codec import canonical_json
from crosslink.lightclient.delivery import SnapshotItem
from custody_chain.intake import merge
from custody_chain.tables.objects import BODIES, ObjectKey
from tests.support.chains import ChainBuilder, sample_snapshot
from tests.support.custody import (
    Custody,
    account,
    entry_of,
    holder,
    market_with_product,
    person,
    product,
    raw,
    registration,
    snapshot,
)

CODE = "BJ000001.ESVUFR2601"
MODEL = {"protocol": "区域性股权市场跨链业务数据模型", "version": "2.0.0"}


@pytest.fixture
def custody(chain: ChainBuilder) -> Custody:
    custody = Custody([chain])
    custody.report(*market_with_product(), *holder(1, 100))
    return custody


def document(**content: Any) -> dict[str, Any]:
    whole = {"type": "registration", "object_id": "x", "version": 0, "operation": "create", "timestamp": 1, **content}
    return {"header": {"model": MODEL, "content": whole}, "body": {}}


BAD = {
    "not_json": b"{not json",
    "header_invalid": raw({"header": {"model": MODEL, "content": {"object_id": "x"}}}),
    "unknown_kind": raw(document(type="region.recover")),
    "schema_failed": raw(document()),
    "oversized": raw({**document(), "note": "n" * 65536}),
}


@pytest.mark.parametrize("code", sorted(BAD))
def test_an_unusable_snapshot_is_anchored_as_anomalous_and_stops_nothing(custody: Custody, code: str) -> None:
    before = custody.scan("position/"), custody.scan("product/"), custody.scan("subject/")
    custody.report(BAD[code])
    region = custody.region()
    assert (region["anchored"]["height"], region["anomalies"], region["anomalies_open"]) == (2, 1, 1)
    (anomaly,) = custody.scan("anomaly/").values()
    assert (anomaly["code"], anomaly["state"], anomaly["height"], anomaly["index"]) == (code, "open", 2, 0)
    assert (custody.scan("position/"), custody.scan("product/"), custody.scan("subject/")) == before
    custody.report(registration("t", CODE, "A1", before=(100, 0, 0), change=(-1, 0, 0), report="r"))
    assert custody.region()["anchored"]["height"] == 3
    assert custody.position("Q000000001", CODE, "A1") == (99, 0, 0)


def test_an_oversized_snapshot_raises_an_alert_with_its_hash(custody: Custody, chain: ChainBuilder) -> None:
    block = custody.report(BAD["oversized"])
    (alert,) = custody.alerts()
    assert (alert["rule"], alert["details"]) == (
        "oversized_snapshot",
        {"hash": chain.suite.hash(block.snapshots[0]).hex()},
    )


def test_no_single_bad_block_can_wedge_a_region(custody: Custody) -> None:
    """Every kind of bad snapshot in one block, between good ones."""
    custody.report(*BAD.values(), *holder(2, 10), b"", b"null", b"[]", b'"text"', b"\x00")
    assert custody.region()["anchored"]["height"] == 2
    assert custody.position("Q000000002", CODE, "A2") == (10, 0, 0)


def test_a_correction_clears_the_anomaly_and_counts(custody: Custody) -> None:
    broken = registration("t1", CODE, "A1", before=(100, 0, 0), change=(-10, 0, 0), report="r").replace(
        b'"register_asset_unit":4', b'"register_asset_unit":77'
    )
    custody.report(broken)
    assert custody.position("Q000000001", CODE, "A1") == (100, 0, 0)
    assert custody.region()["anomalies_open"] == 1
    good = registration("t1", CODE, "A1", before=(100, 0, 0), change=(-10, 0, 0), report="r", operation="overwrite")
    custody.report(good)
    (anomaly,) = custody.scan("anomaly/").values()
    assert (anomaly["state"], anomaly["cleared"]["region_height"]) == ("cleared", 3)
    assert (custody.region()["anomalies"], custody.region()["anomalies_open"]) == (1, 0)
    assert custody.position("Q000000001", CODE, "A1") == (90, 0, 0)
    assert custody.alerts() == []
    log = [value for key, value in sorted(custody.state.index.items()) if key.startswith(b"log/beijing/")]
    assert [kind for kind in (b'"anomaly"', b'"anomaly_cleared"') if any(kind in line for line in log)] == [
        b'"anomaly"',
        b'"anomaly_cleared"',
    ]


def test_an_anomaly_whose_header_is_unreadable_is_found_by_its_object_id(custody: Custody) -> None:
    custody.report(BAD["header_invalid"])
    assert custody.get("anomaly", "beijing", "x")["state"] == "open"
    custody.report(registration("x", CODE, "A1", before=(100, 0, 0), change=(1, 0, 0), report="r"))
    assert custody.get("anomaly", "beijing", "x")["state"] == "cleared"
    assert custody.alerts() == []


def test_an_update_whose_header_is_unreadable_is_corrected_by_an_overwrite_of_that_version(custody: Custody) -> None:
    unreadable = person("person-1", "Q000000001", version=1).replace(b'"timestamp":', b'"time":')
    custody.report(unreadable)
    assert custody.get("anomaly", "beijing", "person-1")["code"] == "header_invalid"
    custody.report(person("person-1", "Q000000001", version=1, operation="overwrite"))
    assert custody.get("anomaly", "beijing", "person-1")["state"] == "cleared"
    assert custody.alerts() == []
    custody.report(person("person-1", "Q000000001", version=2, operation="overwrite"))
    assert [alert["details"]["fault"] for alert in custody.alerts()] == ["overwrite_ahead"]


def test_an_anomaly_that_is_met_again_is_one_open_anomaly(custody: Custody) -> None:
    custody.report(BAD["schema_failed"])
    custody.report(raw(document(operation="overwrite")))
    assert (custody.region()["anomalies"], custody.region()["anomalies_open"]) == (2, 1)


def test_the_content_type_must_match_the_body(custody: Custody) -> None:
    custody.report(person("p7", "Q000000007").replace(b'"type":"subject"', b'"type":"account"'))
    assert custody.get("anomaly", "beijing", "p7")["code"] == "schema_failed"


def test_updates_may_be_incremental_and_the_merged_result_is_judged(custody: Custody) -> None:
    part = {"product_information": {"essential_information": {"basic_product_information": {"product_name": "新名"}}}}
    custody.report(snapshot("product", CODE, part, version=1))
    assert custody.scan("anomaly/") == {}
    record = custody.get("product", "beijing", CODE)
    assert (record["name"], record["code"], record["holders"]) == ("新名", CODE, 1)
    part["product_information"]["essential_information"]["basic_product_information"] = {"product_name": None}  # type: ignore[dict-item]
    custody.report(snapshot("product", CODE, part, version=2))
    assert custody.get("anomaly", "beijing", CODE)["code"] == "schema_failed"
    assert custody.get("product", "beijing", CODE)["name"] == "新名"


def test_updates_that_only_add_cannot_make_an_object_grow_for_ever(custody: Custody) -> None:
    """Each later update would cost every custody validator as much as all before it together."""
    for version in range(1, 5):
        custody.report(snapshot("product", CODE, {f"more-{version}": "x" * 30_000}, version=version))
    assert custody.get("anomaly", "beijing", CODE)["code"] == "merged_too_large"
    assert len(custody.state.index[BODIES.path(ObjectKey("beijing", CODE))]) <= 65536
    whole = product(CODE, "issuer", version=4, operation="overwrite")
    custody.report(whole)
    assert custody.get("anomaly", "beijing", CODE)["state"] == "cleared"
    assert custody.alerts("version_gap") == []


def test_merge_follows_the_rules_of_json_merge_patch() -> None:
    assert merge({"a": 1, "b": {"c": 1, "d": 2}}, {"b": {"c": None, "e": 3}, "a": None}) == {"b": {"d": 2, "e": 3}}
    assert merge({"a": [1]}, {"a": [2, 3]}) == {"a": [2, 3]}
    assert merge(None, {"a": {"b": None}}) == {"a": {}}


@pytest.mark.parametrize("body", [None, {}])
def test_a_delete_has_no_body_or_an_empty_one(custody: Custody, body: Any) -> None:
    deleted = document(type="product", object_id=CODE, version=1, operation="delete")
    deleted.pop("body")
    custody.report(raw(deleted if body is None else {**deleted, "body": body}))
    assert custody.scan("anomaly/") == {}
    assert custody.get("product", "beijing", CODE)["deleted"] is True
    assert custody.get("issued", "BJ000001", "beijing", CODE) is None


def test_a_delete_with_a_body_is_anomalous(custody: Custody) -> None:
    custody.report(raw({**document(type="product", object_id=CODE, version=1, operation="delete"), "body": {"a": 1}}))
    assert custody.get("anomaly", "beijing", CODE)["code"] == "schema_failed"


@pytest.mark.parametrize("amount", [10**15 + 1, -(10**15) - 101])
def test_numbers_beyond_belief_are_anomalous_and_leave_nothing(custody: Custody, amount: int) -> None:
    values, index = dict(custody.state.values), dict(custody.state.index)
    custody.report(registration("huge", CODE, "A1", before=(100, 0, 0), change=(amount, 0, 0), report="r"))
    assert custody.get("anomaly", "beijing", "huge")["code"] == "quantity_out_of_range"
    changed = {key for key, value in custody.state.values.items() if values.get(key) != value}
    assert changed == {b"anomaly/beijing/huge", b"region/beijing", b"anchored/beijing/0"}
    assert touched_index(custody, index) == {b"object", b"revision", b"delivery", b"header", b"log"}


def touched_index(custody: Custody, before: dict[bytes, bytes]) -> set[bytes]:
    """Kinds of index entries that are new or changed."""
    return {key.split(b"/")[0] for key, value in custody.state.index.items() if before.get(key) != value}


def test_totals_beyond_belief_are_anomalous_too(custody: Custody) -> None:
    custody.report(account("A2", "person-1"), registration("a", CODE, "A2", change=(10**15 - 100, 0, 0)))
    assert custody.scan("anomaly/") == {}
    custody.report(account("A3", "person-1"))
    values, index = dict(custody.state.values), dict(custody.state.index)
    custody.report(registration("b", CODE, "A3", change=(1, 0, 0)))
    assert custody.get("anomaly", "beijing", "b")["code"] == "quantity_out_of_range"
    changed = {key for key, value in custody.state.values.items() if values.get(key) != value}
    assert changed == {b"anomaly/beijing/b", b"region/beijing", b"anchored/beijing/0"}
    assert touched_index(custody, index) == {b"object", b"revision", b"delivery", b"header", b"log"}


def test_foreign_identifiers_cannot_imitate_keys(custody: Custody) -> None:
    """Attack E4: an identifier with a path separator, control characters or another script."""
    names = ["../region/beijing", "a/b", "股票", "-", "%2F", "x\ny", "#1.0"]
    custody.report(
        *(registration(f"r/{name}", f"p/{name}", f"a/{name}", change=(1, 0, 0)) for name in names),
        *(account(name, "person-1") for name in names),
    )
    assert custody.region()["anomalies"] == 0
    assert all(key.isascii() and key.count(b"/") <= 5 for key in custody.state.values)
    assert len(custody.scan("holding/beijing/p%2F")) == len(names)
    accounts = custody.scan("account/").values()
    assert [account["known"] for account in accounts].count(True) == len(names) + 1
    assert len(accounts) == 2 * len(names) + 1  # and one for each that a registration names


def test_r8_relayed_content_reaches_no_privileged_operation(custody: Custody) -> None:
    """A region may name operations, roles and other regions in its snapshots; they stay data."""
    privileged = {b"policy", b"model_schema"}

    def rights() -> dict[bytes, bytes]:
        return {k: v for k, v in custody.state.values.items() if k in privileged or k.startswith(b"signer/")}

    before = rights()
    recover = {"type": "region.recover", "region": "beijing", "from_height": 1, "reason": "x"}
    custody.report(
        raw({**document(type="region.recover"), "body": recover}),
        raw({**document(type="validators.change", object_id="y"), "operations": [recover]}),
        person("policy", "Q000000042"),
        person("signer/ed25519:00", "Q000000043"),
        product("region/shanghai", "issuer"),
        raw({**document(object_id="z"), "role": "governance"}),
    )
    assert rights() == before
    assert list(custody.scan("region/")) == ["region/beijing"]
    assert (
        custody.region()["client"]["trust"]["validators"]
        == (custody.genesis.application["regions"][0]["trust"]["validators"])
    )


def test_r8_one_region_cannot_change_what_another_reported() -> None:
    beijing, shanghai = ChainBuilder(), ChainBuilder(network="shanghai")
    custody = Custody([beijing, shanghai])
    custody.deliver(beijing, *market_with_product(), *holder(1, 100))
    before = {key: value for key, value in custody.state.values.items() if b"beijing" in key}
    custody.deliver(
        shanghai,
        person("person-1", "Q000000066"),
        account("A1", "person-1"),
        product(CODE, "issuer"),
        registration("steal", CODE, "A1", before=(100, 0, 0), change=(-100, 0, 0), report="r"),
        snapshot("subject", "person-1", None, version=1, operation="delete"),
    )
    custody.empty_block()
    assert {key: value for key, value in custody.state.values.items() if b"beijing" in key} == before


def test_a_snapshot_that_is_not_in_the_delivered_text_form_is_compared_by_its_bytes(
    custody: Custody, chain: ChainBuilder
) -> None:
    """The same JSON in another spelling is another leaf of the root."""
    block = chain.extend([sample_snapshot("x")])
    spelled = SnapshotItem(0, b" " + block.snapshots[0])
    assert custody.refused("beijing", replace(entry_of(block), snapshots=(spelled,))) == "snapshot_root_mismatch"


def test_canonical_json_is_what_chains_commit_to() -> None:
    assert raw({"b": 1, "a": "é"}) == canonical_json({"a": "é", "b": 1}) == '{"a":"é","b":1}'.encode()
