"""Who may make and approve operations, and what a quorum of organisations decides."""

from __future__ import annotations

import pytest

from common.chain.schedule import scheduled_set
from common.core.errors import Rejected
from tests.support.refusals import refused
from tests.unit.business.market import Market, genesis, key


def four_eyes() -> Market:
    """Transfers need an operator, then a reviewer; the second operator key belongs to the reviewer's person."""
    signers = [
        {"public_key": key("operator"), "organisation": "market", "role": "operator", "person": "p1"},
        {"public_key": key("reviewer"), "organisation": "market", "role": "reviewer", "person": "p2"},
        {"public_key": key("same"), "organisation": "market", "role": "reviewer", "person": "p1"},
        {"public_key": key("clerk"), "organisation": "member", "role": "clerk", "person": "p3"},
    ]
    policy = {
        "registration.transfer": {"maker": ["operator"], "checkers": [["reviewer", "auditor"]]},
        "subject.register": {"maker": ["*"], "checkers": []},
    }
    return Market(genesis(signers=signers, policy=policy)).open_for_business(700, 300)


@pytest.mark.parametrize(
    ("signers", "code"),
    [
        (("operator",), "approval_missing"),
        (("operator", "clerk"), "approval_missing"),
        (("operator", "clerk", "reviewer"), "approval_missing"),
        (("operator", "same"), "approval_same_person"),
        (("reviewer", "operator"), "role_not_allowed"),
        (("operator", "stranger"), "signer_unknown"),
        (("operator", "reviewer", "stranger"), "signer_unknown"),
    ],
)
def test_a_transfer_needs_an_operator_and_another_person_who_reviews(signers: tuple[str, ...], code: str) -> None:
    market = four_eyes()
    operation = market.transfer(1, 2, 5)
    for judge in (market.check, market.apply):
        with refused(code):
            judge(operation, signers=signers)
    market.apply(operation, signers=("operator", "reviewer", "clerk"))


def test_every_role_may_make_what_the_policy_opens_to_all() -> None:
    market = four_eyes()
    market.apply(market.person(7), signers=("clerk",))
    with pytest.raises(Rejected, match="role_not_allowed"):
        market.apply(market.account(7), signers=("clerk",))


def test_a_batch_needs_the_approvals_of_every_operation_in_it() -> None:
    market = four_eyes()
    with pytest.raises(Rejected, match="approval_missing"):
        market.apply(market.person(7), market.transfer(1, 2, 5))


def council() -> Market:
    """Four organisations with a governance key each, one of them with two, and an operator."""
    organisations = {"g1": "a", "g2": "b", "g3": "c", "g4": "d", "second": "a"}
    signers = [
        {"public_key": key(name), "organisation": organisation, "role": "governance"}
        for name, organisation in organisations.items()
    ]
    signers[-1]["person"] = "another"
    signers.append({"public_key": key("operator"), "organisation": "e", "role": "operator"})
    return Market(genesis(signers=signers))


@pytest.mark.parametrize(
    ("signers", "code"),
    [
        (("g1", "g2"), "organisations_too_few"),
        (("g1", "second", "g2"), "organisations_too_few"),
        (("g1", "g2", "operator"), "organisations_too_few"),
        (("operator", "g1", "g2", "g3"), "role_not_allowed"),
        (("g1", "g2", "g3"), None),
        (("second", "g4", "g2"), None),
    ],
)
def test_c9_validators_change_by_a_quorum_of_organisations(signers: tuple[str, ...], code: str | None) -> None:
    market = council()
    entries = [{"name": name, "organisation": name, "public_key": key(name)} for name in ("v1", "v2")]
    operation = market.op("validators.change", validators=entries, effective_height=7, reason="a second node")
    if code is None:
        market.check(operation, signers=signers)
        assert market.apply(operation, signers=signers) == []
        scheduled = scheduled_set(market.store, market.genesis.suite)
        assert scheduled.effective_height == 7
        assert [member.name for member in scheduled.validators.members] == ["v1", "v2"]
        return
    for judge in (market.check, market.apply):
        with refused(code):
            judge(operation, signers=signers)


def test_a_new_signer_may_sign_and_a_removed_one_may_not() -> None:
    market = council()
    quorum = ("g1", "g2", "g3")
    fields = {"organisation": "member", "role": "operator", "reason": "new staff"}
    market.apply(market.op("signer.set", public_key=key("new"), **fields), signers=quorum)
    market.apply(market.person(1), signers=("new",))
    market.apply(market.op("signer.remove", public_key=key("new"), reason="left"), signers=quorum)
    with pytest.raises(Rejected, match="signer_unknown"):
        market.apply(market.person(2), signers=("new",))


def test_p5_what_was_allowed_is_asked_anew_once_a_signer_or_those_who_govern_change() -> None:
    market = council()
    quorum, pair = ("g1", "g2", "g3"), ("g1", "g2")
    staff = {"public_key": key("new"), "organisation": "member", "reason": "new staff"}
    market.apply(market.op("signer.set", role="operator", **staff), signers=quorum)
    market.apply(market.person(1), signers=("new",))
    market.apply(market.op("signer.set", role="clerk", **staff), signers=quorum)
    with pytest.raises(Rejected, match="role_not_allowed"):
        market.apply(market.person(2), signers=("new",))
    with pytest.raises(Rejected, match="organisations_too_few"):
        market.apply(market.op("signer.remove", public_key=key("new"), reason="left"), signers=pair)
    market.apply(market.op("signer.remove", public_key=key("g4"), reason="left"), signers=quorum)
    market.apply(market.op("signer.remove", public_key=key("g3"), reason="left"), signers=quorum)
    market.apply(market.op("signer.remove", public_key=key("new"), reason="left"), signers=pair)


def of_policy(maker: list[str], *checkers: list[str]) -> list[dict[str, object]]:
    return [{"operation_type": "policy.set", "maker": maker, "checkers": list(checkers)}]


@pytest.mark.parametrize(
    ("rules", "possible"),
    [
        (of_policy(["nobody"]), False),
        (of_policy(["governance"], ["nobody"]), False),
        (of_policy(["operator"], ["operator"]), False),
        (of_policy(["operator"], *[["governance"]] * 5), True),
        (of_policy(["operator"], *[["governance"]] * 6), False),
        (of_policy(["*"], *[["*"]] * 5), True),
        (of_policy(["*"], *[["*"]] * 6), False),
        (of_policy(["governance", "nobody"], ["*"]), True),
        ([{"operation_type": "signer.set", "maker": ["nobody"], "checkers": []}], True),
    ],
)
def test_p6_the_policy_can_always_be_changed_back(rules: list[dict[str, object]], possible: bool) -> None:
    """Six persons: four organisations govern, one of them with two persons, and an operator."""
    market = council()
    operation = market.op("policy.set", rules=rules, height=market.height + 50, reason="other rules")
    if possible:
        market.apply(operation, signers=("g1", "g2", "g3"))
        return
    with refused("governance_lost"):
        market.apply(operation, signers=("g1", "g2", "g3"))


def test_p6_whom_a_rule_that_waits_needs_is_not_removed() -> None:
    market, quorum = council(), ("g1", "g2", "g3")
    rules = of_policy(["operator"], ["governance"])
    market.apply(market.op("policy.set", rules=rules, height=market.height + 50, reason="two"), signers=quorum)
    remove = market.op("signer.remove", public_key=key("operator"), reason="left")
    clerk = {"public_key": key("operator"), "organisation": "e", "role": "clerk", "reason": "moved"}
    for operation in (remove, market.op("signer.set", **clerk)):
        with refused("governance_lost"):
            market.apply(operation, signers=quorum)
    other = {"public_key": key("next"), "organisation": "e", "role": "operator", "reason": "joined"}
    market.apply(market.op("signer.set", **other), signers=quorum)
    market.apply(remove, signers=quorum)


def test_p6_no_more_organisations_govern_than_can_sign_one_transaction() -> None:
    """Of 25 a quorum is 17, and 16 may sign."""
    signers = [
        {"public_key": key(f"g{number}"), "organisation": f"o{number}", "role": "governance"} for number in range(24)
    ]
    market = Market(genesis(signers=signers))
    new = {"public_key": key("g24"), "organisation": "o24", "role": "governance", "reason": "joins"}
    with refused("governance_lost"):
        market.apply(market.op("signer.set", **new), signers=tuple(f"g{number}" for number in range(16)))


def test_p6_one_person_with_two_keys_counts_once() -> None:
    """The market's only person has a governance and an operator key, as in a small market."""
    signers = [
        {"public_key": key(name), "organisation": "market", "role": role}
        for name, role in {"g1": "governance", "operator": "operator"}.items()
    ]
    market = Market(genesis(signers=signers))
    for maker in ("governance", "operator"):
        rules = of_policy([maker], ["operator"])
        with pytest.raises(Rejected, match="could not make and approve"):
            market.apply(market.op("policy.set", rules=rules, height=market.height + 5, reason="r"), signers=("g1",))
