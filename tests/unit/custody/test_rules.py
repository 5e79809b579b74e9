"""Supervisory rules: pure functions over records, put into force and parameterised by governance, one line each."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.core.codec import canonical_json
from common.core.errors import Rejected
from custody_chain.supervision import refile, rules, verdicts
from custody_chain.supervision.rules import RULES, Catalogue, On, Rule, parameters_of
from custody_chain.supervision.verdicts import Case, RuleFinding
from custody_chain.tables.movements import Movement, MovementKey, Stated
from custody_chain.tables.objects import ObjectKey, Where
from custody_chain.tables.positions import NOTHING, Balances
from custody_chain.tables.registry import PRODUCTS, Product
from tests.support.chains import ChainBuilder
from tests.support.custody import GOVERNORS, Custody, market_with_product, product, registration

CODE = "BJ000001.ESVUFR2601"


def lonely(case: Case[ObjectKey, Product]) -> RuleFinding | None:
    """A rule that no chain has: fewer accounts than there have to be."""
    least, accounts = case.parameters["least"], case.record.accounts
    if accounts >= least:
        return None
    return RuleFinding([case.key.object_id], [{"kind": "product", "id": case.key.object_id}], {"accounts": accounts})


def add_rule(monkeypatch: pytest.MonkeyPatch, since: int) -> None:
    rule = Rule(
        rule="lonely",
        title="Few accounts",
        title_zh="账户过少",
        source="test",
        asks=(On(PRODUCTS, lonely),),
        parameters={"least": 2},
        since=since,
    )
    monkeypatch.setattr(rules, "RULES", Catalogue([*RULES.values(), rule]))
    monkeypatch.setattr("custody_chain.supervision.alerts.RULES", rules.RULES)


def set_rule(custody: Custody, *settings: tuple[int, dict[str, Any] | None]) -> None:
    """What an operation of governance would leave in the state."""
    stored = [{"from_height": height, "parameters": parameters} for height, parameters in settings]
    custody.state.values[b"rules"] = canonical_json({"rules": {"lonely": stored}})


def registered(custody: Custody, chain: ChainBuilder, account: str) -> list[dict[str, Any]]:
    """One more account with shares; the alerts of the test's rule after it."""
    custody.deliver(chain, registration(f"r-{account}:0", CODE, account, change=(10, 0, 0)))
    return custody.alerts("lonely")


def test_a_rule_is_one_function_and_one_line(
    monkeypatch: pytest.MonkeyPatch, custody: Custody, chain: ChainBuilder
) -> None:
    add_rule(monkeypatch, since=1)
    (alert,) = registered(custody, chain, "A8")
    assert (alert["details"], alert["source"]) == ({"accounts": 1}, "test")
    assert registered(custody, chain, "A9") == []
    assert custody.get("product", "beijing", CODE)["alerts"].keys() == {"reference_unresolved"}


def drained(custody: Custody) -> int:
    """Empty blocks until nothing is queued; how many."""
    blocks = 0
    while custody.scan("work/"):
        custody.empty_block()
        blocks += 1
        assert blocks < 100
    return blocks


def test_a_setting_is_applied_to_everything_that_stands_a_few_records_a_block(
    monkeypatch: pytest.MonkeyPatch, custody: Custody
) -> None:
    """Ten products with one account each."""
    add_rule(monkeypatch, since=2)
    for number in range(10):
        code = f"BJ000001.ESVUFR27{number:02d}"
        custody.report(product(code, "issuer"), registration(f"r{number}:0", code, "A1", change=(10, 0, 0)))
    monkeypatch.setattr(refile, "MAX_UNITS", 3)
    set_rule(custody, (custody.height + 2, {}))
    custody.empty_block()
    assert (custody.alerts("lonely"), custody.scan("work/")) == ([], {})
    custody.empty_block()
    assert 0 < len(custody.alerts("lonely")) <= 3
    assert drained(custody) >= 3
    assert len(custody.alerts("lonely")) == 10
    set_rule(custody, (custody.height + 1, None))
    custody.empty_block()
    drained(custody)
    assert custody.alerts("lonely") == []
    assert custody.region()["alerts_open"] == len(custody.alerts())


def test_a_setting_reaches_records_of_several_regions(monkeypatch: pytest.MonkeyPatch) -> None:
    chains = [ChainBuilder("beijing"), ChainBuilder("shanghai")]
    custody = Custody(chains)
    for chain in chains:
        custody.deliver(chain, *market_with_product(CODE))
    assert len(custody.alerts("issuer_on_two_chains")) == 1
    custody.state.values[b"rules"] = canonical_json(
        {"rules": {"issuer_on_two_chains": [{"from_height": custody.height + 1, "parameters": None}]}}
    )
    custody.empty_block()
    drained(custody)
    assert custody.alerts("issuer_on_two_chains") == []
    assert custody.get("issuer", "BJ000001")["alerts"] == {}


def test_defaults_are_applied_when_they_are_read() -> None:
    assert parameters_of(None, RULES["holder_cap"], 1) == {"limit": 200}
    assert parameters_of(None, RULES["version_gap"], 1) == {}


def test_governance_has_no_say_in_the_rules_of_the_protocol(custody: Custody) -> None:
    own = {name for name, rule in RULES.items() if not rule.governed}
    assert own == {"snapshot_root_inconsistent", "region_misbehaved"}
    for name in own:
        operation = {"type": "rules.set", "id": name, "parameters": None, "from_height": 9, "reason": "off"}
        with pytest.raises(Rejected, match="no such supervisory rule"):
            custody.run([operation], GOVERNORS)


def test_what_governance_may_set_has_bounds_that_hold_the_default(custody: Custody) -> None:
    for name, rule in RULES.items():
        assert rule.bounds.keys() == rule.parameters.keys()
        for parameter, (least, most) in rule.bounds.items():
            assert least <= rule.parameters[parameter] <= most
            for value in (least - 1, most + 1, 2**53 - 1):
                assert refused_setting(custody, name, {parameter: value}) == "rule_parameter_out_of_range"
            custody.run([setting(custody, name, {parameter: least})], GOVERNORS)


def test_no_title_names_a_figure_that_governance_changes() -> None:
    for rule in RULES.values():
        for figure in rule.parameters.values():
            assert str(figure) not in f"{rule.title} {rule.title_zh}"


def test_governance_sets_numbers_that_the_rule_has(custody: Custody) -> None:
    for parameters in ({"most": 5}, {"limit": "5"}, {"limit": True}):
        assert refused_setting(custody, "holder_cap", parameters) == "rule_parameter_unknown"


def setting(custody: Custody, rule: str, parameters: dict[str, Any]) -> dict[str, Any]:
    from_height = custody.height + 9
    return {"type": "rules.set", "id": rule, "parameters": parameters, "from_height": from_height, "reason": "r"}


def refused_setting(custody: Custody, rule: str, parameters: dict[str, Any]) -> str:
    with pytest.raises(Rejected) as caught:
        custody.run([setting(custody, rule, parameters)], GOVERNORS)
    return caught.value.code


QUANTITIES = st.integers(-3, 6)
BALANCES = st.builds(Balances, QUANTITIES, QUANTITIES, QUANTITIES)


def moved(
    before: Balances,
    after: Balances,
    *,
    inflow: bool = False,
    preceded_by: Balances = NOTHING,
    held: tuple[int | None, int | None] = (None, None),
) -> Any:
    stated = tuple(Stated(b, a - b, a) for b, a in zip(before, after, strict=True))
    movement = Movement(
        object_id="r:0",
        since=Where(1, 0),
        before=before,
        after=after,
        preceded_by=preceded_by,
        stated=stated,
        inflow=inflow,
        held_before=held[0],
        held_after=held[1],
    )
    return Case(MovementKey("beijing", CODE, "A1", 0), movement, "beijing", "BJ", MappingProxyType({}))


@given(BALANCES, BALANCES)
def test_what_a_movement_may_do(before: Balances, after: Balances) -> None:
    case = moved(before, after, preceded_by=before)
    assert verdicts.balance_arithmetic(case) is None
    assert verdicts.balance_chain(case) is None
    left = before.least_held - after.most_held
    free_enough = left <= max(before.available, 0) and after.pledged >= before.pledged and after.frozen >= before.frozen
    assert (verdicts.encumbered_moved(case) is None) == (left <= 0 or free_enough)
    with_inflow = moved(before, after, inflow=True)
    assert (verdicts.encumbered_over_held(with_inflow) is None) == (min(after) >= 0)


@given(BALANCES, BALANCES, QUANTITIES, QUANTITIES, st.booleans())
def test_what_a_movement_may_do_where_the_chain_states_what_is_held(
    before: Balances, after: Balances, held_before: int, held_after: int, inflow: bool
) -> None:
    """Pledged and frozen shares may be the same ones; each alone, beside the free ones, fits into what is held."""
    case = moved(before, after, inflow=inflow, held=(held_before, held_after))
    grew = after.pledged + after.frozen > before.pledged + before.frozen
    held = min(held_before, held_after) if grew and not inflow else held_after
    fits = after.available + after.pledged <= held and after.available + after.frozen <= held
    assert (verdicts.encumbered_over_held(case) is None) == (min(after) >= 0 and fits)
    left = held_before - held_after
    free_enough = left <= max(before.available, 0) and after.pledged >= before.pledged and after.frozen >= before.frozen
    assert (verdicts.encumbered_moved(case) is None) == (left <= 0 or free_enough)


@given(BALANCES, BALANCES, BALANCES)
def test_a_balance_before_is_the_balance_after_the_one_before(
    before: Balances, after: Balances, last: Balances
) -> None:
    finding = verdicts.balance_chain(moved(before, after, preceded_by=last))
    assert (finding is None) == (before == last)
