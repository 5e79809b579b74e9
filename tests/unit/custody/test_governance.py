"""Who may do what on the custody chain, recovery and registration of regions, changes of validators."""

from __future__ import annotations

from typing import Any

import pytest

from common.chain.schedule import ScheduledSet, protocol_version, scheduled_set
from common.chain.signers import organisation_quorum
from common.core.errors import Rejected
from common.core.genesis import build_genesis
from common.core.validators import ValidatorSet
from crosslink.lightclient.delivery import Delivery
from custody_chain.application import CustodyApplication
from tests.support.chains import START_MS, ChainBuilder, member_names, sample_snapshot, validator_set
from tests.support.custody import GOVERNORS as QUORUM
from tests.support.custody import (
    LETTERS,
    SUITE,
    Custody,
    custody_genesis,
    entry_of,
    holder,
    market_with_product,
    public_key,
)
from tests.support.custody import recovery as recovery_of_region
from tests.support.refusals import refused


def code_of(custody: Custody, operation: dict[str, Any], signers: tuple[str, ...]) -> str:
    """The code with which one operation is refused at admission; execution must refuse it alike."""
    with pytest.raises(Rejected) as refusal:
        custody.run([operation], signers)
    tx = custody.sign([operation], signers)
    with refused(refusal.value.code):
        custody.execute(tx)
    return refusal.value.code


def test_r8_only_a_relay_may_submit_and_only_registered_keys_exist(custody: Custody, chain: ChainBuilder) -> None:
    operation = Delivery("beijing", (entry_of(chain.grow(1)[0]),)).to_operation()
    assert code_of(custody, operation, ("operator",)) == "role_not_allowed"
    assert code_of(custody, operation, ("stranger",)) == "signer_unknown"
    assert code_of(custody, operation, ("relay", "stranger")) == "signer_unknown"
    custody.run([operation], ("relay",))


@pytest.mark.parametrize(
    "operation_type",
    ["region.register", "region.recover", "validators.change", "protocol.activate", "signer.set", "signer.remove"],
)
def test_r8_a_relay_reaches_no_privileged_operation(custody: Custody, operation_type: str) -> None:
    operation = {"type": operation_type, "reason": "please"}
    assert code_of(custody, operation, ("relay",)) == "role_not_allowed"
    assert code_of(custody, operation, ("relay", *QUORUM)) == "role_not_allowed"


@pytest.mark.parametrize(
    "field", [{"business_id": "b-1"}, {"occurred_at_ms": START_MS}, {"basis": {"kind": "resolution"}}]
)
def test_governance_is_no_registration_and_carries_its_reason_alone(custody: Custody, field: dict[str, Any]) -> None:
    """docs/adr/0064."""
    operation = {"type": "signer.remove", "public_key": public_key("operator"), "reason": "left"}
    assert code_of(custody, operation | field, QUORUM) == "field_unknown"
    custody.run([operation], QUORUM)


def test_an_unknown_operation_is_refused(custody: Custody) -> None:
    assert code_of(custody, {"type": "policy.change"}, QUORUM) == "operation_type_unknown"


@pytest.mark.parametrize(("organisations", "quorum"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 4), (6, 4), (7, 5)])
def test_the_quorum_of_organisations_is_that_of_validators(organisations: int, quorum: int) -> None:
    assert organisation_quorum(organisations) == quorum
    assert validator_set(member_names("x", organisations)).quorum == quorum


def register(chain: ChainBuilder, **changes: Any) -> dict[str, Any]:
    root = chain.trust_root().to_json()
    root.pop("tier")
    region = {**root, "region_letters": LETTERS[chain.network], **changes}
    return {"type": "region.register", "region": region, "reason": "a new market joins"}


def test_a_quorum_of_organisations_registers_a_region(custody: Custody) -> None:
    shanghai = ChainBuilder(network="shanghai")
    operation = register(shanghai)
    assert code_of(custody, operation, QUORUM[:2]) == "organisations_too_few"
    custody.run([operation], QUORUM)
    assert code_of(custody, operation, QUORUM) == "region_known"
    custody.deliver(shanghai, *market_with_product("SH000001.ESVUFR2601"))
    assert custody.region("shanghai")["anchored"]["height"] == 1


def test_a_chain_is_no_region_twice(custody: Custody, chain: ChainBuilder) -> None:
    again = register(chain, network="jx", region_letters="JX")
    assert code_of(custody, again, QUORUM) == "region_chain_known"


def test_letters_are_free_once_the_region_that_has_them_is_silent(custody: Custody) -> None:
    again = register(ChainBuilder(network="shanghai"), region_letters="BJ")
    custody.time_ms = START_MS
    assert code_of(custody, again, QUORUM) == "region_letters_taken"
    custody.time_ms += 121_000
    custody.run([again], QUORUM)
    assert custody.region("shanghai")["region_letters"] == "BJ"


@pytest.mark.parametrize(
    "changes",
    [
        {"genesis_id": "00" * 32},
        {"validators": []},
        {"client_type": "none/v1"},
        {"suite": "none"},
        {"trusting_period_ms": 0},
        {"region_letters": "ZZ"},
        {"silent_after_ms": 0},
        {"network": "custody"},
        {"surprise": 1},
    ],
)
def test_r4_a_zero_default_or_unsafe_trust_root_is_refused(custody: Custody, changes: dict[str, Any]) -> None:
    with pytest.raises(Rejected):
        custody.run([register(ChainBuilder(network="shanghai"), **changes)], QUORUM)
    assert custody.get("region", "shanghai") is None


@pytest.mark.parametrize(
    "changes",
    [
        {"genesis_id": "00" * 32},
        {"trust": {"suite": SUITE.name, "validators": []}},
        {"client_type": "none/v1"},
        {"trusting_period_ms": 0},
    ],
)
def test_r4_a_genesis_with_an_unsafe_trust_root_makes_no_chain(chain: ChainBuilder, changes: dict[str, Any]) -> None:
    with pytest.raises(Rejected):
        CustodyApplication(custody_genesis([chain], **changes))


def test_r4_a_delivery_cannot_bring_a_trust_root(custody: Custody, chain: ChainBuilder) -> None:
    operation = Delivery("beijing", (entry_of(chain.grow(1)[0]),)).to_operation()
    operation["trust_root"] = chain.trust_root().to_json()
    with refused("field_unknown"):
        custody.run([operation])


def frozen(custody: Custody, chain: ChainBuilder) -> None:
    """Three anchored blocks, then another third block."""
    chain.grow(3, snapshots_each=1)
    custody.submit("beijing", *chain.blocks)
    other = ChainBuilder()
    other.grow(2, snapshots_each=1)
    custody.submit("beijing", other.extend([sample_snapshot("other")]))
    assert custody.region()["frozen"] is not None


def recovery(custody: Custody, chain: ChainBuilder, height: int, **changes: Any) -> dict[str, Any]:
    """Trust the region from the block after `height` on."""
    return recovery_of_region(chain, height, custody.region()["anchored"]["id"], **changes)


def test_a_frozen_region_comes_back_by_governance_and_its_history_stays(custody: Custody, chain: ChainBuilder) -> None:
    frozen(custody, chain)
    chain.grow(2)
    operation = recovery(custody, chain, 5)
    assert code_of(custody, operation, QUORUM[:2]) == "organisations_too_few"
    custody.run([operation], QUORUM)
    region = custody.region()
    assert (region["frozen"], region["recoveries"], region["anchored"]["height"]) == (None, 1, 5)
    assert custody.alerts() == []
    ids = custody.get("anchored", "beijing", "0")["ids"]
    assert ids[:4] == [chain.id_at(height).hex() for height in range(4)]
    assert ids[4:] == ["", chain.id_at(5).hex()], "heights that were never delivered hold an empty id"
    custody.report(*market_with_product(), *holder(1, 10))
    assert custody.region()["anchored"]["height"] == 6


@pytest.mark.parametrize("delivered", [0, 2, 3])
def test_a_block_that_was_partly_delivered_before_a_recovery_is_taken_in_once(
    custody: Custody, chain: ChainBuilder, delivered: int
) -> None:
    custody.submit("beijing", chain.extend([sample_snapshot("first")]))
    block = chain.extend([*market_with_product(), *holder(1, 10)])
    custody.submit("beijing", entry_of(block, last=delivered))
    custody.run([recovery(custody, chain, 1)], QUORUM)
    custody.run([recovery(custody, chain, 1)], QUORUM)
    custody.submit("beijing", block)
    region = custody.region()
    assert (region["anchored"]["height"], region["snapshots"], region["partial"]) == (2, 6, None)
    assert region["abandoned"] is None
    assert custody.alerts() == []


def test_a_recovery_names_what_is_anchored_and_goes_forward_only(custody: Custody, chain: ChainBuilder) -> None:
    frozen(custody, chain)
    chain.grow(2)
    assert code_of(custody, recovery(custody, chain, 5, previous_anchored_id="11" * 32), QUORUM) == "recovery_outdated"
    assert code_of(custody, recovery(custody, chain, 5, from_height=5), QUORUM) == "recovery_root"
    assert code_of(custody, recovery(custody, chain, 2), QUORUM) == "recovery_backwards"
    stranger = ChainBuilder(application={"deployment": 2})
    stranger.grow(5)
    assert code_of(custody, recovery(custody, stranger, 5), QUORUM) == "recovery_root"
    custody.run([recovery(custody, chain, 3)], QUORUM)
    assert custody.region()["anchored"]["height"] == 3


def test_an_active_region_needs_no_recovery(custody: Custody, chain: ChainBuilder) -> None:
    custody.submit("beijing", chain.extend(time_ms=custody.time_ms))
    assert code_of(custody, recovery(custody, chain, 1), QUORUM) == "region_active"


def test_an_expired_region_comes_back_by_governance(chain: ChainBuilder) -> None:
    custody = Custody([chain], settings={"trusting_period_ms": 500_000})
    chain.grow(1)
    assert custody.refused("beijing", *chain.blocks) == "expired"
    custody.run([recovery(custody, chain, 1)], QUORUM)
    custody.submit("beijing", chain.extend())
    assert custody.region()["anchored"]["height"] == 2


def test_the_custody_validators_change_by_governance(custody: Custody) -> None:
    present = custody.genesis.validators
    members = ValidatorSet((*present.members[1:], *validator_set(["a"]).members))
    operation = {"type": "validators.change", "validators": members.to_json(SUITE), "reason": "rotation"}
    assert code_of(custody, operation, QUORUM) == "field_missing"
    operation["effective_height"] = custody.height + 5  # type: ignore[assignment]
    assert code_of(custody, operation, QUORUM[:2]) == "organisations_too_few"
    custody.run([operation], QUORUM)
    assert scheduled_set(custody.state, SUITE) == ScheduledSet(custody.height + 4, members)
    assert code_of(custody, operation, QUORUM) == "change_pending"
    withdrawal = {**operation, "validators": present.to_json(SUITE), "replaces": operation["effective_height"]}
    custody.run([withdrawal], QUORUM)
    assert scheduled_set(custody.state, SUITE) is None
    twice = {**operation, "validators": members.to_json(SUITE)[:1] * 2}
    with pytest.raises(Rejected):
        custody.run([twice], QUORUM)


def test_c19_custody_activates_a_version_before_any_region_may_follow(custody: Custody, chain: ChainBuilder) -> None:
    """Which headers count follows from the custody chain's own version, never from a validator's software."""
    chain.grow(1)
    newer = chain.extend(protocol_version=2)
    custody.submit("beijing", chain.blocks[0])
    assert custody.refused("beijing", newer) == "protocol_version_ahead"
    operation = {"type": "protocol.activate", "version": 2, "height": custody.height + 3, "reason": "all upgraded"}
    custody.run([operation], QUORUM)
    assert protocol_version(custody.state, custody.genesis, custody.height + 1) == 1
    assert protocol_version(custody.state, custody.genesis, custody.height + 2) == 2
    custody.protocol_version = 2
    custody.submit("beijing", newer)
    assert custody.region()["client"]["trust"]["protocol_version"] == 2
    older = chain.extend(protocol_version=1)
    assert custody.refused("beijing", older) == "protocol_version_lowered"


def set_signer(name: str, role: str, organisation: str = "") -> dict[str, Any]:
    return {
        "type": "signer.set",
        "public_key": public_key(name),
        "organisation": organisation or name,
        "role": role,
        "reason": "a key is replaced",
    }


def test_signers_are_set_and_removed_by_governance(custody: Custody, chain: ChainBuilder) -> None:
    delivery = Delivery("beijing", (entry_of(chain.grow(1)[0]),)).to_operation()
    custody.run([set_signer("new-relay", "relay")], QUORUM)
    custody.run([delivery], ("new-relay",))
    remove = {"type": "signer.remove", "public_key": public_key("relay"), "reason": "the key was lost"}
    assert code_of(custody, remove, ("operator",)) == "role_not_allowed"
    custody.run([remove], QUORUM)
    assert code_of(custody, delivery, ("relay",)) == "signer_unknown"
    with refused("signer_absent"):
        custody.run([remove], QUORUM)


def test_the_quorum_follows_the_organisations_that_govern(custody: Custody) -> None:
    operation = register(ChainBuilder(network="shanghai"))
    custody.run([set_signer(f"governance-{n}", "governance") for n in range(5, 8)], QUORUM)
    assert code_of(custody, operation, QUORUM) == "organisations_too_few"
    custody.run([operation], tuple(f"governance-{n}" for n in range(1, 6)))


def test_governance_cannot_end_itself(custody: Custody) -> None:
    removals = [
        {"type": "signer.remove", "public_key": public_key(f"governance-{n}"), "reason": "all of them"}
        for n in range(1, 5)
    ]
    with pytest.raises(Rejected) as refusal:
        custody.run(removals, QUORUM)
    assert refusal.value.code == "governance_lost"
    assert refusal.value.parameters["operation_index"] == 2


@pytest.mark.parametrize(
    "rule", [{"maker": ["nobody"], "checkers": []}, {"maker": ["governance"], "checkers": [["x"]]}]
)
def test_no_policy_locks_governance_out(custody: Custody, rule: dict[str, Any]) -> None:
    rules = [{"operation_type": "policy.set", **rule}]
    policy = {"type": "policy.set", "rules": rules, "height": custody.height + 9, "reason": "locked"}
    with refused("governance_lost"):
        custody.run([policy], QUORUM)


@pytest.mark.parametrize("changes", [{"public_key": "ed25519:00"}, {"role": "a b"}, {"organisation": ""}, {"extra": 1}])
def test_a_wrong_signer_is_refused(custody: Custody, changes: dict[str, Any]) -> None:
    with pytest.raises(Rejected):
        custody.run([{**set_signer("x", "relay"), **changes}], QUORUM)


def changed_genesis(chain: ChainBuilder, **changes: Any) -> None:
    genesis = custody_genesis([chain])
    application = {**genesis.application, **changes}
    CustodyApplication(
        build_genesis(
            network="custody",
            tier="custody",
            suite=SUITE,
            time_ms=START_MS,
            validators=genesis.validators,
            application=application,
        )
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"model_schema_hash": "00" * 32},
        {"signers": []},
        {"signers": [{"public_key": "ed25519:00", "organisation": "x", "role": "relay"}]},
        {"policy": {"region.erase": {"maker": ["relay"], "checkers": []}}},
        {"policy": {"crosslink.submit": {"maker": []}}},
        {"regions": "all"},
        {"surprise": True},
    ],
)
def test_a_wrong_genesis_makes_no_chain(chain: ChainBuilder, changes: dict[str, Any]) -> None:
    with pytest.raises(Rejected):
        changed_genesis(chain, **changes)


def test_the_same_person_cannot_sign_twice(chain: ChainBuilder) -> None:
    genesis = custody_genesis([chain])
    signers = [{**signer, "person": "zhang"} for signer in genesis.application["signers"]]
    custody = Custody([chain])
    custody.genesis = build_genesis(
        network="custody",
        tier="custody",
        suite=SUITE,
        time_ms=START_MS,
        validators=genesis.validators,
        application={**genesis.application, "signers": signers},
    )
    custody.application = CustodyApplication(custody.genesis)
    custody.application.initial_state(custody.genesis, _View(custody))
    assert code_of(custody, register(ChainBuilder(network="shanghai")), QUORUM) == "approval_same_person"


class _View:
    """Writes straight into the test chain's state."""

    def __init__(self, custody: Custody) -> None:
        self.get, self.get_index = custody.state.get, custody.state.get_index
        self.scan, self.scan_index = custody.state.scan, custody.state.scan_index
        self.put = custody.state.values.__setitem__
        self.put_index = custody.state.index.__setitem__

    def delete(self, key: bytes) -> None:
        raise AssertionError(key)

    delete_index = delete


def test_a_delivery_needs_the_approvals_that_the_policy_demands(chain: ChainBuilder) -> None:
    changed_genesis(chain, policy={"crosslink.submit": {"maker": ["relay"], "checkers": [["operator"]]}})
    custody = Custody([chain])
    stored = custody.state.values[b"policy"].replace(
        b'"crosslink.submit":{"checkers":[]', b'"crosslink.submit":{"checkers":[["operator"]]'
    )
    custody.state.values[b"policy"] = stored
    operation = Delivery("beijing", (entry_of(chain.grow(1)[0]),)).to_operation()
    assert code_of(custody, operation, ("relay",)) == "approval_missing"
    custody.run([operation], ("relay", "operator"))


def test_a_malformed_operation_is_named_by_its_index(custody: Custody, chain: ChainBuilder) -> None:
    good = Delivery("beijing", (entry_of(chain.grow(1)[0]),)).to_operation()
    set_signer = {"type": "signer.set", "public_key": public_key("new"), "organisation": "o", "role": "relay"}
    bad: list[dict[str, Any]] = [
        {"type": "nonsense"},
        {"type": "crosslink.submit", "region": "beijing"},
        {"type": "crosslink.submit", "region": "beijing", "blocks": ["x"]},
        {"type": "crosslink.misbehaviour", "region": "beijing"},
    ]
    for signers, first, operations in (("relay",), good, bad), (QUORUM, set_signer | {"reason": "r"}, [set_signer]):
        for operation in operations:
            tx = custody.sign([first, operation], signers)
            for judge in (custody.execute, lambda tx: custody.application.check(tx, custody.state, custody.context())):
                with pytest.raises(Rejected) as refusal:
                    judge(tx)
                assert refusal.value.parameters["operation_index"] == 1, (operation, refusal.value.code)


def test_what_a_signer_is_named_by_is_not_null(custody: Custody) -> None:
    """As on a business chain: a person is stated or left out."""
    fields = {
        "type": "signer.set",
        "public_key": public_key("new"),
        "organisation": "o",
        "role": "relay",
        "reason": "r",
    }
    for name in ("organisation", "person", "label"):
        code = "label_invalid" if name == "label" else "principal_invalid"
        assert code_of(custody, fields | {name: None}, QUORUM) == code
    custody.run([fields], QUORUM)
    assert custody.get("signer", public_key("new")) == {"organisation": "o", "role": "relay"}
