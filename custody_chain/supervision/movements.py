"""Registrations as movements: each in its place of one position's history, judged by the rules about balances.

Values::

    movement/…  {"object_id", "before": [a, p, f], "after": [a, p, f], "stated": [a, p, f] (null: not stated), "inflow",
                 "encumbrance": {"kind", "id", "change"} | null, "height", "index", "alerts"}

Invariants:
  * Movements of a position are numbered in the order in which they were anchored. A correction (overwrite) replaces
    the movement in its place; only the newest movement decides the position.
  * A correction that names another account or product empties the old place and takes a new one.
  * A registration whose numbers cannot be believed or summed (`MAX_QUANTITY`) raises `QuantityOutOfRange` and becomes
    an anomaly; nothing of it stays.

References: JR/T 0314-2024 life cycle (overwrite), data model v2.0.0 registration. Left out: what the position is and
who holds it (`positions`), single pledges and freezes (`encumbrances`).
"""

from __future__ import annotations

from typing import Any, Final

from custody_chain import state
from custody_chain.records import Records
from custody_chain.supervision import encumbrances, rules
from custody_chain.supervision.alerts import Moment, clear_alert, judge
from custody_chain.supervision.facts import Part, RegistrationFacts
from custody_chain.supervision.positions import QuantityOutOfRange, set_position
from custody_chain.supervision.registry import with_alert
from custody_chain.supervision.rules import NOTHING, Balances

_BALANCE_RULES: Final = ("balance_arithmetic", "encumbered_over_held", "encumbered_moved")


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
    if replaced is not None:
        encumbrances.take_back(records, moment, where, replaced["encumbrance"])
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
        "encumbrance": encumbrances.change_of(facts.encumbrance, before, after),
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
    if facts.encumbrance is not None:
        encumbrances.apply(records, moment, where, movement["encumbrance"], facts.encumbrance, object_id, time_ms)


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
    encumbrances.take_back(records, moment, where, movement["encumbrance"])
    previous = list(_previous(records, moment.network, where, sequence))
    records.put_index(
        key,
        {
            **movement,
            "before": previous,
            "after": previous,
            "stated": [None, None, None],
            "encumbrance": None,
            "alerts": [],
        },
    )
    if records.get_index(state.last_movement(moment.network, *where))["sequence"] == sequence:
        set_position(records, moment, movement["object_id"], time_ms, where, Balances(*previous))
    else:
        check_link(records, moment, where, sequence + 1)
