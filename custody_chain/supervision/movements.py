"""Registrations as movements: each in its place of one position's history.

Invariants:
  * Movements of a position follow each other in the order in which their objects first appeared (`since`), whenever
    they became usable: a registration that was anomalous or incomplete at first takes its place before what came later.
  * A correction (overwrite) replaces the movement in its place; only the newest movement decides the position.
  * A correction that names another account or product leaves the old history and joins the new one.
  * A movement knows the balances after the one before it (`preceded_by`), whatever is corrected there.
  * A registration whose numbers cannot be believed or summed (`MAX_QUANTITY`) raises `QuantityOutOfRange` and becomes
    an anomaly; nothing of it stays.

References: JR/T 0314-2024 life cycle (overwrite), data model v2.0.0 registration. Left out: what the position is and
who holds it (`positions`), single pledges and freezes (`encumbrances`), what is wrong with a movement (`verdicts`).
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from common.model.kinds.registration import Part, RegistrationFacts
from common.model.quantities import Quantity, plain
from custody_chain.records import Records
from custody_chain.supervision import encumbrances
from custody_chain.supervision.alerts import Moment
from custody_chain.supervision.positions import QuantityOutOfRange, set_position
from custody_chain.tables.movements import LAST_MOVEMENTS, MOVEMENTS, LastMovement, Movement, MovementKey, Stated
from custody_chain.tables.objects import Place, Where
from custody_chain.tables.positions import NO_STANDING, NOTHING, Balances, HoldingKey, Standing

MAX_LATER: Final = 64
"""Later movements that one late registration is placed before, so that no snapshot makes unbounded work. Behind more of
them it stands too late in the history, which may raise `balance_chain` but never decides the position."""


def apply_registration(
    records: Records,
    moment: Moment,
    object_id: str,
    time_ms: int,
    facts: RegistrationFacts,
    place: Place | None,
    since: Where,
) -> Place | None:
    """Apply one registration of rights; return its place for the object's record, None if it is incomplete.

    `place` is the place of the version that this snapshot corrects (overwrite) or follows, or None if there is none;
    `since` is where the object first appeared. Raises `QuantityOutOfRange`.
    """
    product, account = facts.product, facts.account
    incomplete = product is None or account is None or not _states_balances(facts)
    if place is not None and (incomplete or (place.product, place.account) != (product, account)):
        _withdraw(records, moment, HoldingKey(moment.network, place.product, place.account), place.number, time_ms)
        place = None
    if incomplete or product is None or account is None:
        return None
    where = HoldingKey(moment.network, product, account)
    number = _insert(records, where, object_id, since) if place is None else place.number
    _write(records, moment, object_id, time_ms, facts, where, number)
    return Place(product, account, number)


def _states_balances(facts: RegistrationFacts) -> bool:
    return any(part.after is not None or part.change is not None for part in facts.parts)


def _movement(records: Records, where: HoldingKey, number: int | None) -> Movement | None:
    """A movement by its number; None before the first and after the newest."""
    return None if number is None else records.get(MOVEMENTS, MovementKey(*where, number))


def _standing_after(records: Records, where: HoldingKey, number: int | None) -> Standing:
    """The position after a movement; nothing before the first."""
    movement = _movement(records, where, number)
    return NO_STANDING if movement is None else movement.standing


def _insert(records: Records, where: HoldingKey, object_id: str, since: Where) -> int:
    """Make room for a movement behind those that appeared before it. Returns its number."""
    ends = records.get(LAST_MOVEMENTS, where) or LastMovement()
    number = ends.made
    earlier, later = ends.newest, None
    for _ in range(MAX_LATER):
        movement = _movement(records, where, earlier)
        if movement is None or movement.since <= since:
            break
        earlier, later = movement.previous, earlier
    newest = number if later is None else ends.newest
    records.put(LAST_MOVEMENTS, where, LastMovement(newest=newest, made=number + 1))
    empty = Movement(
        object_id=object_id,
        since=since,
        previous=earlier,
        next=later,
        preceded_by=NOTHING,
        before=NOTHING,
        after=NOTHING,
    )
    records.add(MOVEMENTS, MovementKey(*where, number), empty)
    _point(records, where, earlier, next=number)
    _point(records, where, later, previous=number)
    return number


def _point(records: Records, where: HoldingKey, number: int | None, **neighbour: int | None) -> None:
    """Let a movement, if there is one, have another neighbour, about which no rule asks."""
    movement = _movement(records, where, number)
    if movement is not None and number is not None:
        records.put_judged(MOVEMENTS, MovementKey(*where, number), replace(movement, **neighbour))


def _join(records: Records, where: HoldingKey, earlier: int | None, later: int | None) -> None:
    """Make two movements neighbours. None is what lies before the first, after the newest."""
    _point(records, where, earlier, next=later)
    _point(records, where, later, previous=earlier)
    if later is None:
        ends = records.get(LAST_MOVEMENTS, where) or LastMovement()
        records.put(LAST_MOVEMENTS, where, replace(ends, newest=earlier))


def _result(part: Part, current: Quantity) -> Quantity:
    """The balance after a part: as stated, else by its change, else unchanged."""
    if part.after is not None:
        return part.after
    if part.change is not None:
        return plain((current if part.before is None else part.before) + part.change)
    return current


def _write(
    records: Records,
    moment: Moment,
    object_id: str,
    time_ms: int,
    facts: RegistrationFacts,
    where: HoldingKey,
    number: int,
) -> None:
    """Put one movement in its place, and let the position follow if it is the newest."""
    key = MovementKey(*where, number)
    replaced = _movement(records, where, number)
    if replaced is None:
        return
    if not facts.is_believed:
        raise QuantityOutOfRange
    last = _standing_after(records, where, replaced.previous)
    previous = last.balances
    encumbrances.take_back(records, where, replaced.encumbrance)
    after = Balances(*map(_result, facts.parts, previous))
    before = Balances(*(p.before if p.before is not None else b for p, b in zip(facts.parts, previous, strict=True)))
    standing = Standing(after, facts.held_after, facts.share_natures, facts.effective_date)
    if not standing.in_range or not Standing(before, facts.held_before).in_range:
        raise QuantityOutOfRange
    movement = replace(
        replaced,
        object_id=object_id,
        preceded_by=previous,
        before=before,
        after=after,
        held_preceded_by=last.stated_held,
        natures_preceded_by=last.share_natures,
        held_before=facts.held_before,
        held_after=facts.held_after,
        share_natures=facts.share_natures,
        event_type=facts.event_type,
        effective_date=facts.effective_date,
        stated=tuple(Stated(part.before, part.change, part.after) for part in facts.parts),
        inflow=facts.transaction is not None or replaced.previous is None,
        encumbrance=encumbrances.change_of(facts.encumbrance, before, after),
        height=moment.height,
        index=moment.index,
    )
    records.put(MOVEMENTS, key, movement)
    if movement.next is None:
        set_position(records, moment, object_id, time_ms, where, standing)
    else:
        _follow(records, where, movement.next, standing)
    encumbrances.apply(records, moment, where, movement.encumbrance, facts.encumbrance, object_id, time_ms)


def _follow(records: Records, where: HoldingKey, number: int, last: Standing) -> None:
    """Let a movement know the position after the one before it."""
    movement = _movement(records, where, number)
    if movement is None:
        return
    after = replace(
        movement,
        preceded_by=last.balances,
        held_preceded_by=last.stated_held,
        natures_preceded_by=last.share_natures,
    )
    if after != movement:
        records.put(MOVEMENTS, MovementKey(*where, number), after)


def _withdraw(records: Records, moment: Moment, where: HoldingKey, number: int, time_ms: int) -> None:
    """A correction takes a registration out of this position's history: what was around it closes up."""
    movement = _movement(records, where, number)
    if movement is None:
        return
    encumbrances.take_back(records, where, movement.encumbrance)
    records.delete(MOVEMENTS, MovementKey(*where, number))
    _join(records, where, movement.previous, movement.next)
    previous = _standing_after(records, where, movement.previous)
    if movement.next is None:
        set_position(records, moment, movement.object_id, time_ms, where, previous)
    else:
        _follow(records, where, movement.next, previous)
