"""Every refusal code of the business chain, each by an operation that earns it and leaves the state as it was."""

from __future__ import annotations

import calendar
from typing import Any

import msgspec
import pytest

from business_chain.operation_schemas import EXAMPLES
from business_chain.operations.fields import plan_of
from business_chain.operations.operation_records import DATE
from business_chain.operations.operation_types import OPERATION_RECORDS
from business_chain.refusals import REFUSALS
from common.chain.governance import GOVERNANCE_TYPES
from common.core.errors import Rejected
from tests.unit.business.market import Market, key, signers_for
from tests.unit.business.refusal_cases import CASES, Case, without

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
    state, index = dict(market.store.values), dict(market.store.index)
    first, signers = market.account(77, subject="P1"), ("operator",)
    if refused[0].get("type") in GOVERNANCE_TYPES:
        fields = {"organisation": "market", "role": "operator", "reason": "first of two"}
        first, signers = market.op("signer.set", public_key=key("operator"), **fields), ("governor",)
    with pytest.raises(Rejected) as caught:
        market.apply(first, *refused, signers=signers)
    assert caught.value.code == code
    assert type(caught.value) is REFUSALS[code].kind
    assert caught.value.parameters["operation_index"] in range(1, len(refused) + 1)
    assert (market.store.values, market.store.index) == (state, index)


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


def test_admission_leaves_to_execution_what_pending_transactions_could_change() -> None:
    market = Market()
    market.check(market.transfer(1, 2, 5))
    operation = market.issuer()
    market.apply(operation)
    with pytest.raises(Rejected, match="business_id_used"):
        market.check(operation)


def test_privacy_a_nonce_that_is_a_resident_number_is_not_admitted() -> None:
    """Nonces stand on the chain too, also those of transactions that are rejected."""
    market = Market()
    tx = market.transaction(market.issuer())
    market.application.check(msgspec.structs.replace(tx, nonce="000000190001010018"), market.store, market.context())
    with pytest.raises(Rejected) as caught:
        market.application.check(
            msgspec.structs.replace(tx, nonce="000000-1900-0101-0017"), market.store, market.context()
        )
    assert (caught.value.code, caught.value.parameters["field"]) == ("personal_identifier", "nonce")


OTHER_VALUES: list[Any] = [None, True, 7, "text", [], {}, [7], {"text": 7}]


@pytest.mark.parametrize("operation_type", sorted(EXAMPLES))
def test_e2_a_field_of_another_json_type_is_refused_as_such(operation_type: str) -> None:
    market = Market()
    example = EXAMPLES[operation_type]
    for field in plan_of(OPERATION_RECORDS[operation_type]):
        expected = {"integer": int, "string": str, "array": list, "object": dict}[
            field.specification.json_schema()["type"]
        ]
        for value in OTHER_VALUES:
            if type(value) is expected:
                continue
            with pytest.raises(Rejected) as caught:
                market.check(example | {field.name: value}, signers=signers_for(example))
            assert (caught.value.code, caught.value.parameters["field"]) == ("field_type", field.name), value


def test_admission_refuses_one_business_id_twice_in_a_transaction() -> None:
    market = Market()
    with pytest.raises(Rejected, match="business_id_used"):
        market.check(market.person(1, business_id="same"), market.person(2, business_id="same"))


@pytest.mark.parametrize("day", ["2024-02-29", "2000-02-29", "2026-02-28", "2026-12-31", "0001-01-01"])
def test_every_day_of_the_calendar_is_a_date(day: str) -> None:
    assert DATE.read(day, "basis.date") == day


def test_the_calendar_is_that_of_the_standard_library() -> None:
    for year in (1, 4, 100, 400, 1900, 2000, 2023, 2024, 2100, 9999):
        for month in range(1, 13):
            last = calendar.monthrange(year, month)[1]
            assert DATE.read(f"{year:04}-{month:02}-{last:02}", "date")
            with pytest.raises(Rejected):
                DATE.read(f"{year:04}-{month:02}-{last + 1:02}", "date")
