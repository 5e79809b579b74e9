"""Evidence files: what a valid one proves, and that no altered one passes (attacks R2, R4, R5, C4, C9, E8)."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.core.codec import canonical_json
from common.core.errors import Rejected
from common.core.validators import Validator, ValidatorSet
from crosslink.lightclient.evidence_check import Findings, verify_evidence, verify_evidence_file
from crosslink.lightclient.evidence_file import Evidence, StateEntry, anchored_key, parse_evidence
from crosslink.lightclient.pbft.trust import PBFT_CLIENT_TYPE, root_document
from crosslink.lightclient.trust import TrustFile, build_trust_file
from tests.support.chains import BuiltBlock, ChainBuilder, validator_set
from tests.support.chains import checkpoint as pbft_checkpoint
from tests.support.evidence import evidence_case, small_state, with_tip

CASE = evidence_case()
DOCUMENT = CASE.evidence.to_json()
TRUST = CASE.trust


STRANGERS = root_document(CASE.custody.suite, validator_set(["a", "b", "c", "d"]))


def verify(document: dict[str, Any], trust: TrustFile = TRUST) -> Findings:
    return verify_evidence_file(canonical_json(document), trust)


def refusal(document: dict[str, Any], trust: TrustFile = TRUST) -> str:
    with pytest.raises(Rejected) as caught:
        verify(document, trust)
    return caught.value.code


def changed(*path: str | int, to: Any) -> dict[str, Any]:
    """The valid document with one place replaced (`to` may be a function of the old value)."""
    document = copy.deepcopy(DOCUMENT)
    place: Any = document
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = to(place[path[-1]]) if callable(to) else to
    return document


def test_a_valid_file_proves_the_snapshot_and_says_what_it_does_not() -> None:
    assert parse_evidence(CASE.evidence.encode()) == CASE.evidence
    findings = verify(DOCUMENT)
    block = CASE.region.block(3)
    assert (findings.network, findings.height, findings.block_id) == ("custody", 6, CASE.custody.tip_id)
    assert (findings.region, findings.region_height, findings.region_block_id) == ("beijing", 3, block.id)
    assert findings.snapshot_index == 1
    assert findings.snapshot is not None
    assert findings.snapshot["header"]["content"]["object_id"] == "beijing:3:1"
    custody, region = CASE.custody.trust_root(), CASE.region.trust_root()
    assert findings.fingerprints == {
        "custody": custody.fingerprint().hex(), "beijing": region.fingerprint().hex(),
    }  # fmt: skip
    said = " ".join(findings.proves)
    assert "create of registration beijing:3:1 version 0" in said
    assert custody.fingerprint().hex() in said
    assert any("latest version" in line for line in findings.does_not_prove)
    assert canonical_json(findings.to_json())


def test_r4_roots_come_from_the_user_and_never_from_the_file() -> None:
    root = CASE.custody.trust_root().to_json()
    for place in ({"trust": {"roots": [root]}}, {"roots": [root]}, {"validators": root["trust"]}):
        assert refusal(DOCUMENT | place) == "field_unknown"
    assert refusal(changed("chain", to=lambda chain: chain | {"trust": root["trust"]})) == "field_unknown"
    assert refusal(DOCUMENT, build_trust_file([])) == "evidence_no_root"
    assert refusal(DOCUMENT, build_trust_file([CASE.region.trust_root()])) == "evidence_no_root"


def test_r4_root_of_another_deployment_or_tier_is_not_enough() -> None:
    namesake = ChainBuilder("custody", tier="custody", application={"another": "deployment"}).trust_root()
    assert refusal(DOCUMENT, build_trust_file([namesake])) == "evidence_wrong_genesis"
    same_id = replace(namesake, genesis_id=CASE.custody.genesis.id, trust=STRANGERS)
    assert refusal(DOCUMENT, build_trust_file([same_id])) == "wrong_set"
    business = replace(CASE.custody.trust_root(), tier="business")
    assert refusal(DOCUMENT, build_trust_file([business])) == "evidence_wrong_tier"
    other_region = replace(CASE.region.trust_root(), genesis_id=b"\x01" * 32)
    assert refusal(DOCUMENT, build_trust_file([CASE.custody.trust_root(), other_region])) == "wrong_genesis"


def test_without_a_root_for_the_region_the_findings_say_so() -> None:
    findings = verify(DOCUMENT, build_trust_file([replace(CASE.custody.trust_root(), tier="")]))
    assert findings.region_root is None
    assert any("which deployment of beijing" in line for line in findings.does_not_prove)


def headers(*blocks: BuiltBlock) -> dict[str, Any]:
    return changed("chain", "headers", to=[block.signed.hex() for block in blocks])


def test_r2_c9_set_changes_must_all_be_there_in_order() -> None:
    custody = CASE.custody
    first, second, tip = custody.block(3), custody.block(5), custody.block(6)
    assert verify(headers(first, second, tip)).height == 6
    assert refusal(headers(tip)) == "wrong_set"
    assert refusal(headers(first, tip)) == "wrong_set"
    assert refusal(headers(second, tip)) == "wrong_set"
    assert refusal(headers(second, first, tip)) == "wrong_set"
    assert refusal(headers(first, second, second, tip)) == "evidence_set_changes_order"
    assert refusal(headers(first, second, replace(tip, next_validators=custody.validators), tip)) == (
        "evidence_set_changes_order"
    )
    assert refusal(changed("chain", "headers", to=[])) == "evidence_headers"
    foreign = replace(first, next_validators=validator_set(["a", "b", "c", "d"]))
    assert refusal(headers(foreign, second, tip)) == "next_set_mismatch"
    assert refusal(headers(replace(first, next_validators=None), second, tip)) == "next_set_mismatch"


def test_c4_c10_header_needs_its_own_certificate() -> None:
    first, second, tip = (CASE.custody.block(height) for height in (3, 5, 6))
    crossed = replace(tip, certificate=second.certificate)
    assert refusal(headers(first, second, crossed)) == "certificate_wrong_height"
    assert refusal(headers(first, second, CASE.region.block(3))) == "wrong_network"
    thin = replace(tip, certificate=replace(tip.certificate, signatures=tip.certificate.signatures[:2]))
    assert refusal(headers(first, second, thin)) == "certificate_too_few"


def test_r4_the_client_type_is_the_roots_and_the_buckets_never_the_files() -> None:
    assert refusal(changed("chain", "client_type", to="solo-machine/v1")) == "evidence_wrong_type"
    assert refusal(changed("region", "client_type", to="solo-machine/v1")) == "evidence_wrong_type"
    alone = build_trust_file([CASE.custody.trust_root()])
    assert refusal(changed("region", "client_type", to="solo-machine/v1"), alone) == "unknown_client_type"


def test_r5_state_value_that_names_other_ids_is_refused() -> None:
    assert refusal(changed("state", 0, "value", to=lambda text: text.replace("0", "1", 1))) == "state_proof_value"
    assert refusal(changed("state", 0, "value", to=None)) == "state_proof_key"
    assert refusal(changed("state", 0, "key", to="anchored/beijing/1")) == "state_proof_key"
    assert refusal(changed("state", 0, "key", to="region/beijing")) == "state_proof_value"
    assert refusal(changed("state", to=[])) == "evidence_state"
    assert refusal(changed("state", to=lambda held: held * 2)) == "evidence_state"


def test_e8_empty_and_foreign_state_proofs_are_refused() -> None:
    assert refusal(changed("state", 0, "proof", "nodes", to=[])) == "state_proof_short"
    assert refusal(changed("state", 0, "proof", "nodes", to=lambda nodes: nodes * 2)) == "state_proof_long"
    assert refusal(changed("state", 0, "proof", to={})) == "state_proof_format"


def test_r5_region_header_that_was_not_anchored_is_refused() -> None:
    region = CASE.region
    block = region.block(3)
    for header in (region.draft().header, replace(block.header, time_ms=1), region.block(2).header):
        document = changed("region", "header", to=replace(block, header=header).bare.hex())
        assert refusal(document) in ("evidence_not_anchored", "snapshot_count")
    far = replace(block, header=replace(block.header, height=67))
    assert refusal(changed("region", "header", to=far.bare.hex())) == "evidence_not_anchored"
    assert refusal(changed("region", "network", to="shanghai")) == "wrong_network"
    assert refusal(changed("region", "header", to=block.signed.hex())) == "evidence_header"


def test_r5_snapshot_text_index_or_path_that_differs_is_refused() -> None:
    assert refusal(changed("snapshot", "data", to=lambda text: text + " ")) == "proof_root_mismatch"
    assert refusal(changed("snapshot", "index", to=2)) == "proof_root_mismatch"
    assert refusal(changed("snapshot", "index", to=5)) == "snapshot_count"
    assert refusal(changed("snapshot", "proof", to="")) == "proof_length"
    assert refusal(changed("snapshot", "proof", to=lambda path: path[64:] + path[:64])) == "proof_root_mismatch"


def hex_places(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Paths of all strings of a document."""
    if isinstance(value, str):
        return [path]
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, child in children for found in hex_places(child, (*path, key))]


PLACES = hex_places(DOCUMENT)


@settings(max_examples=300)
@given(place=st.sampled_from(PLACES), data=st.data())
def test_r5_any_changed_character_of_a_file_is_refused(place: tuple[str | int, ...], data: st.DataObject) -> None:
    def change(text: str) -> str:
        at = data.draw(st.integers(0, len(text) - 1))
        return (
            text[:at] + data.draw(st.sampled_from("0123456789abcdef").filter(lambda c: c != text[at])) + text[at + 1 :]
        )

    with pytest.raises(Rejected):
        verify(changed(*place, to=change))


@pytest.mark.parametrize("place", PLACES, ids=lambda path: ".".join(map(str, path)))
def test_e2_missing_truncated_and_mistyped_fields_are_refused(place: tuple[str | int, ...]) -> None:
    for value in (None, 7, "", [], {}):  # type: ignore[var-annotated]
        with pytest.raises(Rejected):
            verify(changed(*place, to=value))
    document = copy.deepcopy(DOCUMENT)
    parent: Any = document
    for step in place[:-1]:
        parent = parent[step]
    del parent[place[-1]]
    with pytest.raises(Rejected):
        verify(document)


@settings(max_examples=100)
@given(st.binary(max_size=300))
def test_e1_e2_arbitrary_bytes_are_refused_with_a_code(data: bytes) -> None:
    with pytest.raises(Rejected):
        verify_evidence_file(data, TRUST)


def test_a_checkpoint_shortens_the_way_and_shuts_out_replaced_validators() -> None:
    custody = CASE.custody
    after = custody.block(5)
    checkpoint = pbft_checkpoint(height=5, id=after.id, time_ms=after.header.time_ms, validators=custody.validators)
    root = replace(custody.trust_root(), checkpoint=checkpoint)
    trust = build_trust_file([root, CASE.region.trust_root()])
    assert verify(DOCUMENT, trust).height == 6
    assert verify(headers(custody.block(6)), trust).height == 6
    old = custody.genesis_validators
    later = custody.seal(
        replace(
            custody.block(6).header,
            validators_hash=old.hash(custody.suite),
            next_validators_hash=old.hash(custody.suite),
        ),
        signing=old,
    )
    usurped = replace(CASE.evidence, headers=(later.signed,))
    assert verify_evidence(usurped, TRUST).height == 6, "without a checkpoint a replaced quorum cannot be told apart"
    assert refusal(usurped.to_json(), trust) == "wrong_set"


def test_a_header_at_the_checkpoint_must_be_the_checkpoint() -> None:
    tip = CASE.custody.block(6)
    for block_id, code in ((tip.id, None), (b"\x01" * 32, "evidence_checkpoint_conflict")):
        checkpoint = pbft_checkpoint(height=6, id=block_id, time_ms=1, validators=CASE.custody.validators)
        trust = build_trust_file([replace(CASE.custody.trust_root(), checkpoint=checkpoint)])
        if code is None:
            assert verify(DOCUMENT, trust).height == 6
        else:
            assert refusal(DOCUMENT, trust) == code


def test_kind_state_proves_values_and_absences_on_either_tier() -> None:
    chain = ChainBuilder("shanghai")
    root, held = small_state({b"holding/X/A1": b'{"total":5}', b"product/X": b"{}"})
    proof = held.to_json()
    tip = chain.extend(state_root=root)
    evidence = Evidence(
        network="shanghai",
        genesis_id=chain.genesis.id,
        client_type=PBFT_CLIENT_TYPE,
        headers=(tip.signed,),
        state=(StateEntry("holding/X/A1", '{"total":5}', proof), StateEntry("holding/X/A2", None, proof)),
    )
    trust = build_trust_file([chain.trust_root()])
    findings = verify_evidence_file(evidence.encode(), trust)
    assert findings.kind == "state"
    assert len(findings.proves) == 3
    for bad in (StateEntry("holding/X/A1", None, proof), StateEntry("holding/X/A2", "{}", proof)):
        with pytest.raises(Rejected, match="state_proof"):
            verify_evidence(replace(evidence, state=(bad,)), trust)


def test_bucket_of_an_anchored_height() -> None:
    assert [anchored_key("beijing", height) for height in (0, 63, 64, 6400)] == [
        "anchored/beijing/0", "anchored/beijing/0", "anchored/beijing/1", "anchored/beijing/100",
    ]  # fmt: skip


@pytest.mark.parametrize("place", ["chain", "region", "snapshot"])
def test_e2_r4_unknown_fields_are_refused_at_every_level(place: str) -> None:
    assert refusal(changed(place, to=lambda held: held | {"note": "trust me"})) == "field_unknown"
    assert refusal(changed("state", 0, to=lambda held: held | {"note": "trust me"})) == "field_unknown"
    assert refusal(changed("kind", to="opinion")) == "evidence_kind"
    assert refusal(changed("format", to="tongjian/evidence/v2")) == "evidence_format"


def test_r2_c10_set_change_of_another_deployment_with_the_same_keys_is_refused() -> None:
    custody = ChainBuilder("custody", tier="custody")
    twin = ChainBuilder("custody", tier="custody", application={"another": "deployment"})
    for chain in (custody, twin):
        chain.extend(next_validators=validator_set(["m-1", "m-2", "m-3", "m-4"] if chain is twin else custody.names))
    root, held = small_state({b"key": b"1"})
    proof = held.to_json()
    twin_signs = validator_set(["m-1", "m-2", "m-3", "m-4"])
    draft = custody.draft(
        state_root=root,
        validators_hash=twin_signs.hash(custody.suite),
        next_validators_hash=twin_signs.hash(custody.suite),
    )
    evidence = Evidence(
        network="custody",
        genesis_id=custody.genesis.id,
        client_type=PBFT_CLIENT_TYPE,
        headers=(twin.block(1).signed, custody.seal(draft.header, signing=twin_signs).signed),
        state=(StateEntry("key", "1", proof),),
    )
    assert refusal(evidence.to_json(), build_trust_file([custody.trust_root()])) == "wrong_genesis"


def test_r5_bucket_of_another_key_does_not_count_as_anchored() -> None:
    case = evidence_case()
    value = case.evidence.state[0].value
    root, held = small_state({b"misbehaviour/beijing/9": value.encode()})
    proof = held.to_json()
    tip = case.custody.extend(state_root=root)
    moved = replace(with_tip(case.evidence, tip), state=(StateEntry("misbehaviour/beijing/9", value, proof),))
    assert refusal(moved.to_json()) == "evidence_not_anchored"


def test_e3_set_change_to_an_unsafe_key_is_refused() -> None:
    custody = ChainBuilder("custody", tier="custody")
    unsafe = ValidatorSet(members=(Validator(name="m", organisation="m", public_key=bytes(32)),))
    change = custody.draft(next_validators=unsafe)
    root, held = small_state({b"key": b"1"})
    proof = held.to_json()
    custody.blocks.append(change)
    tip = custody.draft(state_root=root)
    evidence = Evidence(
        network="custody",
        genesis_id=custody.genesis.id,
        client_type=PBFT_CLIENT_TYPE,
        headers=(change.signed, tip.signed),
        state=(StateEntry("key", "1", proof),),
    )
    assert refusal(evidence.to_json(), build_trust_file([custody.trust_root()])) == "public_key_unsafe"
