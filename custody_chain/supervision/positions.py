"""Positions: what registrations make of accounts, products and holder counts, and the rules about balances.

Values::

    position/…  {"available", "pledged", "frozen", "object_id", "height", "index", "time_ms", "alerts"}
    holding/…   {"investor"}
    movement/…  {"object_id", "before": [a, p, f], "after": [a, p, f], "stated": [a, p, f] (null: not stated), "inflow",
                 "height", "index", "alerts"}
    security/…  {"holders", "products", "alerts"}

Invariants:
  * The position is what the last registration states *after* it, even if its arithmetic is wrong: the alert says so,
    and the market's register stays comparable with ours.
  * An account without any balance has no position, holding or place in a holder count; its movements stay.
  * Movements of a position are numbered in the order in which they were anchored. A correction (overwrite) replaces the
    movement in its place; only the newest movement decides the position.
  * A registration whose numbers cannot be believed or summed (`MAX_QUANTITY`) is refused by `QuantityOutOfRange` and
    becomes an anomaly; nothing of it stays.

References: JR/T 0314-2024 life cycle (overwrite), data model v2.0.0 registration; Decree 132, Art. 13 and 14.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from custody_chain import state
from custody_chain.records import Records
from custody_chain.supervision import codes, rules
from custody_chain.supervision.alerts import Moment, clear_alert, judge
from custody_chain.supervision.facts import Part, RegistrationFacts
from custody_chain.supervision.registry import NEW_PRODUCT, investor_of_account, with_alert
from custody_chain.supervision.rules import NOTHING, Balances

_BALANCE_RULES: Final = ("balance_arithmetic", "encumbered_over_held", "encumbered_moved")


class QuantityOutOfRange(Exception):
    """The registration's numbers, or a total with them, are beyond what is believed."""


def apply_registration(
    records: Records, moment: Moment, object_id: str, time_ms: int, facts: RegistrationFacts, place: Any
) -> dict[str, Any] | None:
    """Apply one registration of rights; return its place (product, account, sequence) for the object's record.

    `place` is the place of the version that this snapshot corrects (overwrite) or follows, or None for a new object.
    Raises `QuantityOutOfRange`.
    """
    complete = facts.product is not None and facts.account is not None and _states_balances(facts)
    judge(
        records,
        moment,
        not complete,
        "incomplete_registration",
        [object_id],
        [{"kind": "registration", "id": object_id}],
        {"height": moment.height, "index": moment.index},
        was_wrong=place is not None and place.get("incomplete", False),
    )
    if facts.product is None or facts.account is None or not complete:
        _withdraw(records, moment, place, time_ms)
        return {"incomplete": True}
    where = (facts.product, facts.account)
    if place is not None and not place.get("incomplete") and (place["product"], place["account"]) != where:
        _withdraw(records, moment, place, time_ms)
        place = None
    if place is None or place.get("incomplete"):
        newest = records.get_index(state.last_movement(moment.network, *where))
        sequence = 0 if newest is None else newest["sequence"] + 1
        records.put_index(state.last_movement(moment.network, *where), {"sequence": sequence})
    else:
        sequence = place["sequence"]
    _write_movement(records, moment, object_id, time_ms, facts, where, sequence)
    return {"product": where[0], "account": where[1], "sequence": sequence}


def _states_balances(facts: RegistrationFacts) -> bool:
    return any(part.after is not None or part.change is not None for part in facts.parts)


def _previous(records: Records, network: str, where: tuple[str, str], sequence: int) -> Balances:
    """Balances after the movement before `sequence`."""
    if sequence == 0:
        return NOTHING
    movement = records.get_index(state.movement(network, *where, sequence - 1))
    return Balances(*movement["after"])


def _result(part: Part, current: int) -> int:
    """The balance after a part: as stated, else by its change, else unchanged."""
    if part.after is not None:
        return part.after
    if part.change is not None:
        return (current if part.before is None else part.before) + part.change
    return current


def _write_movement(
    records: Records,
    moment: Moment,
    object_id: str,
    time_ms: int,
    facts: RegistrationFacts,
    where: tuple[str, str],
    sequence: int,
) -> None:
    """Put one movement in its place, judge it, and let the position follow if it is the newest."""
    network = moment.network
    key = state.movement(network, *where, sequence)
    replaced = records.get_index(key)
    previous = _previous(records, network, where, sequence)
    after = Balances(*map(_result, facts.parts, previous))
    before = Balances(*(p.before if p.before is not None else b for p, b in zip(facts.parts, previous, strict=True)))
    if not after.in_range or not before.in_range:
        raise QuantityOutOfRange
    movement = {
        "object_id": object_id,
        "before": list(before),
        "after": list(after),
        "stated": [part.before for part in facts.parts],
        "inflow": facts.transaction is not None or sequence == 0,
        "height": moment.height,
        "index": moment.index,
        "alerts": [] if replaced is None else replaced["alerts"],
    }
    arithmetic = all(rules.arithmetic_holds(part.before, part.change, part.after) for part in facts.parts)
    records.put_index(key, _judge_movement(records, moment, where, movement, arithmetic=arithmetic))
    check_link(records, moment, where, sequence)
    newest = records.get_index(state.last_movement(network, *where))["sequence"]
    if newest == sequence:
        set_position(records, moment, object_id, time_ms, where, after)
    else:
        check_link(records, moment, where, sequence + 1)


def _judge_movement(
    records: Records, moment: Moment, where: tuple[str, str], movement: dict[str, Any], *, arithmetic: bool
) -> dict[str, Any]:
    """The three rules about one registration; returns the movement with its standing alerts."""
    before, after = Balances(*movement["before"]), Balances(*movement["after"])
    wrong = {
        "balance_arithmetic": not arithmetic,
        "encumbered_over_held": rules.encumbered_over_held(before, after, inflow=movement["inflow"]),
        "encumbered_moved": rules.encumbered_moved(before, after),
    }
    standing: list[str] = movement["alerts"]
    if not standing and not any(wrong.values()):
        return movement
    objects = _objects(movement["object_id"], where)
    details = {"before": movement["before"], "after": movement["after"], "held_before": before.held}
    for rule in _BALANCE_RULES:
        about = [movement["object_id"]]
        judge(records, moment, wrong[rule], rule, about, objects, details, was_wrong=rule in standing)
        standing = with_alert(standing, rule, wrong[rule])
    return {**movement, "alerts": standing}


def _objects(object_id: str, where: tuple[str, str]) -> list[dict[str, str]]:
    return [
        {"kind": "registration", "id": object_id},
        {"kind": "product", "id": where[0]},
        {"kind": "account", "id": where[1]},
    ]


def check_link(records: Records, moment: Moment, where: tuple[str, str], sequence: int) -> None:
    """Rule `balance_chain`: what a movement states as its balance before is the balance after the one before it."""
    key = state.movement(moment.network, *where, sequence)
    movement = records.get_index(key)
    previous = _previous(records, moment.network, where, sequence)
    wrong = any(s is not None and s != p for s, p in zip(movement["stated"], previous, strict=True))
    was_wrong = "balance_chain" in movement["alerts"]
    if not wrong and not was_wrong:
        return
    judge(
        records,
        moment,
        wrong,
        "balance_chain",
        [movement["object_id"]],
        _objects(movement["object_id"], where),
        {"stated_before": movement["stated"], "previous_after": list(previous)},
        was_wrong=was_wrong,
    )
    records.put_index(key, {**movement, "alerts": with_alert(movement["alerts"], "balance_chain", wrong)})


def _withdraw(records: Records, moment: Moment, place: Any, time_ms: int) -> None:
    """A correction moves a registration to another account or product: its old movement becomes one of nothing."""
    if place is None or place.get("incomplete"):
        return
    where, sequence = (place["product"], place["account"]), place["sequence"]
    key = state.movement(moment.network, *where, sequence)
    movement = records.get_index(key)
    for rule in movement["alerts"]:
        clear_alert(records, moment, rule, [movement["object_id"]])
    previous = list(_previous(records, moment.network, where, sequence))
    records.put_index(
        key, {**movement, "before": previous, "after": previous, "stated": [None, None, None], "alerts": []}
    )
    if records.get_index(state.last_movement(moment.network, *where))["sequence"] == sequence:
        set_position(records, moment, movement["object_id"], time_ms, where, Balances(*previous))
    else:
        check_link(records, moment, where, sequence + 1)


def set_position(
    records: Records, moment: Moment, object_id: str, time_ms: int, where: tuple[str, str], after: Balances
) -> None:
    """Make `after` the position, with the totals and holder counts that follow from it. Raises `QuantityOutOfRange`."""
    network, (product_id, account_id) = moment.network, where
    holding_key = state.holding(network, product_id, account_id)
    holding = records.get(holding_key)
    investor = investor_of_account(records, network, account_id) if holding is None else holding["investor"]
    key = state.position(investor, network, product_id, account_id)
    held = records.get(key)
    before = NOTHING if held is None else Balances(held["available"], held["pledged"], held["frozen"])
    holds = any(after)
    records.put(
        key,
        {
            "available": after.available,
            "pledged": after.pledged,
            "frozen": after.frozen,
            "object_id": object_id,
            "height": moment.height,
            "index": moment.index,
            "time_ms": time_ms,
        }
        if holds
        else None,
    )
    product = records.get(state.product(network, product_id)) or {
        **NEW_PRODUCT,
        "security": codes.security_of(product_id),
    }
    product = _add_totals(product, before, after)
    if holds and held is None:
        records.put(holding_key, {"investor": investor})
        records.put_index(state.filed(network, account_id, investor, product_id), {"product": product_id})
        product = {**product, "accounts": product["accounts"] + 1}
        product = change_holder(records, moment, product_id, product, account_id, investor, 1)
    elif held is not None and not holds:
        records.put(holding_key, None)
        records.put_index(state.filed(network, account_id, investor, product_id), None)
        product = {**product, "accounts": product["accounts"] - 1}
        product = change_holder(records, moment, product_id, product, account_id, investor, -1)
    records.put(state.product(network, product_id), product)
    _judge_references(records, moment, where, product, investor, holds=holds, is_new=held is None)


def _add_totals(product: dict[str, Any], before: Balances, after: Balances) -> dict[str, Any]:
    totals = Balances(
        product["available"] + after.available - before.available,
        product["pledged"] + after.pledged - before.pledged,
        product["frozen"] + after.frozen - before.frozen,
    )
    if not totals.in_range:
        raise QuantityOutOfRange
    return {**product, "available": totals.available, "pledged": totals.pledged, "frozen": totals.frozen}


def change_holder(
    records: Records,
    moment: Moment,
    product_id: str,
    product: dict[str, Any],
    account_id: str,
    investor: str,
    change: int,
) -> dict[str, Any]:
    """Count an account to or from its holder, and ask whether the product or security has too many holders.

    Returns the product's record, which the caller puts. An unresolved account counts as a holder of its own: nobody is
    added up without a code, and nobody is lost.
    """
    holder = state.holder_name(investor, moment.network, account_id)
    key = state.holder(moment.network, product_id, holder)
    count = records.get_index(key)
    accounts = (0 if count is None else count["accounts"]) + change
    records.put_index(key, {"accounts": accounts} if accounts > 0 else None)
    if not (accounts == 1 and change > 0) and accounts != 0:
        return product
    product = {**product, "holders": product["holders"] + change}
    crowded = judge(
        records,
        moment,
        rules.too_many_holders(product["holders"]),
        "holder_cap",
        [product_id],
        [{"kind": "product", "id": product_id}],
        {"holders": product["holders"], "limit": rules.MAX_HOLDERS},
        was_wrong="holder_cap" in product["alerts"],
    )
    product = {**product, "alerts": with_alert(product["alerts"], "holder_cap", crowded)}
    if product["security"] is not None:
        _change_security_holder(records, moment, product["security"], product_id, product["holders"], holder, change)
    return product


def _change_security_holder(
    records: Records, moment: Moment, security: str, product_id: str, product_holders: int, holder: str, change: int
) -> None:
    """Holders of one security over all instalments (Decree 132, Art. 14: instalments are added up)."""
    key = state.security_holder(security, holder)
    count = records.get_index(key)
    products = (0 if count is None else count["products"]) + change
    records.put_index(key, {"products": products} if products > 0 else None)
    if not (products == 1 and change > 0) and products != 0:
        return
    record = records.get(state.security(security)) or {"holders": 0, "alerted": None}
    holders = record["holders"] + change
    # One instalment alone is judged by holder_cap; this rule is for what only the sum shows.
    crowded = rules.too_many_holders(holders) and product_holders < holders
    alerted = record["alerted"]
    if crowded or alerted is not None:
        judge(
            records,
            moment if alerted is None else replace(moment, network=alerted),
            crowded,
            "holder_cap_instalments",
            [security],
            [{"kind": "security", "id": security}, {"kind": "product", "id": product_id}],
            {"holders": holders, "limit": rules.MAX_HOLDERS},
            was_wrong=alerted is not None,
        )
        alerted = (alerted or moment.network) if crowded else None
    records.put(state.security(security), {"holders": holders, "alerted": alerted} if holders > 0 else None)


def _judge_references(
    records: Records,
    moment: Moment,
    where: tuple[str, str],
    product: dict[str, Any],
    investor: str,
    *,
    holds: bool,
    is_new: bool,
) -> None:
    """Rule `reference_unresolved`: for an unreported product, and for an account without an owner's code."""
    if not is_new or not holds:
        return
    product_id, account_id = where
    if not product["known"]:
        about, objects = ["product", product_id], [{"kind": "product", "id": product_id}]
        judge(records, moment, True, "reference_unresolved", about, objects, {"missing": "product"}, was_wrong=False)
    if investor == state.UNRESOLVED:
        records.put_index(state.waiting(moment.network, "account", account_id), {})
        about, objects = ["account", account_id], [{"kind": "account", "id": account_id}]
        details = {"missing": "investor_code"}
        judge(records, moment, True, "reference_unresolved", about, objects, details, was_wrong=False)
