"""Envelopes: identity, strict structure, signatures."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import rfc8785

from common.core.errors import Malformed, Rejected, TooLarge, Unauthorised
from common.core.transaction import (
    MAX_ENVELOPE_BYTES,
    build_envelope,
    envelope_hash,
    parse_envelope,
    sign_envelope,
    transaction_id,
    verify_signatures,
)
from tests.unit.core import builders
from tests.unit.core.builders import SUITE


def refused(data: bytes) -> Rejected:
    with pytest.raises((Malformed, TooLarge)) as caught:
        parse_envelope(data, SUITE)
    return caught.value


def unsigned(**changes: Any) -> bytes:
    """An envelope whose signature is not checked."""
    value = builders.transaction(**changes)
    return build_envelope(value, [bytes(64)] * len(value["signers"]))


def test_ids_are_the_written_formulas_over_canonical_bytes() -> None:
    value = builders.transaction()
    parsed = parse_envelope(builders.envelope(), SUITE)
    assert parsed.id == SUITE.tagged_hash("tongjian/transaction/v1", rfc8785.dumps(value))
    assert parsed.id == transaction_id(value, SUITE)
    assert parsed.envelope_hash == SUITE.tagged_hash("tongjian/envelope/v1", parsed.envelope)
    assert parsed.envelope_hash == envelope_hash(SUITE, parsed.envelope)
    assert parsed.envelope == rfc8785.dumps(json.loads(builders.envelope()))
    assert parsed.operations == tuple(value["operations"])
    assert (parsed.network, parsed.nonce, parsed.expires_at_height) == ("beijing", "n-1", 1200)


@pytest.mark.parametrize("indent", [None, 0, 3])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_formatting_key_order_and_escapes_do_not_change_the_transaction(indent: Any, ascii_only: bool) -> None:
    data = builders.envelope(operations=[{"type": "x", "note": '备注 "],\\"transaction\\":{ é'}])
    value = json.loads(data)
    reordered = {"transaction": dict(reversed(value["transaction"].items())), "signatures": value["signatures"]}
    text = json.dumps(reordered, indent=indent, ensure_ascii=ascii_only).encode()
    assert parse_envelope(text, SUITE) == parse_envelope(data, SUITE)
    verify_signatures(parse_envelope(text, SUITE), SUITE)


def test_a_hash_that_is_known_counts_for_the_canonical_bytes_alone() -> None:
    canonical = builders.envelope()
    loose = canonical + b" "
    for data in (canonical, loose):
        assert parse_envelope(data, SUITE, envelope_hash(SUITE, data)) == parse_envelope(canonical, SUITE)


def test_every_signer_signs_the_id_in_order() -> None:
    value = builders.transaction(signers=[builders.key_text(1), builders.key_text(2)])
    both = sign_envelope(value, [builders.seed(1), builders.seed(2)], SUITE)
    verify_signatures(parse_envelope(both, SUITE), SUITE)
    identity = transaction_id(value, SUITE)
    signatures = [SUITE.sign(builders.seed(number), identity) for number in (1, 2)]
    assert build_envelope(value, signatures) == both
    swapped = parse_envelope(build_envelope(value, signatures[::-1]), SUITE)
    with pytest.raises(Unauthorised) as caught:
        verify_signatures(swapped, SUITE)
    assert (caught.value.code, caught.value.parameters) == ("bad_signature", {"signer_index": 0})
    second_bad = parse_envelope(build_envelope(value, [signatures[0], bytes(64)]), SUITE)
    with pytest.raises(Unauthorised) as caught:
        verify_signatures(second_bad, SUITE)
    assert caught.value.parameters == {"signer_index": 1}


def test_signing_with_other_keys_than_the_signers_is_refused() -> None:
    for seeds in ([], [builders.seed(2)], [builders.seed(1), builders.seed(2)]):
        with pytest.raises(Malformed) as caught:
            sign_envelope(builders.transaction(), seeds, SUITE)
        assert caught.value.code == "signer_mismatch"


def test_c8_a_second_signature_over_one_transaction_keeps_the_id_and_changes_the_envelope_hash() -> None:
    good = parse_envelope(builders.envelope(), SUITE)
    other = parse_envelope(build_envelope(builders.transaction(), [builders.malleated(good.signatures[0])]), SUITE)
    assert other.id == good.id
    assert other.envelope_hash != good.envelope_hash
    with pytest.raises(Unauthorised):
        verify_signatures(other, SUITE)


@pytest.mark.parametrize(
    "changes",
    [{"network": "shanghai"}, {"genesis": "22" * 32}, {"nonce": "n-2"}, {"expires_at_height": 1201}],
)
def test_c10_a_signature_does_not_move_to_another_network_genesis_nonce_or_expiry(changes: dict[str, Any]) -> None:
    signature = parse_envelope(builders.envelope(), SUITE).signatures[0]
    moved = parse_envelope(build_envelope(builders.transaction(**changes), [signature]), SUITE)
    with pytest.raises(Unauthorised):
        verify_signatures(moved, SUITE)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"[]", "envelope_fields"),
        (b"{}", "envelope_fields"),
        (b'{"transaction":{},"signatures":[],"extra":1}', "envelope_fields"),
        (b'{"transaction":{},"signatures":[]}', "transaction_fields"),
        (b'{"transaction":[],"signatures":[]}', "transaction_fields"),
        (b'{"transaction":{},"transaction":{},"signatures":[]}', "json_duplicate_key"),
    ],
)
def test_e2_other_envelope_fields_are_refused(text: bytes, code: str) -> None:
    assert refused(text).code == code


@pytest.mark.parametrize("field", sorted(builders.transaction()))
def test_e2_missing_and_unknown_transaction_fields_are_refused(field: str) -> None:
    value = builders.transaction()
    del value[field]
    assert refused(build_envelope(value, [bytes(64)])).code == "transaction_fields"
    assert refused(unsigned(**{field + "_2": 1})).code == "transaction_fields"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"network": "Beijing"}, "network_name"),
        ({"network": "b" * 33}, "network_name"),
        ({"network": ""}, "network_name"),
        ({"network": 1}, "network_name"),
        ({"genesis": "11" * 31}, "hex_length"),
        ({"genesis": "AB" * 32}, "hex_invalid"),
        ({"genesis": None}, "transaction_genesis"),
        ({"nonce": ""}, "transaction_nonce"),
        ({"nonce": "n" * 65}, "transaction_nonce"),
        ({"nonce": "n\n"}, "transaction_nonce"),
        ({"nonce": "é"}, "transaction_nonce"),
        ({"nonce": 7}, "transaction_nonce"),
        ({"expires_at_height": 0}, "transaction_expires_at_height"),
        ({"expires_at_height": -1}, "transaction_expires_at_height"),
        ({"expires_at_height": True}, "transaction_expires_at_height"),
        ({"expires_at_height": "12"}, "transaction_expires_at_height"),
        ({"operations": []}, "transaction_operations"),
        ({"operations": {}}, "transaction_operations"),
        ({"operations": [{"type": "x"}] * 1001}, "transaction_too_many_operations"),
        ({"operations": [{"type": "x"}, 1]}, "operation_type"),
        ({"operations": [{}]}, "operation_type"),
        ({"operations": [{"type": 1}]}, "operation_type"),
        ({"operations": [{"type": "x\n"}]}, "operation_type"),
        ({"operations": [{"type": "x" * 65}]}, "operation_type"),
        ({"operations": [{"type": "x", "Bad": 1}]}, "json_key"),
        ({"operations": [{"type": "x", "deep": [{"é": 1}]}]}, "json_key"),
        ({"signers": []}, "transaction_signers"),
        ({"signers": [1]}, "transaction_signers"),
        ({"signers": ["x"]}, "public_key_prefix"),
        ({"signers": ["ed25519:" + "00" * 32]}, "public_key_unsafe"),
        ({"signers": [builders.key_text(1)] * 2}, "transaction_signers"),
        ({"signers": [builders.key_text(number) for number in range(17)]}, "transaction_signers"),
    ],
)
def test_e2_fields_of_wrong_type_or_size_are_refused(changes: dict[str, Any], code: str) -> None:
    assert refused(unsigned(**changes)).code == code


@pytest.mark.parametrize(
    "signatures", [[], ["00"] * 2, [1], [""], ["0"], ["0G"], ["AB" * 64], ["00" * 257], {}, "00", [None]]
)
def test_e2_signature_lists_that_do_not_fit_are_refused(signatures: Any) -> None:
    text = json.dumps({"transaction": builders.transaction(), "signatures": signatures}).encode()
    assert refused(text).code in ("envelope_signatures", "hex_invalid")


def test_e2_trailing_bytes_are_refused() -> None:
    assert refused(builders.envelope() + b"{}").code == "json_invalid"
    assert refused(builders.envelope() + b"\x00").code == "json_invalid"


def test_e1_floats_and_duplicates_inside_operations_are_refused() -> None:
    good = builders.envelope()
    assert refused(good.replace(b'"quantity":100', b'"quantity":100.0')).code == "json_float"
    assert refused(good.replace(b'"quantity":100', b'"quantity":100,"quantity":999')).code == "json_duplicate_key"
    assert refused(good.replace(b'"quantity":100', b'"quantity":9007199254740993')).code == "json_integer_range"


def nested(depth: int) -> dict[str, Any]:
    """An operation below which objects nest so deep that the innermost one stands `depth` deep in its envelope."""
    inner: dict[str, Any] = {}
    for _ in range(depth - 5):
        inner = {"a": inner}
    return {"type": "x", "note": inner}


@pytest.mark.parametrize(
    "as_sent", [lambda data: data, lambda data: data + b" "], ids=["canonical", "with white space"]
)
def test_e1_what_is_refused_does_not_depend_on_how_the_text_is_written(as_sent: Callable[[bytes], bytes]) -> None:
    good = builders.envelope()
    assert parse_envelope(as_sent(good), SUITE).envelope == good
    for old, new, code in (
        (b'"quantity":100', b'"quantity":1.5', "json_float"),
        (b'"quantity":100', b'"quantity":-0', "json_negative_zero"),
        (b'"quantity":100', b'"Quantity":100', "json_key"),
        (b'"quantity":100', b'"quantity":9007199254740992', "json_integer_range"),
        (b'"quantity":100', b'"quantity":[1.5]', "json_float"),
        (b'"quantity":100', b'"quantity":{"a":9007199254740992}', "json_integer_range"),
        (b'"quantity":100', b'"quantity":[{"A":1}]', "json_key"),
        (b'"expires_at_height":1200', b'"expires_at_height":1200.0', "json_float"),
        (b'"expires_at_height":1200', b'"expires_at_height":true', "transaction_expires_at_height"),
        (b'"expires_at_height":1200', b'"expires_at_height":1200,"expires_at_height":1200', "json_duplicate_key"),
        (b'"expires_at_height":1200', b'"expires_at_height":1200,"fee":1', "transaction_fields"),
        (b'"nonce":"n-1"', b'"nonce":null', "transaction_nonce"),
    ):
        changed = good.replace(old, new)
        assert changed != good
        assert refused(as_sent(changed)).code == code
    for operation in (nested(32), {"type": "x", "note": "[{"}, {"type": "x", "note": ["]", {"a": None}, True]}):
        assert parse_envelope(as_sent(unsigned(operations=[operation])), SUITE).operations == (operation,)
    too_deep = unsigned(operations=[nested(32)]).replace(b"{}", b'{"a":{}}')
    assert refused(as_sent(too_deep)).code == "json_depth"


def test_n1_an_envelope_above_two_mebibytes_is_refused_before_it_is_parsed() -> None:
    assert refused(b"\xff" * (MAX_ENVELOPE_BYTES + 1)).code == "json_too_large"
    assert parse_envelope(unsigned(operations=[{"type": "x"}] * 1000), SUITE).operations[999] == {"type": "x"}
