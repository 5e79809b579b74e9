"""Registrations as movements: each in its place of one position's history, judged by the rules about balances.

Values::

    movement/…       {"object_id", "since": [height, index], "previous", "next" (numbers or null), "before": [a, p, f],
                     "after": [a, p, f], "stated": [a, p, f] (null: not stated), "inflow",
                     "encumbrance": {"kind", "id", "change"} | null, "height", "index", "alerts"}
    last_movement/…  {"newest": number | null, "made": numbers given so far}

Invariants:
  * Movements of a position follow each other in the order in which their objects first appeared (`since`), whenever
    they became usable: a registration that was anomalous or incomplete at first takes its place before what came later.
  * A correction (overwrite) replaces the movement in its place; only the newest movement decides the position.
  * A correction that names another account or product leaves the old history and joins the new one.
  * A registration whose numbers cannot be believed or summed (`MAX_QUANTITY`) raises `QuantityOutOfRange` and becomes
    an anomaly; nothing of it stays.

References: JR/T 0314-2024 life cycle (overwrite), data model v2.0.0 registration. Left out: what the position is and
who holds it (`positions`), single pledges and freezes (`encumbrances`).
"""

from __future__ import annotations

from typing import Any, Final

from common.model.kinds.registration import Part, RegistrationFacts
from custody_chain import state
from custody_chain.records import Records
from custody_chain.supervision import encumbrances, rules
from custody_chain.supervision.alerts import Moment, clear_alert, judge
from custody_chain.supervision.positions import QuantityOutOfRange, set_position
from custody_chain.supervision.registry import with_alert
from custody_chain.supervision.rules import NOTHING, Balances

_BALANCE_RULES: Final = ("balance_arithmetic", "encumbered_over_held", "encumbered_moved")

MAX_LATER: Final = 64
"""Later movements that one late registration is placed before, so that no snapshot makes unbounded work. Behind more of
them it stands too late in the history, which may raise `balance_chain` but never decides the position."""


def apply_registration(
    records: Records,
    moment: Moment,
    object_id: str,
    time_ms: int,
    facts: RegistrationFacts,
    place: Any,
    since: list[int],
) -> dict[str, Any]:
    """Apply one registration of rights; return its place (product, account, number) for the object's record.

    `place` is the place of the version that this snapshot corrects (overwrite) or follows, or None if there is none;
    `since` is where the object first appeared: height and index. Raises `QuantityOutOfRange`.
    """
    incomplete = facts.product is None or facts.account is None or not _states_balances(facts)
    judge(
        records,
        moment,
        incomplete,
        "incomplete_registration",
        [object_id],
        [{"kind": "registration", "id": object_id}],
        {"height": moment.height, "index": moment.index},
        was_wrong=place is not None and place.get("incomplete", False),
    )
    if place is not None and place.get("incomplete"):
        place = None
    if place is not None and (incomplete or (place["product"], place["account"]) != (facts.product, facts.account)):
        _withdraw(records, moment, (place["product"], place["account"]), place["number"], time_ms)
        place = None
    if incomplete or facts.product is None or facts.account is None:
        return {"incomplete": True}
    where = (facts.product, facts.account)
    number = _insert(records, moment.network, where, since) if place is None else place["number"]
    _write_movement(records, moment, object_id, time_ms, facts, where, number)
    return {"product": where[0], "account": where[1], "number": number}


def _states_balances(facts: RegistrationFacts) -> bool:
    return any(part.after is not None or part.change is not None for part in facts.parts)


def _movement(records: Records, network: str, where: tuple[str, str], number: int | None) -> Any:
    """A movement by its number; None before the first and after the newest."""
    return None if number is None else records.get_index(state.movement(network, *where, number))


def _balances_after(records: Records, network: str, where: tuple[str, str], number: int | None) -> Balances:
    """Balances after a movement; nothing before the first."""
    movement = _movement(records, network, where, number)
    return NOTHING if movement is None else Balances(*movement["after"])


def _insert(records: Records, network: str, where: tuple[str, str], since: list[int]) -> int:
    """Make room for a movement behind those that appeared before it. Returns its number."""
    key = state.last_movement(network, *where)
    ends = records.get_index(key) or {"newest": None, "made": 0}
    number: int = ends["made"]
    earlier, later = ends["newest"], None
    for _ in range(MAX_LATER):
        movement = _movement(records, network, where, earlier)
        if movement is None or movement["since"] <= since:
            break
        earlier, later = movement["previous"], earlier
    records.put_index(key, {**ends, "made": number + 1})
    records.put_index(state.movement(network, *where, number), {"since": since, "encumbrance": None, "alerts": []})
    _join(records, network, where, earlier, number)
    _join(records, network, where, number, later)
    return number


def _join(records: Records, network: str, where: tuple[str, str], earlier: int | None, later: int | None) -> None:
    """Make two movements neighbours; None is what lies before the first and after the newest."""
    for number, name, neighbour in ((earlier, "next", later), (later, "previous", earlier)):
        if number is not None:
            key = state.movement(network, *where, number)
            records.put_index(key, {**records.get_index(key), name: neighbour})
    if later is None:
        key = state.last_movement(network, *where)
        records.put_index(key, {**records.get_index(key), "newest": earlier})


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
    number: int,
) -> None:
    """Put one movement in its place, judge it, and let the position follow if it is the newest."""
    network = moment.network
    key = state.movement(network, *where, number)
    replaced = records.get_index(key)
    previous = _balances_after(records, network, where, replaced["previous"])
    encumbrances.take_back(records, moment, where, replaced["encumbrance"])
    after = Balances(*map(_result, facts.parts, previous))
    before = Balances(*(p.before if p.before is not None else b for p, b in zip(facts.parts, previous, strict=True)))
    if not after.in_range or not before.in_range:
        raise QuantityOutOfRange
    movement = {
        **replaced,
        "object_id": object_id,
        "before": list(before),
        "after": list(after),
        "stated": [part.before for part in facts.parts],
        "inflow": facts.transaction is not None or replaced["previous"] is None,
        "encumbrance": encumbrances.change_of(facts.encumbrance, before, after),
        "height": moment.height,
        "index": moment.index,
    }
    arithmetic = all(rules.arithmetic_holds(part.before, part.change, part.after) for part in facts.parts)
    records.put_index(key, _judge_movement(records, moment, where, movement, arithmetic=arithmetic))
    check_link(records, moment, where, number)
    if movement["next"] is None:
        set_position(records, moment, object_id, time_ms, where, after)
    else:
        check_link(records, moment, where, movement["next"])
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


def check_link(records: Records, moment: Moment, where: tuple[str, str], number: int) -> None:
    """Rule `balance_chain`: what a movement states as its balance before is the balance after the one before it."""
    key = state.movement(moment.network, *where, number)
    movement = records.get_index(key)
    previous = _balances_after(records, moment.network, where, movement["previous"])
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


def _withdraw(records: Records, moment: Moment, where: tuple[str, str], number: int, time_ms: int) -> None:
    """A correction takes a registration out of this position's history: what was around it closes up."""
    key = state.movement(moment.network, *where, number)
    movement = records.get_index(key)
    for rule in movement["alerts"]:
        clear_alert(records, moment, rule, [movement["object_id"]])
    encumbrances.take_back(records, moment, where, movement["encumbrance"])
    records.put_index(key, None)
    _join(records, moment.network, where, movement["previous"], movement["next"])
    if movement["next"] is None:
        previous = _balances_after(records, moment.network, where, movement["previous"])
        set_position(records, moment, movement["object_id"], time_ms, where, previous)
    else:
        check_link(records, moment, where, movement["next"])
