"""Trust roots and the trust file: nothing zero, default, partial or doubtful is ever trusted (attack R4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from common.core.codec import canonical_json
from common.core.errors import Malformed, Rejected
from common.core.validators import ValidatorSet
from crosslink.lightclient.client_state import ClientState
from crosslink.lightclient.pbft.trust import root_document, trust_of
from crosslink.lightclient.trust import build_trust_file, parse_trust_file
from crosslink.lightclient.trust_root import TrustRoot
from tests.support.chains import START_MS, ChainBuilder, validator_set
from tests.support.chains import checkpoint as pbft_checkpoint

CHAIN = ChainBuilder()
ROOT = CHAIN.trust_root()


def test_a_root_survives_its_json_form() -> None:
    checkpoint = pbft_checkpoint(height=7, id=b"\x07" * 32, time_ms=START_MS, validators=CHAIN.validators)
    for root in (ROOT, replace(ROOT, tier="", trusting_period_ms=5), replace(ROOT, checkpoint=checkpoint)):
        assert TrustRoot.from_json(root.to_json()) == root


BAD_ROOTS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "zero genesis id": lambda root: root.update(genesis_id="00" * 32),
    "short genesis id": lambda root: root.update(genesis_id="ab" * 31),
    "empty genesis id": lambda root: root.update(genesis_id=""),
    "upper case": lambda root: root.update(genesis_id="AB" * 32),
    "no validators": lambda root: root["trust"].update(validators=[]),
    "too many validators": lambda root: root["trust"].update(validators=root["trust"]["validators"] * 26),
    "doubled validator": lambda root: root["trust"].update(validators=root["trust"]["validators"][:1] * 2),
    "zero key": lambda root: root["trust"]["validators"][0].update(public_key="ed25519:" + "00" * 32),
    "identity key": lambda root: root["trust"]["validators"][0].update(public_key="ed25519:01" + "00" * 31),
    "foreign field in a validator": lambda root: root["trust"]["validators"][0].update(weight=2),
    "zero period": lambda root: root.update(trusting_period_ms=0),
    "negative period": lambda root: root.update(trusting_period_ms=-1),
    "boolean period": lambda root: root.update(trusting_period_ms=True),
    "unknown client type": lambda root: root.update(client_type="solo-machine"),
    "no client type": lambda root: root.pop("client_type"),
    "unknown suite": lambda root: root["trust"].update(suite="rsa-md5"),
    "empty network": lambda root: root.update(network=""),
    "network that is a path": lambda root: root.update(network="a/b"),
    "unknown tier": lambda root: root.update(tier="world"),
    "unknown field": lambda root: root.update(trust_me=True),
    "zero checkpoint": lambda root: root["checkpoint"].update(id="00" * 32),
    "checkpoint at genesis": lambda root: root["checkpoint"].update(height=0),
    "checkpoint without a set": lambda root: root["checkpoint"]["trust"].update(validators=[]),
    "short checkpoint id": lambda root: root["checkpoint"].update(id="07" * 31),
    "no trust": lambda root: root.update(trust={}),
    "trust that is a list": lambda root: root.update(trust=[]),
}


@pytest.mark.parametrize("change", BAD_ROOTS.values(), ids=BAD_ROOTS.keys())
def test_r4_zero_default_or_uninitialised_root_is_refused(change: Callable[[dict[str, Any]], Any]) -> None:
    checkpoint = pbft_checkpoint(height=7, id=b"\x07" * 32, time_ms=START_MS, validators=CHAIN.validators)
    document = replace(ROOT, checkpoint=checkpoint).to_json()
    change(document)
    with pytest.raises(Rejected):
        TrustRoot.from_json(document)


@pytest.mark.parametrize("document", [None, {}, [], 1, "root", {"network": "beijing"}])
def test_r4_something_that_is_no_root_is_refused(document: Any) -> None:
    with pytest.raises(Malformed):
        TrustRoot.from_json(document)


def test_r4_a_root_built_in_code_is_checked_as_well() -> None:
    for changes in ({"genesis_id": bytes(32)}, {"trusting_period_ms": 0}, {"client_type": ""}, {"network": ""}):
        with pytest.raises(Malformed):
            CHAIN.trust_root(**changes)


def test_the_fingerprint_names_the_chain_and_its_first_validators_only() -> None:
    same = replace(ROOT, trusting_period_ms=1, tier="")
    assert same.fingerprint() == ROOT.fingerprint()
    others = [
        replace(ROOT, network="shanghai"),
        replace(ROOT, genesis_id=b"\x01" * 32),
        replace(ROOT, trust=root_document(CHAIN.suite, validator_set(["x"]))),
    ]
    assert len({root.fingerprint() for root in [ROOT, *others]}) == 4


def test_a_trust_file_holds_one_root_a_network_and_nothing_else() -> None:
    custody = ChainBuilder("custody", tier="custody").trust_root()
    trust = build_trust_file([ROOT, custody])
    assert parse_trust_file(trust.encode()) == trust
    assert trust.root("custody") == custody
    assert trust.find("nowhere") is None
    with pytest.raises(Rejected, match="trust_duplicate"):
        build_trust_file([ROOT, ROOT])
    for change in ({"format": "tongjian/trust/v2"}, {"extra": 1}, {"roots": "all"}, {"roots": [None]}):
        with pytest.raises(Rejected):
            parse_trust_file(canonical_json(trust.to_json() | change))
    with pytest.raises(Rejected, match="json_duplicate_key"):
        parse_trust_file(trust.encode()[:-1] + b',"format":"tongjian/trust/v1"}')


TRUST = ClientState.from_root(ROOT, established_ms=START_MS).to_json()["trust"]

BAD_STATES: dict[str, dict[str, Any]] = {
    "zero block id": {"block_id": "00" * 32},
    "zero genesis id": {"genesis_id": "00" * 32},
    "height without a block": {"height": 3},
    "root above the tip": {"root_height": 1},
    "no epochs": {"trust": TRUST | {"epochs": []}},
    "epoch of another set": {"trust": TRUST | {"epochs": [{"first_height": 1, "validators_hash": "ab" * 32}]}},
    "epoch above the tip": {"trust": TRUST | {"epochs": [TRUST["epochs"][0] | {"first_height": 2}]}},
    "trust of another type": {"trust": {"weights": [1]}},
    "unknown client type": {"client_type": "solo-machine"},
    "frozen without a height": {"frozen_height": "yes"},
    "zero period": {"trusting_period_ms": 0},
    "unknown field": {"note": "trust me"},
}


@pytest.mark.parametrize("change", BAD_STATES.values(), ids=BAD_STATES.keys())
def test_r4_uninitialised_or_inconsistent_client_state_is_refused(change: dict[str, Any]) -> None:
    document = ClientState.from_root(ROOT, established_ms=START_MS).to_json()
    assert ClientState.from_json(document).to_json() == document
    with pytest.raises(Rejected):
        ClientState.from_json(document | change)


def test_r4_zero_tip_above_genesis_is_refused() -> None:
    document = ClientState.from_root(ROOT, established_ms=START_MS).to_json()
    assert ClientState.from_json(document | {"height": 3, "block_id": "07" * 32}).height == 3
    with pytest.raises(Rejected, match="trust_zero_id"):
        ClientState.from_json(document | {"height": 3, "block_id": "00" * 32})


def test_a_client_starts_at_the_checkpoint_of_its_root() -> None:
    later: ValidatorSet = validator_set(["x-1", "x-2"])
    checkpoint = pbft_checkpoint(height=7, id=b"\x07" * 32, time_ms=START_MS + 7, validators=later)
    state = ClientState.from_root(replace(ROOT, checkpoint=checkpoint), established_ms=START_MS)
    assert (state.height, state.block_id, state.time_ms, trust_of(state).validators) == (
        7,
        b"\x07" * 32,
        START_MS + 7,
        later,
    )
    assert ClientState.from_json(state.to_json()) == state
