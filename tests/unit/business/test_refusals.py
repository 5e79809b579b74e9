"""Every refusal code of the business chain, each by an operation that earns it and leaves the state as it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from business_chain.refusals import REFUSALS
from business_chain.settings import GOVERNANCE_OPERATIONS
from common.core.errors import Rejected
from tests.unit.business.market import NOW_MS, PRODUCT, Market, genesis, key

Case = Callable[[Market], list[dict[str, Any]]]
CASES: list[tuple[str, Case]] = []


def case(code: str) -> Callable[[Case], Case]:
    """Register operations that must be refused with `code`; A1 holds 700 and A2 300 of 1,000."""

    def add(function: Case) -> Case:
        CASES.append((code, function))
        return function

    return add


def without(operation: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in operation.items() if name not in names}


# shape


@case("operation_type_unknown")
def _(market: Market) -> list[dict[str, Any]]:
    return [market.op("registration.gift")]


@case("field_missing")
def _(market: Market) -> list[dict[str, Any]]:
    return [without(market.transfer(1, 2, 5), "quantity")]


@case("field_missing")
def _(market: Market) -> list[dict[str, Any]]:
    return [without(market.transfer(1, 2, 5), "type")]


@case("field_missing")
def _(market: Market) -> list[dict[str, Any]]:
    return [without(market.person(7), "identity_commitment")]


@case("field_missing")
def _(market: Market) -> list[dict[str, Any]]:
    return [without(market.issuer(object_id="X", enterprise_code="BJ000002"), "name", "credit_code")]


@case("field_unknown")
def _(market: Market) -> list[dict[str, Any]]:
    return [market.transfer(1, 2, 5, memo="hello")]


@case("field_unknown")
def _(market: Market) -> list[dict[str, Any]]:
    basis = {"kind": "contract", "number": "1", "issuer": "court", "date": "2026-01-01", "type": "x"}
    return [market.transfer(1, 2, 5, basis=basis)]


@case("field_type")
def _(market: Market) -> list[dict[str, Any]]:
    return [market.transfer(1, 2, 5) | {"quantity": "5"}]


@case("field_type")
def _(market: Market) -> list[dict[str, Any]]:
    return [market.transfer(1, 2, 5) | {"quantity": True}]


@case("field_type")
def _(market: Market) -> list[dict[str, Any]]:
    return [market.transfer(1, 2, 5, price_e4=None)]


@case("field_type")
def _(market: Market) -> list[dict[str, Any]]:
    return [market.transfer(1, 2, 5) | {"type": 7}]


@case("field_type")
def _(market: Market) -> list[dict[str, Any]]:
    return [market.op("registration.increase", product=PRODUCT, entries=["A1"])]


@case("field_range")
def _(market: Market) -> list[dict[str, Any]]:
    return [market.transfer(1, 2, 0)]


@case("field_range")
def _(market: Market) -> list[dict[str, Any]]:
    return [market.transfer(1, 2, -5)]


@case("field_range")
def _(market: Market) -> list[dict[str, Any]]:
    return [market.op("registration.increase", product=PRODUCT, entries=[])]


@case("field_range")
def _(market: Market) -> list[dict[str, Any]]:
    entries = [{"account": f"A{number}", "quantity": 1} for number in range(101)]
    return [market.op("registration.increase", product=PRODUCT, entries=entries)]


@case("field_range")
def _(market: Market) -> list[dict[str, Any]]:
    return [market.product(product="BJ000001.ESVUFR2602", name="股" * 129)]


@case("field_invalid")
def _(market: Market) -> list[dict[str, Any]]:
    return [market.transfer(1, 2, 5, from_account="A/1")]


@case("field_invalid")
def _(market: Market) -> list[dict[str, Any]]:
    return [market.account(9, subject="P1", account_type="visitor")]


@case("field_invalid")
def _(market: Market) -> list[dict[str, Any]]:
    return [market.product(product="BJ000001.ESVUFR2602", name="line\u2028break")]


@case("field_invalid")
def _(market: Market) -> list[dict[str, Any]]:
    return [market.person(7, name_commitment="AB" * 32)]


@case("entries_limit")
def _(market: Market) -> list[dict[str, Any]]:
    entries = [{"account": f"A{number}", "quantity": 1} for number in range(100)]
    return [market.op("registration.increase", product=PRODUCT, entries=entries) for _ in range(11)]


# identity and time


@case("business_id_used")
def _(market: Market) -> list[dict[str, Any]]:
    operation = market.transfer(1, 2, 5)
    market.apply(operation)
    return [operation]


@case("business_id_used")
def _(market: Market) -> list[dict[str, Any]]:
    operation = market.transfer(1, 2, 5)
    return [operation, operation]


@case("occurred_in_future")
def _(market: Market) -> list[dict[str, Any]]:
    return [market.transfer(1, 2, 5, occurred_at_ms=NOW_MS + 3_600_000)]


@case("occurred_in_future")
def _(market: Market) -> list[dict[str, Any]]:
    return [market.person(7, qualification={"category": 5, "certified_at_ms": NOW_MS})]


@case("object_id_used")
def _(market: Market) -> list[dict[str, Any]]:
    return [market.person(7, object_id="A1")]


@case("object_id_used")
def _(market: Market) -> list[dict[str, Any]]:
    return [market.account(9, account="market-BJ", subject="P1")]


@case("object_id_used")
def _(market: Market) -> list[dict[str, Any]]:
    return [market.product()]


@case("object_id_reserved")
def _(market: Market) -> list[dict[str, Any]]:
    return [market.person(7, object_id="sale:12")]


# codes


@case("enterprise_code_invalid")
def _(market: Market) -> list[dict[str, Any]]:
    return [market.issuer(object_id="X", enterprise_code="BJ00001")]


@case("enterprise_code_region")
def _(market: Market) -> list[dict[str, Any]]:
    return [market.issuer(object_id="X", enterprise_code="SH000001")]


@case("enterprise_code_used")
def _(market: Market) -> list[dict[str, Any]]:
    return [without(market.issuer(object_id="X", enterprise_code="BJ000001F"), "credit_code")]


@case("product_code_invalid")
def _(market: Market) -> list[dict[str, Any]]:
    return [market.product(product="BJ000001.S2602")]


@case("product_code_issuer")
def _(market: Market) -> list[dict[str, Any]]:
    return [market.product(product="BJ000009.ESVUFR2602")]


@case("investor_code_invalid")
def _(market: Market) -> list[dict[str, Any]]:
    return [market.person(7, investor_code="T000000007")]


@case("investor_code_kind")
def _(market: Market) -> list[dict[str, Any]]:
    return [market.person(7, investor_code="R000000007")]


@case("investor_code_used")
def _(market: Market) -> list[dict[str, Any]]:
    return [market.person(7, investor_code="Q000000001")]


@case("credit_code_invalid")
def _(market: Market) -> list[dict[str, Any]]:
    return [market.issuer(object_id="X", enterprise_code="BJ000002", credit_code="91110000FAKE00013J")]


@case("credit_code_used")
def _(market: Market) -> list[dict[str, Any]]:
    return [market.issuer(object_id="X", enterprise_code="BJ000002")]


@case("share_nature_unknown")
def _(market: Market) -> list[dict[str, Any]]:
    return [market.initial(1, 1, share_nature=38)]


# persons


@case("personal_name_refused")
def _(market: Market) -> list[dict[str, Any]]:
    return [market.person(7, name="张三")]


@case("personal_identifier")
def _(market: Market) -> list[dict[str, Any]]:
    return [market.person(7, object_id="000000190001010017")]


@case("personal_identifier")
def _(market: Market) -> list[dict[str, Any]]:
    return [market.freeze(1, 5, authority="样例人民法院 00000019000101005x 案")]


@case("subject_fields_mismatch")
def _(market: Market) -> list[dict[str, Any]]:
    return [market.person(7, credit_code="91310000FAKE00013Y")]


@case("subject_fields_mismatch")
def _(market: Market) -> list[dict[str, Any]]:
    return [market.issuer(object_id="X", enterprise_code="BJ000002", name_commitment="ab" * 32)]


@case("subject_code_missing")
def _(market: Market) -> list[dict[str, Any]]:
    return [without(market.person(7), "investor_code")]


@case("subject_code_missing")
def _(market: Market) -> list[dict[str, Any]]:
    return [without(market.issuer(object_id="X"), "enterprise_code", "credit_code")]


@case("qualification_mismatch")
def _(market: Market) -> list[dict[str, Any]]:
    return [market.person(7, qualification={"category": 4, "certified_at_ms": NOW_MS - 86_400_000})]


# existence and standing


@case("subject_unknown")
def _(market: Market) -> list[dict[str, Any]]:
    return [market.account(9)]


@case("subject_unknown")
def _(market: Market) -> list[dict[str, Any]]:
    return [market.pledge(1, 5, pledgee="nobody")]


@case("account_unknown")
def _(market: Market) -> list[dict[str, Any]]:
    return [market.transfer(1, 9, 5)]


@case("product_unknown")
def _(market: Market) -> list[dict[str, Any]]:
    return [market.transfer(1, 2, 5, product="BJ000001.ESVUFR2602")]


@case("pledge_unknown")
def _(market: Market) -> list[dict[str, Any]]:
    return [market.op("registration.release", pledge="nothing")]


@case("freeze_unknown")
def _(market: Market) -> list[dict[str, Any]]:
    market.apply(market.pledge(1, 5, business_id="loan"))
    return [market.op("registration.unfreeze", freeze="loan")]


@case("issuer_not_enterprise")
def _(market: Market) -> list[dict[str, Any]]:
    return [market.product(product="BJ000001.ESVUFR2602", issuer="P1")]


@case("account_closed")
def _(market: Market) -> list[dict[str, Any]]:
    market.apply(market.op("account.close", account="A3"))
    return [market.transfer(1, 3, 5)]


@case("account_closed")
def _(market: Market) -> list[dict[str, Any]]:
    market.apply(market.op("account.close", account="A3"))
    return [market.op("account.freeze", account="A3", authority="court", order_number="1")]


@case("account_frozen")
def _(market: Market) -> list[dict[str, Any]]:
    market.apply(market.op("account.freeze", account="A1", authority="court", order_number="1"))
    return [market.transfer(1, 3, 5)]


@case("account_frozen")
def _(market: Market) -> list[dict[str, Any]]:
    market.apply(market.op("account.freeze", account="A3", authority="court", order_number="1"))
    return [market.transfer(1, 3, 5)]


@case("account_frozen")
def _(market: Market) -> list[dict[str, Any]]:
    market.apply(market.op("account.freeze", account="A3", authority="court", order_number="1"))
    return [market.op("account.close", account="A3")]


@case("account_frozen")
def _(market: Market) -> list[dict[str, Any]]:
    market.apply(market.op("account.freeze", account="A3", authority="court", order_number="1"))
    return [market.op("account.freeze", account="A3", authority="court", order_number="2")]


@case("account_not_frozen")
def _(market: Market) -> list[dict[str, Any]]:
    return [market.op("account.unfreeze", account="A1")]


@case("account_not_empty")
def _(market: Market) -> list[dict[str, Any]]:
    return [market.op("account.close", account="A1")]


@case("account_type_wrong")
def _(market: Market) -> list[dict[str, Any]]:
    market.apply(market.account(9, subject="P1", account_type="cash"))
    return [market.transfer(1, 9, 5)]


# balances


@case("insufficient_available")
def _(market: Market) -> list[dict[str, Any]]:
    return [market.transfer(1, 2, 701)]


@case("insufficient_available")
def _(market: Market) -> list[dict[str, Any]]:
    market.apply(market.pledge(1, 400), market.freeze(1, 300))
    return [market.transfer(1, 2, 1)]


@case("insufficient_available")
def _(market: Market) -> list[dict[str, Any]]:
    return [market.pledge(1, 701)]


@case("insufficient_available")
def _(market: Market) -> list[dict[str, Any]]:
    return [market.freeze(3, 1)]


@case("insufficient_pledged")
def _(market: Market) -> list[dict[str, Any]]:
    market.apply(market.pledge(1, 5, business_id="loan"), market.pledge(1, 5))
    return [market.op("registration.release", pledge="loan", quantity=6)]


@case("insufficient_frozen")
def _(market: Market) -> list[dict[str, Any]]:
    market.apply(market.freeze(1, 5, business_id="order"), market.freeze(1, 5))
    return [market.op("registration.unfreeze", freeze="order", quantity=6)]


@case("authorised_exceeded")
def _(market: Market) -> list[dict[str, Any]]:
    return [market.initial(3, 1)]


@case("authorised_exceeded")
def _(market: Market) -> list[dict[str, Any]]:
    entries = [{"account": "A1", "quantity": 51}]
    return [market.op("registration.increase", product=PRODUCT, entries=entries, authorised_quantity=1050)]


@case("authorised_reduced")
def _(market: Market) -> list[dict[str, Any]]:
    entries = [{"account": "A1", "quantity": 1}]
    return [market.op("registration.increase", product=PRODUCT, entries=entries, authorised_quantity=999)]


@case("holder_limit_exceeded")
def _(market: Market) -> list[dict[str, Any]]:
    code = "BJ000001.ESVUFR2602"
    market.apply(market.product(product=code, holder_limit=1), market.initial(1, 5, product=code))
    return [market.transfer(1, 2, 1, product=code)]


@case("transfer_same_account")
def _(market: Market) -> list[dict[str, Any]]:
    return [market.transfer(1, 1, 5)]


@case("entry_repeated")
def _(market: Market) -> list[dict[str, Any]]:
    entries = [{"account": "A1", "quantity": 1}] * 2
    return [market.op("registration.increase", product=PRODUCT, entries=entries, authorised_quantity=2000)]


@case("pledgee_is_holder")
def _(market: Market) -> list[dict[str, Any]]:
    return [market.pledge(1, 5, pledgee="P1")]


@case("freeze_until_past")
def _(market: Market) -> list[dict[str, Any]]:
    return [market.freeze(1, 5, until_ms=NOW_MS - 120_000)]


# governance


@case("validators_invalid")
def _(market: Market) -> list[dict[str, Any]]:
    entry = {"name": "v1", "organisation": "market", "public_key": key("v1")}
    return [market.op("validators.change", validators=[entry, entry], reason="twice")]


@case("validators_invalid")
def _(market: Market) -> list[dict[str, Any]]:
    entry = {"name": "v1", "organisation": "market", "public_key": "ed25519:" + "00" * 32}
    return [market.op("validators.change", validators=[entry], reason="a point of small order")]


@case("signer_key_invalid")
def _(market: Market) -> list[dict[str, Any]]:
    public_key = "sm2:" + "04" * 65
    return [market.op("signer.set", public_key=public_key, organisation="m", role="operator", reason="another suite")]


@case("signer_absent")
def _(market: Market) -> list[dict[str, Any]]:
    return [market.op("signer.remove", public_key=key("stranger"), reason="never there")]


@case("governance_lost")
def _(market: Market) -> list[dict[str, Any]]:
    return [market.op("signer.remove", public_key=key("governor"), reason="the last one")]


@case("governance_lost")
def _(market: Market) -> list[dict[str, Any]]:
    fields = {"public_key": key("governor"), "organisation": "market", "role": "operator", "reason": "the last one"}
    return [market.op("signer.set", **fields)]


@case("signers_too_many")
def _(market: Market) -> list[dict[str, Any]]:
    for number in range(10_000):
        market.store.state[b"signer/ed25519:%064x" % number] = market.store.state[b"signer/" + key("governor").encode()]
    return [market.op("signer.set", public_key=key("new"), organisation="m", role="operator", reason="one too many")]


POLICY_CODES = {
    "signer_unknown",
    "role_not_allowed",
    "approval_missing",
    "approval_same_person",
    "organisations_too_few",
}


def test_every_refusal_code_is_earned_here_or_by_the_policy_tests() -> None:
    assert {code for code, _ in CASES} | POLICY_CODES == set(REFUSALS)


@pytest.mark.parametrize(("code", "operations"), CASES, ids=[f"{code}-{i}" for i, (code, _) in enumerate(CASES)])
def test_refusal_names_its_code_and_index_and_changes_nothing(code: str, operations: Case) -> None:
    market = Market().open_for_business(700, 300)
    refused = operations(market)
    state, index = dict(market.store.state), dict(market.store.index)
    first, signers = market.account(77, subject="P1"), ("operator",)
    if refused[0].get("type") in GOVERNANCE_OPERATIONS:
        fields = {"organisation": "market", "role": "operator", "reason": "first of two"}
        first, signers = market.op("signer.set", public_key=key("operator"), **fields), ("governor",)
    with pytest.raises(Rejected) as caught:
        market.apply(first, *refused, signers=signers)
    assert caught.value.code == code
    assert type(caught.value) is REFUSALS[code].kind
    assert caught.value.parameters["operation_index"] in range(1, len(refused) + 1)
    assert (market.store.state, market.store.index) == (state, index)


def test_n4_a_used_business_id_names_its_first_transaction() -> None:
    market = Market().open_for_business(700, 300)
    operation = market.transfer(1, 2, 5)
    first = market.transaction(operation)
    market.execute(first)
    with pytest.raises(Rejected) as caught:
        market.apply(operation | {"quantity": 6})
    assert caught.value.parameters["first_tx_id"] == first.id.hex()
    resend, other = market.transaction(operation), market.transaction(operation | {"quantity": 6})
    assert market.application.first_application(resend, market.store) == first.id
    assert market.application.first_application(other, market.store) is None
    mixed = market.transaction(operation, market.transfer(1, 2, 1))
    assert market.application.first_application(mixed, market.store) is None


def test_a_rejected_business_id_can_be_used_again() -> None:
    market = Market().open_for_business(700, 300)
    with pytest.raises(Rejected):
        market.apply(market.transfer(1, 2, 701, business_id="sale"))
    market.apply(market.transfer(1, 2, 700, business_id="sale"))


def test_which_error_is_reported_does_not_depend_on_key_order() -> None:
    market = Market().open_for_business(700, 300)
    operation = market.transfer(1, 2, 0, from_account="A/1", zebra=1, aardvark=2)
    for document in (operation, dict(reversed(operation.items()))):
        with pytest.raises(Rejected) as caught:
            market.apply(document)
        assert (caught.value.code, caught.value.parameters["field"]) == ("field_invalid", "from_account")
    unknown = without(market.transfer(1, 2, 5, zebra=1, aardvark=2))
    with pytest.raises(Rejected) as caught:
        market.apply(unknown)
    assert caught.value.parameters["field"] == "aardvark"


# who may do it


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
        with pytest.raises(Rejected) as caught:
            judge(operation, signers=signers)
        assert caught.value.code == code
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
    operation = market.op("validators.change", validators=entries, reason="a second node")
    if code is None:
        market.check(operation, signers=signers)
        assert market.apply(operation, signers=signers) == []
        assert market.last_validators is not None
        assert [member.name for member in market.last_validators.members] == ["v1", "v2"]
        return
    for judge in (market.check, market.apply):
        with pytest.raises(Rejected) as caught:
            judge(operation, signers=signers)
        assert caught.value.code == code


def test_a_new_signer_may_sign_and_a_removed_one_may_not() -> None:
    market = council()
    quorum = ("g1", "g2", "g3")
    fields = {"organisation": "member", "role": "operator", "reason": "new staff"}
    market.apply(market.op("signer.set", public_key=key("new"), **fields), signers=quorum)
    market.apply(market.person(1), signers=("new",))
    market.apply(market.op("signer.remove", public_key=key("new"), reason="left"), signers=quorum)
    with pytest.raises(Rejected, match="signer_unknown"):
        market.apply(market.person(2), signers=("new",))


def test_admission_leaves_to_execution_what_pending_transactions_could_change() -> None:
    market = Market()
    market.check(market.transfer(1, 2, 5))
    operation = market.issuer()
    market.apply(operation)
    with pytest.raises(Rejected, match="business_id_used"):
        market.check(operation)
