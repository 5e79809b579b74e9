"""Protocol versions of another chain: upwards only, and never above what the verifier takes in (attack C19)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from common.core.errors import Rejected
from common.core.protocol import latest_version, rehearse_next_version
from crosslink.lightclient.client_state import ClientState
from crosslink.lightclient.evidence_check import verify_evidence
from crosslink.lightclient.pbft.trust import trust_of
from crosslink.lightclient.port import is_retryable
from crosslink.lightclient.update import update
from tests.support.chains import START_MS, BuiltBlock, ChainBuilder
from tests.support.evidence import evidence_case, with_tip
from tests.support.lightclient import verify_header
from tests.support.refusals import refused

NOW_MS = START_MS + 3600_000


@pytest.fixture(autouse=True)
def next_version() -> Iterator[int]:
    """The software that verifies knows version 2."""
    with rehearse_next_version() as version:
        yield version


def follow(state: ClientState, block: BuiltBlock, newest_version: int | None = None) -> ClientState:
    return update(state, verify_header(state, block.message, now_ms=NOW_MS, newest_version=newest_version))


def refusal(state: ClientState, block: BuiltBlock, newest_version: int | None = None) -> Rejected:
    with pytest.raises(Rejected) as caught:
        follow(state, block, newest_version)
    return caught.value


def test_c19_the_state_follows_versions_upwards_and_says_so() -> None:
    chain = ChainBuilder()
    state = chain.client_state()
    assert trust_of(state).protocol_version == 1
    for version in (1, 1, 2, 2):
        state = follow(state, chain.extend(protocol_version=version))
    assert trust_of(state).protocol_version == 2
    assert ClientState.from_json(state.to_json()) == state
    lowered = refusal(state, chain.extend(protocol_version=1))
    assert (lowered.code, is_retryable(lowered)) == ("protocol_version_lowered", False)


def test_c19_a_version_that_is_not_active_at_the_verifier_waits() -> None:
    chain = ChainBuilder()
    state, block = chain.client_state(), chain.extend(protocol_version=2)
    ahead = refusal(state, block, newest_version=1)
    assert (ahead.code, is_retryable(ahead)) == ("protocol_version_ahead", True)
    assert follow(state, block, newest_version=2).height == 1


def test_c19_a_lie_about_the_version_is_refused_as_a_lie() -> None:
    """Without the validators' signatures a version proves nothing, and nobody waits for it."""
    chain = ChainBuilder()
    block = chain.extend()
    lie = replace(block, header=replace(block.header, protocol_version=9))
    assert refusal(chain.client_state(), lie).code.startswith("certificate_")


def test_c19_offline_verification_says_that_it_is_too_old() -> None:
    case = evidence_case()
    tip = case.custody.block(6).header
    newer = case.custody.seal(replace(tip, protocol_version=latest_version() + 1))
    with refused("protocol_version_unknown"):
        verify_evidence(with_tip(case.evidence, newer), case.trust)
    known = case.custody.seal(replace(tip, protocol_version=latest_version()))
    assert verify_evidence(with_tip(case.evidence, known), case.trust).height == tip.height


def test_c19_a_region_block_of_an_unknown_version_is_not_judged_by_the_old_rules() -> None:
    newer = evidence_case(latest_version() + 1)
    with refused("protocol_version_unknown"):
        verify_evidence(newer.evidence, newer.trust)
    known = evidence_case(latest_version())
    assert verify_evidence(known.evidence, known.trust).region_height == 3
