"""Commit certificates: exactly the honest ones verify."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.core.certificate import COMMIT_TAG, Certificate, commit_payload, verify_certificate
from common.core.codec import Writer
from common.core.errors import CertificateInvalid, CodecError
from common.core.genesis import GENESIS_TAG
from common.core.header import HEADER_TAG, Header
from common.core.transaction import ENVELOPE_TAG, TRANSACTION_TAG
from common.core.validators import VALIDATORS_TAG, ValidatorSet
from tests.support.refusals import refused
from tests.unit.core import builders
from tests.unit.core.builders import SUITE

FOUR = builders.validator_set(4)
HEADER = builders.header(FOUR)


def refusal(certificate: Certificate, header: Header = HEADER, validators: ValidatorSet = FOUR) -> str:
    with pytest.raises(CertificateInvalid) as caught:
        verify_certificate(SUITE, validators, header, certificate)
    return caught.value.code


@pytest.mark.parametrize("signers", [[0, 1, 2], [0, 1, 3], [1, 2, 3], [0, 1, 2, 3]])
def test_every_quorum_verifies(signers: list[int]) -> None:
    verify_certificate(SUITE, FOUR, HEADER, builders.certificate(HEADER, signers))
    verify_certificate(SUITE, FOUR, HEADER, builders.certificate(HEADER, signers, view=9))


@pytest.mark.parametrize("size", range(1, 11))
def test_c7_a_quorum_passes_and_one_less_fails(size: int) -> None:
    validators = builders.validator_set(size)
    header = builders.header(validators)
    verify_certificate(SUITE, validators, header, builders.certificate(header, list(range(validators.quorum))))
    short = builders.certificate(header, list(range(validators.quorum - 1)))
    assert refusal(short, header, validators) == "certificate_too_few"


def test_c4_certificate_with_duplicate_signer_is_refused() -> None:
    good = builders.certificate(HEADER, [0, 1])
    twice = replace(good, signatures=(*good.signatures, good.signatures[1]))
    assert refusal(twice) == "certificate_duplicate_signer"
    out_of_order = replace(good, signatures=builders.certificate(HEADER, [1, 0, 2]).signatures)
    assert refusal(out_of_order) == "certificate_duplicate_signer"


def test_c4_certificate_with_forged_signature_is_refused() -> None:
    good = builders.certificate(HEADER, [0, 1, 2])
    other = builders.certificate(HEADER, [2, 1, 0]).signatures
    swapped = replace(good, signatures=tuple((at, other[at][1]) for at in range(3)))
    assert refusal(swapped) == "certificate_bad_signature"
    extra_bad = replace(good, signatures=(*good.signatures, (3, bytes(64))))
    assert refusal(extra_bad) == "certificate_bad_signature"
    empty = replace(good, signatures=tuple((at, b"") for at in range(3)))
    assert refusal(empty) == "certificate_bad_signature"


def test_c4_certificate_with_too_few_signers_is_refused() -> None:
    assert refusal(builders.certificate(HEADER, [0, 1])) == "certificate_too_few"
    assert refusal(builders.certificate(HEADER, [])) == "certificate_too_few"


def test_c4_certificate_with_foreign_signers_is_refused() -> None:
    foreign = builders.certificate(HEADER, [0, 1, 2], first_seed=2000)
    assert refusal(foreign) == "certificate_bad_signature"
    outside = builders.certificate(HEADER, [0, 1, 4])
    assert refusal(outside) == "certificate_unknown_signer"


def test_c4_certificate_relabelled_with_another_view_is_refused() -> None:
    assert refusal(replace(builders.certificate(HEADER, [0, 1, 2], view=1), view=2)) == "certificate_bad_signature"


def test_c9_certificate_under_another_set_is_refused() -> None:
    grown = builders.validator_set(5)
    assert refusal(builders.certificate(HEADER, [0, 1, 2, 3]), HEADER, grown) == "certificate_wrong_set"


def test_c8_malleated_signature_does_not_count() -> None:
    good = builders.certificate(HEADER, [0, 1, 2])
    index, signature = good.signatures[2]
    malleated = replace(good, signatures=(*good.signatures[:2], (index, builders.malleated(signature))))
    assert refusal(malleated) == "certificate_bad_signature"
    twice = replace(good, signatures=(*good.signatures[:2], (1, builders.malleated(good.signatures[1][1]))))
    assert refusal(twice) == "certificate_duplicate_signer"


def test_c8_one_list_of_votes_has_one_encoding() -> None:
    good = builders.certificate(HEADER, [0, 1, 2])
    for order in ((1, 0, 2), (0, 0, 1), (0, 1, 1)):
        broken = replace(good, signatures=tuple((at, bytes(64)) for at in order))
        with refused("certificate_order", CodecError):
            Certificate.decode(broken.encode())


def test_c10_certificate_for_another_height_or_block_is_refused() -> None:
    good = builders.certificate(HEADER, [0, 1, 2])
    assert refusal(good, replace(HEADER, height=2)) == "certificate_wrong_height"
    assert refusal(good, replace(HEADER, time_ms=HEADER.time_ms + 1)) == "certificate_wrong_block"


@pytest.mark.parametrize(
    "changes",
    [{"network": "shanghai"}, {"genesis_id": bytes(32)}, {"height": 2}, {"protocol_version": 2}, {"proposer": 0}],
)
def test_c10_signatures_do_not_move_to_another_chain_or_block(changes: dict[str, Any]) -> None:
    header = replace(HEADER, **changes)
    original = builders.certificate(HEADER, [0, 1, 2])
    moved = Certificate(header.height, 0, header.id(SUITE), original.signatures)
    assert refusal(moved, header) == "certificate_bad_signature"


def test_c10_a_signature_over_any_other_structure_is_no_commit_vote() -> None:
    """The same body under another tag, the bare header id and the bare body: none signs a commit."""
    body = Writer().fixed(HEADER.genesis_id, 32).text8("beijing").u64(1).u64(0).fixed(HEADER.id(SUITE), 32).bytes()
    assert SUITE.tagged_hash(COMMIT_TAG, body) == commit_payload(
        SUITE, HEADER.genesis_id, "beijing", 1, 0, HEADER.id(SUITE)
    )
    tags = (TRANSACTION_TAG, ENVELOPE_TAG, HEADER_TAG, VALIDATORS_TAG, GENESIS_TAG + "x", "tongjian/vote/prepare/v1")
    messages = [SUITE.tagged_hash(tag, body) for tag in tags] + [HEADER.id(SUITE), body]
    for message in messages:
        signatures = tuple((at, SUITE.sign(builders.seed(1000 + at), message)) for at in range(3))
        assert refusal(Certificate(1, 0, HEADER.id(SUITE), signatures)) == "certificate_bad_signature"


def test_e4_all_tags_differ_and_so_do_hashes_of_the_same_bytes() -> None:
    tags = [COMMIT_TAG, TRANSACTION_TAG, ENVELOPE_TAG, HEADER_TAG, VALIDATORS_TAG, GENESIS_TAG]
    assert len(set(tags)) == len(tags)
    assert len({SUITE.tagged_hash(tag, b"same") for tag in tags}) == len(tags)


def test_e4_commit_payload_separates_its_fields() -> None:
    def payload(network: str, height: int, view: int) -> bytes:
        return commit_payload(SUITE, bytes(32), network, height, view, bytes(32))

    assert len({payload("a", 1, 2), payload("a", 2, 1), payload("a1", 0, 2), payload("a\x31"[:1], 258, 0)}) == 4


@given(st.binary(max_size=300))
def test_e2_arbitrary_bytes_are_refused_or_reencode_to_themselves(data: bytes) -> None:
    try:
        value = Certificate.decode(data)
    except CodecError:
        return
    assert value.encode() == data


def test_e2_versions_and_counts_are_bounded() -> None:
    data = builders.certificate(HEADER, [0]).encode()
    for broken in (b"\x02" + data[1:], data[:49] + b"\xff\xff" + data[51:]):
        with pytest.raises(CodecError):
            Certificate.decode(broken)
    many = Certificate(1, 0, bytes(32), tuple((at, bytes(64)) for at in range(101)))
    assert len(Certificate.decode(replace(many, signatures=many.signatures[:100]).encode()).signatures) == 100
    with refused("certificate_too_many", CodecError):
        Certificate.decode(many.encode())
