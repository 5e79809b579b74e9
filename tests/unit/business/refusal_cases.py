"""One example for every way in which an operation is refused: the code, and operations that earn it.

Each is given a market in which A1 holds 700 and A2 300 of 1,000 shares; what it returns must be refused.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from common.model.values import date
from tests.unit.business.market import NOW_MS, PRODUCT, Market, key

Case = Callable[[Market], list[dict[str, Any]]]


def without(operation: dict[str, Any], *names: str) -> dict[str, Any]:
    """The operation without some fields."""
    return {name: value for name, value in operation.items() if name not in names}


def second_company(market: Market, **changes: Any) -> dict[str, Any]:
    """Registration of another enterprise with the first one's credit code."""
    return market.issuer(**({"object_id": "X", "enterprise_code": "BJ000002"} | changes))


def type_inside_a_basis(market: Market) -> list[dict[str, Any]]:
    basis = {"kind": "contract", "number": "1", "issuer": "court", "date": "2026-01-01", "type": "x"}
    return [market.transfer(1, 2, 5, basis=basis)]


def more_than_100_entries(market: Market) -> list[dict[str, Any]]:
    entries = [{"account": f"A{number}", "quantity": 1} for number in range(101)]
    return [market.op("registration.increase", product=PRODUCT, entries=entries)]


def more_than_1000_entries_a_transaction(market: Market) -> list[dict[str, Any]]:
    entries = [{"account": f"A{number}", "quantity": 1} for number in range(100)]
    return [market.op("registration.increase", product=PRODUCT, entries=entries) for _ in range(11)]


def applied_before(market: Market) -> list[dict[str, Any]]:
    operation = market.transfer(1, 2, 5)
    market.apply(operation)
    return [operation]


def twice_in_one_transaction(market: Market) -> list[dict[str, Any]]:
    operation = market.transfer(1, 2, 5)
    return [operation, operation]


def a_pledge_is_no_freeze(market: Market) -> list[dict[str, Any]]:
    market.apply(market.pledge(1, 5, business_id="loan"))
    return [market.op("registration.unfreeze", freeze="loan")]


def transfer_to_a_closed_account(market: Market) -> list[dict[str, Any]]:
    market.apply(market.op("account.close", account="A3"))
    return [market.transfer(1, 3, 5)]


def freezing_a_closed_account(market: Market) -> list[dict[str, Any]]:
    market.apply(market.op("account.close", account="A3"))
    return [market.op("account.freeze", account="A3", authority="court", order_number="1")]


def transfer_from_a_frozen_account(market: Market) -> list[dict[str, Any]]:
    market.apply(market.op("account.freeze", account="A1", authority="court", order_number="1"))
    return [market.transfer(1, 3, 5)]


def transfer_to_a_frozen_account(market: Market) -> list[dict[str, Any]]:
    market.apply(market.op("account.freeze", account="A3", authority="court", order_number="1"))
    return [market.transfer(1, 3, 5)]


def closing_a_frozen_account(market: Market) -> list[dict[str, Any]]:
    market.apply(market.op("account.freeze", account="A3", authority="court", order_number="1"))
    return [market.op("account.close", account="A3")]


def freezing_a_frozen_account(market: Market) -> list[dict[str, Any]]:
    market.apply(market.op("account.freeze", account="A3", authority="court", order_number="1"))
    return [market.op("account.freeze", account="A3", authority="court", order_number="2")]


def shares_on_a_cash_account(market: Market) -> list[dict[str, Any]]:
    market.apply(market.account(9, subject="P1", account_type="cash"))
    return [market.transfer(1, 9, 5)]


def all_is_pledged_or_frozen(market: Market) -> list[dict[str, Any]]:
    market.apply(market.pledge(1, 400), market.freeze(1, 300))
    return [market.transfer(1, 2, 1)]


def release_of_another_pledge(market: Market) -> list[dict[str, Any]]:
    market.apply(market.pledge(1, 5, business_id="loan"), market.pledge(1, 5))
    return [market.op("registration.release", pledge="loan", quantity=6)]


def freeze_of_pledged(market: Market, quantity: int, **part: Any) -> list[dict[str, Any]]:
    """A freeze that lies on the pledge of 100 of A1 alone, of which 30 are frozen."""
    on_loan = [{"quantity": 30, "pledge": "loan"}]
    market.apply(market.pledge(1, 100, business_id="loan"), market.freeze(1, 30, parts=on_loan))
    return [market.freeze(1, quantity, parts=[{"quantity": quantity, "pledge": "loan"} | part])]


def freeze_of_anothers_pledge(market: Market) -> list[dict[str, Any]]:
    market.apply(market.pledge(1, 100, business_id="loan"))
    return [market.freeze(2, 5, parts=[{"quantity": 5, "pledge": "loan"}])]


def freeze_of_a_released_pledge_that_is_frozen(market: Market) -> list[dict[str, Any]]:
    freeze = freeze_of_pledged(market, 5)
    market.apply(market.op("registration.release", pledge="loan"))
    return freeze


def release_of_another_nature(market: Market) -> list[dict[str, Any]]:
    market.apply(market.pledge(1, 5, business_id="loan"))
    return [market.op("registration.release", pledge="loan", share_nature=24)]


def more_than_1000_parts_a_transaction(market: Market) -> list[dict[str, Any]]:
    parts = [{"quantity": 1}] * 16
    return [market.pledge(1, 16, parts=parts) for _ in range(63)]


def unfreeze_of_another_freeze(market: Market) -> list[dict[str, Any]]:
    market.apply(market.freeze(1, 5, business_id="order"), market.freeze(1, 5))
    return [market.op("registration.unfreeze", freeze="order", quantity=6)]


def increase_beyond_its_own_authorisation(market: Market) -> list[dict[str, Any]]:
    entries = [{"account": "A1", "quantity": 51}]
    return [market.op("registration.increase", product=PRODUCT, entries=entries, authorised_quantity=1050)]


def increase_that_authorises_less(market: Market) -> list[dict[str, Any]]:
    entries = [{"account": "A1", "quantity": 1}]
    return [market.op("registration.increase", product=PRODUCT, entries=entries, authorised_quantity=999)]


def a_second_holder_where_one_is_allowed(market: Market) -> list[dict[str, Any]]:
    code = "BJ000001.ESVUFR2602"
    market.apply(market.product(product=code, holder_limit=1), market.initial(1, 5, product=code))
    return [market.transfer(1, 2, 1, product=code)]


def one_account_twice(market: Market) -> list[dict[str, Any]]:
    entries = [{"account": "A1", "quantity": 1}] * 2
    return [market.op("registration.increase", product=PRODUCT, entries=entries, authorised_quantity=2000)]


def one_validator_twice(market: Market) -> list[dict[str, Any]]:
    entry = {"name": "v1", "organisation": "market", "public_key": key("v1")}
    return [market.op("validators.change", validators=[entry, entry], effective_height=9, reason="twice")]


def validator_with_an_unsafe_key(market: Market) -> list[dict[str, Any]]:
    entry = {"name": "v1", "organisation": "market", "public_key": "ed25519:" + "00" * 32}
    fields = {"effective_height": 9, "reason": "a point of small order"}
    return [market.op("validators.change", validators=[entry], **fields)]  # type: ignore[arg-type]


def members(*names: str) -> list[dict[str, Any]]:
    """Validator entries of one organisation each; v1 is the one of genesis."""
    return [{"name": name, "organisation": f"of-{name}", "public_key": key(name)} for name in names]


def change(market: Market, *names: str, **fields: Any) -> dict[str, Any]:
    """A validator change for the height after the next."""
    return market.op(
        "validators.change",
        **{"validators": members(*names), "effective_height": market.height + 9, "reason": "a case", **fields},
    )


def one_organisation() -> list[dict[str, Any]]:
    """Two members of the organisation that may have one."""
    return [{**entry, "organisation": "market"} for entry in members("v1", "v2")]


def the_same_set(market: Market) -> list[dict[str, Any]]:
    return [change(market, validators=[{**members("v1")[0], "organisation": "market"}])]


def activation(market: Market, version: int, **fields: Any) -> dict[str, Any]:
    """An activation of a protocol version."""
    return market.op(
        "protocol.activate", **{"version": version, "height": market.height + 9, "reason": "a case", **fields}
    )


def rule_of(makers: list[str], operation_type: str = "signer.set") -> dict[str, Any]:
    """A rule of approval."""
    return {"operation_type": operation_type, "maker": makers, "checkers": []}


GOVERNED: list[tuple[str, dict[str, Any]]] = [
    ("parameter_invalid", {"type": "parameters.set", "values": {"heartbeat": 1}}),
    ("parameter_invalid", {"type": "parameters.set", "values": {"heartbeat_ms": 1}}),
    ("parameter_invalid", {"type": "parameters.set", "values": {"heartbeat_ms": "6000"}}),
    ("policy_invalid", {"type": "policy.set", "rules": [{"operation_type": "registration.gift"}]}),
    ("policy_invalid", {"type": "policy.set", "rules": [{"operation_type": "signer.set", "maker": []}]}),
    (
        "policy_invalid",
        {"type": "policy.set", "rules": [rule_of([])]},
    ),
    (
        "identifier_invalid",
        {"type": "policy.set", "rules": [rule_of(["é"])]},
    ),
    *(
        ("principal_invalid", {"type": "signer.set", "public_key": key("new"), "role": "operator", name: text})
        for name in ("organisation", "person")
        for text in ("ORG-A", "\u043erg-a", "\uff4frg-a")
    ),
    *(
        ("field_type", {"type": "signer.set", "public_key": key("new"), "role": "operator", name: None})
        for name in ("organisation", "person", "label")
    ),
]
"""Fields of governance that are refused, with their codes."""


def governed(market: Market, **fields: Any) -> dict[str, Any]:
    """A decision with what it needs besides."""
    operation_type = fields.pop("type")
    rest = {"organisation": "m"} if operation_type == "signer.set" else {"height": market.height + 9}
    return market.op(operation_type, **{"reason": "a case", **rest, **fields})


def governed_case(fields: dict[str, Any], market: Market) -> list[dict[str, Any]]:
    """The one operation of such a case."""
    return [governed(market, **fields)]


def key_of_another_suite(market: Market) -> list[dict[str, Any]]:
    public_key = "sm2:" + "04" * 65
    return [market.op("signer.set", public_key=public_key, organisation="m", role="operator", reason="another suite")]


def last_governor_becomes_operator(market: Market) -> list[dict[str, Any]]:
    fields = {"public_key": key("governor"), "organisation": "market", "role": "operator", "reason": "the last one"}
    return [market.op("signer.set", **fields)]


def ten_thousand_signers(market: Market) -> list[dict[str, Any]]:
    governor = market.store.values[b"signer/" + key("governor").encode()]
    for number in range(10_000):
        market.store.values[b"signer/ed25519:%064x" % number] = governor
    return [market.op("signer.set", public_key=key("new"), organisation="m", role="operator", reason="one too many")]


SECOND = "BJ000001.ESVUFR2602"
NO_DAYS = ("2026-02-31", "2026-02-29", "1900-02-29", "2026-04-31", "0000-01-01", "2026-13-01", "2026-1-1")


def dated(day: str) -> Case:
    """A transfer on a contract of that day."""
    basis = {"kind": "contract", "number": "1", "issuer": "m", "date": day}
    return lambda m: [m.transfer(1, 2, 5, basis=basis)]


def movements(market: Market, **fields: Any) -> list[dict[str, Any]]:
    """One operation of every kind that moves a holding, with these fields; each can be applied after those before."""
    return [
        market.initial(3, 100, product=SECOND, **fields),
        market.op("registration.increase", product=SECOND, entries=[{"account": "A3", "quantity": 10}], **fields),
        market.transfer(1, 2, 5, **fields),
        market.pledge(1, 5, business_id="loan", **fields),
        market.op("registration.release", pledge="loan", **fields),
        market.freeze(1, 5, business_id="order", **fields),
        market.op("registration.unfreeze", freeze="order", **fields),
    ]


def effective(number: int) -> Case:
    """One of the `movements` as of tomorrow; those before it are applied."""

    def case(market: Market) -> list[dict[str, Any]]:
        market.apply(market.product(product=SECOND), *movements(market)[:number])
        return [movements(market, effective_date=date(NOW_MS + 86_400_000))[number]]

    return case


CASES: list[tuple[str, Case]] = [
    ("operation_type_unknown", lambda m: [m.op("registration.gift")]),
    ("field_missing", lambda m: [without(m.transfer(1, 2, 5), "quantity")]),
    ("field_missing", lambda m: [without(m.transfer(1, 2, 5), "type")]),
    ("field_missing", lambda m: [without(m.person(7), "identity_commitment")]),
    (
        "field_missing",
        lambda m: [without(second_company(m), "name", "credit_code")],
    ),
    ("field_unknown", lambda m: [m.transfer(1, 2, 5, memo="hello")]),
    ("field_unknown", type_inside_a_basis),
    ("field_type", lambda m: [m.transfer(1, 2, 5) | {"quantity": "5"}]),
    ("field_type", lambda m: [m.transfer(1, 2, 5) | {"quantity": True}]),
    ("field_type", lambda m: [m.transfer(1, 2, 5, price_e4=None)]),
    ("field_type", lambda m: [m.transfer(1, 2, 5) | {"type": 7}]),
    ("field_type", lambda m: [m.op("registration.increase", product=PRODUCT, entries=["A1"])]),
    ("field_range", lambda m: [m.transfer(1, 2, 0)]),
    ("field_range", lambda m: [m.transfer(1, 2, -5)]),
    ("field_range", lambda m: [m.transfer(1, 2, 10**15 + 1)]),
    ("field_range", lambda m: [m.product(product="BJ000001.ESVUFR2602", authorised_quantity=10**15 + 1)]),
    ("field_range", lambda m: [m.op("registration.increase", product=PRODUCT, entries=[])]),
    ("field_range", more_than_100_entries),
    ("field_range", lambda m: [m.product(product="BJ000001.ESVUFR2602", name="股" * 129)]),
    ("field_invalid", lambda m: [m.transfer(1, 2, 5, from_account="A/1")]),
    *(("field_invalid", dated(day)) for day in NO_DAYS),
    ("field_invalid", lambda m: [m.account(9, subject="P1", account_type="visitor")]),
    ("field_invalid", lambda m: [m.product(product="BJ000001.ESVUFR2602", name="line\u2028break")]),
    ("field_invalid", lambda m: [m.person(7, name_commitment="AB" * 32)]),
    ("entries_limit", more_than_1000_entries_a_transaction),
    ("business_id_used", applied_before),
    ("business_id_used", twice_in_one_transaction),
    ("occurred_in_future", lambda m: [m.transfer(1, 2, 5, occurred_at_ms=NOW_MS + 3_600_000)]),
    ("occurred_in_future", lambda m: [m.person(7, qualification={"category": 5, "certified_at_ms": NOW_MS})]),
    *(("effective_date_in_future", effective(number)) for number in range(7)),
    *(("field_invalid", lambda m, day=day: [m.transfer(1, 2, 5, effective_date=day)]) for day in NO_DAYS),
    ("field_unknown", lambda m: [m.account(9, subject="P1", effective_date="2026-01-01")]),
    ("object_id_used", lambda m: [m.person(7, object_id="A1")]),
    ("object_id_used", lambda m: [m.account(9, account="market-BJ", subject="P1")]),
    ("object_id_used", lambda m: [m.product()]),
    ("object_id_reserved", lambda m: [m.person(7, object_id="sale:12")]),
    ("enterprise_code_invalid", lambda m: [m.issuer(object_id="X", enterprise_code="BJ00001")]),
    (
        "enterprise_code_used",
        lambda m: [without(m.issuer(object_id="X", enterprise_code="BJ000001F"), "credit_code")],
    ),
    ("product_code_invalid", lambda m: [m.product(product="BJ000001.S2602")]),
    ("product_code_issuer", lambda m: [m.product(product="BJ000009.ESVUFR2602")]),
    ("investor_code_invalid", lambda m: [m.person(7, investor_code="T000000007")]),
    ("investor_code_kind", lambda m: [m.person(7, investor_code="R000000007")]),
    ("investor_code_used", lambda m: [m.person(7, investor_code="Q000000001")]),
    (
        "credit_code_invalid",
        lambda m: [second_company(m, credit_code="91110000FAKE00013J")],
    ),
    ("credit_code_used", lambda m: [second_company(m)]),
    ("share_nature_unknown", lambda m: [m.initial(1, 1, share_nature=38)]),
    ("personal_name_refused", lambda m: [m.person(7, name="张三")]),
    ("personal_identifier", lambda m: [m.person(7, object_id="000000190001010017")]),
    ("personal_identifier", lambda m: [m.freeze(1, 5, authority="样例人民法院 00000019000101005x 案")]),
    ("subject_fields_mismatch", lambda m: [m.person(7, credit_code="91310000FAKE00013Y")]),
    (
        "subject_fields_mismatch",
        lambda m: [second_company(m, name_commitment="ab" * 32)],
    ),
    ("subject_code_missing", lambda m: [without(m.person(7), "investor_code")]),
    ("subject_code_missing", lambda m: [without(m.issuer(object_id="X"), "enterprise_code", "credit_code")]),
    (
        "qualification_mismatch",
        lambda m: [m.person(7, qualification={"category": 4, "certified_at_ms": NOW_MS - 86_400_000})],
    ),
    ("subject_unknown", lambda m: [m.account(9)]),
    ("subject_unknown", lambda m: [m.pledge(1, 5, pledgee="nobody")]),
    ("account_unknown", lambda m: [m.transfer(1, 9, 5)]),
    ("product_unknown", lambda m: [m.transfer(1, 2, 5, product="BJ000001.ESVUFR2602")]),
    ("pledge_unknown", lambda m: [m.op("registration.release", pledge="nothing")]),
    ("freeze_unknown", a_pledge_is_no_freeze),
    ("issuer_not_enterprise", lambda m: [m.product(product="BJ000001.ESVUFR2602", issuer="P1")]),
    ("account_closed", transfer_to_a_closed_account),
    ("account_closed", freezing_a_closed_account),
    ("account_frozen", transfer_from_a_frozen_account),
    ("account_frozen", transfer_to_a_frozen_account),
    ("account_frozen", closing_a_frozen_account),
    ("account_frozen", freezing_a_frozen_account),
    ("account_not_frozen", lambda m: [m.op("account.unfreeze", account="A1")]),
    ("account_not_empty", lambda m: [m.op("account.close", account="A1")]),
    ("account_type_wrong", shares_on_a_cash_account),
    ("insufficient_available", lambda m: [m.transfer(1, 2, 701)]),
    ("insufficient_available", all_is_pledged_or_frozen),
    ("insufficient_available", lambda m: [m.pledge(1, 701)]),
    ("insufficient_available", lambda m: [m.freeze(3, 1)]),
    ("insufficient_available", lambda m: [m.transfer(1, 2, 1, share_nature=24)]),
    ("insufficient_available", lambda m: [m.pledge(1, 5, parts=[{"quantity": 1, "share_nature": 24}])]),
    ("insufficient_available", lambda m: [m.freeze(1, 701, parts=[{"quantity": 700}])]),
    ("insufficient_pledged", lambda m: freeze_of_pledged(m, 71)),
    ("insufficient_pledged", lambda m: freeze_of_pledged(m, 1, share_nature=24)),
    ("insufficient_pledged", release_of_another_nature),
    ("pledge_unknown", lambda m: [m.freeze(1, 5, parts=[{"quantity": 5, "pledge": "nothing"}])]),
    ("pledge_unknown", freeze_of_a_released_pledge_that_is_frozen),
    ("pledge_elsewhere", freeze_of_anothers_pledge),
    ("parts_exceed_quantity", lambda m: [m.pledge(1, 5, parts=[{"quantity": 6}])]),
    ("parts_exceed_quantity", lambda m: [m.freeze(1, 5, parts=[{"quantity": 3}, {"quantity": 3}])]),
    ("share_nature_unknown", lambda m: [m.freeze(1, 5, parts=[{"quantity": 3, "share_nature": 38}])]),
    ("field_range", lambda m: [m.freeze(1, 17, parts=[{"quantity": 1}] * 17)]),
    ("entries_limit", more_than_1000_parts_a_transaction),
    ("insufficient_pledged", release_of_another_pledge),
    ("insufficient_frozen", unfreeze_of_another_freeze),
    ("authorised_exceeded", lambda m: [m.initial(3, 1)]),
    ("authorised_exceeded", increase_beyond_its_own_authorisation),
    ("authorised_reduced", increase_that_authorises_less),
    ("holder_limit_exceeded", a_second_holder_where_one_is_allowed),
    ("transfer_same_account", lambda m: [m.transfer(1, 1, 5)]),
    ("entry_repeated", one_account_twice),
    ("pledgee_is_holder", lambda m: [m.pledge(1, 5, pledgee="P1")]),
    ("freeze_until_past", lambda m: [m.freeze(1, 5, until_ms=NOW_MS - 120_000)]),
    ("validators_invalid", one_validator_twice),
    ("validators_invalid", validator_with_an_unsafe_key),
    ("effective_height_out_of_range", lambda m: [change(m, "v1", "v2", effective_height=m.height)]),
    ("effective_height_out_of_range", lambda m: [change(m, "v1", "v2", effective_height=m.height + 100_002)]),
    ("effective_height_out_of_range", lambda m: [activation(m, 2, height=m.height)]),
    ("change_pending", lambda m: [change(m, "v1", "v2"), change(m, "v1", "v3")]),
    ("change_pending", lambda m: [activation(m, 2), activation(m, 2)]),
    ("change_not_pending", lambda m: [change(m, "v1", "v2", replaces=m.height + 9)]),
    ("change_not_pending", lambda m: [activation(m, 2, replaces=m.height + 9)]),
    ("validators_unchanged", the_same_set),
    ("validators_quorum_at_risk", lambda m: [change(m, "v1", "v2", "v3", "v4")]),
    ("validators_seats_exceeded", lambda m: [change(m, validators=one_organisation())]),
    ("protocol_version_not_next", lambda m: [activation(m, 3)]),
    *((code, partial(governed_case, fields)) for code, fields in GOVERNED),
    ("protocol_version_not_next", lambda m: [activation(m, 1)]),
    ("signer_key_invalid", key_of_another_suite),
    ("signer_absent", lambda m: [m.op("signer.remove", public_key=key("stranger"), reason="never there")]),
    ("governance_lost", lambda m: [m.op("signer.remove", public_key=key("governor"), reason="the last one")]),
    ("governance_lost", last_governor_becomes_operator),
    ("governance_lost", partial(governed_case, {"type": "policy.set", "rules": [rule_of(["nobody"], "policy.set")]})),
    ("signers_too_many", ten_thousand_signers),
]
