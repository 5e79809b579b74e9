"""The supervisory rules as pure functions: a record, as it is now, is all that a rule knows.

Each function looks at one `Case` and returns what it found, or None if nothing is wrong. `rules` says which function
belongs to which rule and where the rule comes from; `judging` asks it about every record that changes.

Invariants:
  * A function reads nothing and changes nothing; its answer depends on the case alone.
  * *Held* is available + pledged + frozen: in the data model, available is the free part (JR/T 0314-2024 registration
    objects; the mapping of the data model's balances onto one account's holding is this project's reading).

Left out: rules that need sources outside the chains (trading days, companies register).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Generic, NamedTuple

from common.model import codes
from common.model.quantities import Quantity
from custody_chain.intake import OVERSIZED
from custody_chain.tables.encumbrances import AgreementKey, PledgeContract
from custody_chain.tables.movements import Movement, MovementKey
from custody_chain.tables.objects import Anomaly, AnomalyKey, DataObject, ObjectKey, unnamed
from custody_chain.tables.positions import Balances, Security, SecurityKey, Standing
from custody_chain.tables.regions import (
    FROZE,
    InconsistentBlock,
    InconsistentKey,
    MisbehaviourKey,
    MisbehaviourRecord,
)
from custody_chain.tables.registry import Account, EnterpriseKey, Issuer, Product
from custody_chain.tables.table import K, R


class Case(NamedTuple, Generic[K, R]):
    """What a rule is asked about."""

    key: K
    record: R
    region: str
    """Where an alert would stand: the record's region; of a record over several, one that is concerned."""
    letters: str
    """Region letters of the region whose report is taken in; that is the record's, if it has only one."""
    parameters: Mapping[str, Any]
    """The rule's own, as they are in force."""


class RuleFinding(NamedTuple):
    """Something is wrong. `about` tells one alert of a rule in a region from another."""

    about: Sequence[str]
    objects: Sequence[dict[str, Any]]
    details: dict[str, Any]


def _named(kind: str, identifier: str | None) -> dict[str, Any]:
    return {"kind": kind, "id": identifier}


def too_many_holders(case: Case[ObjectKey, Product]) -> RuleFinding | None:
    """More holders of one security than Decree 132, Art. 13 allows."""
    limit, holders = case.parameters["limit"], case.record.holders
    if holders <= limit:
        return None
    product = case.key.object_id
    return RuleFinding([product], [_named("product", product)], {"holders": holders, "limit": limit})


def too_many_holders_of_instalments(case: Case[SecurityKey, Security]) -> RuleFinding | None:
    """The same, added up over instalments and markets (Art. 14). One instalment alone is the other rule's."""
    limit, record = case.parameters["limit"], case.record
    if record.holders <= limit or record.instalments <= 1:
        return None
    objects = [_named("security", case.key.security)]
    product = record.regions[case.region].product
    if product is not None:
        objects.append(_named("product", product))
    details = {"holders": record.holders, "instalments": record.instalments, "limit": limit}
    return RuleFinding([case.key.security], objects, details)


def encumbered_over_held(case: Case[MovementKey, Movement]) -> RuleFinding | None:
    """More is pledged, or more is frozen, or more is free beside that than the account holds.

    A freeze may lie on pledged shares, so pledged and frozen are each compared alone. Without an inflow the account
    cannot hold more than before, so a second pledge of the same shares shows here even when the region leaves the free
    balance as it was.
    """
    record = case.record
    before, after = record.before, record.after
    held = record.standing.held
    if not record.inflow and after.pledged + after.frozen > before.pledged + before.frozen:
        held = min(held, Standing(before, record.held_before).held)
    natures = record.share_natures or ()
    wrong = _beyond(held, *after) or any(_beyond(n.held, n.available, n.pledged, n.frozen) for n in natures)
    return _about_balances(case) if wrong else None


def _beyond(held: Quantity, available: Quantity, pledged: Quantity, frozen: Quantity) -> bool:
    """A balance is negative, or what is free and the larger of what is bound are more than what is held."""
    return min(available, pledged, frozen) < 0 or available + max(pledged, frozen) > held


def encumbered_moved(case: Case[MovementKey, Movement]) -> RuleFinding | None:
    """Shares left that were pledged or frozen: more than were free, also of one nature, or straight out of a balance.

    Where a chain does not state what is held, only so much has left as certainly has: a freeze that ends on pledged
    shares moves none.
    """
    record = case.record
    before, after = record.before, record.after
    leaving = Standing(before, record.held_before).least_held - record.standing.held
    if leaving <= 0:
        return None
    bound = leaving > max(before.available, 0) or after.pledged < before.pledged or after.frozen < before.frozen
    return _about_balances(case) if bound or _bound_nature_moved(record) else None


def _bound_nature_moved(record: Movement) -> bool:
    """More of one share nature left than was free of it, where both registrations state natures."""
    left = {nature.share_nature: nature.held for nature in record.share_natures or ()}
    before = record.natures_preceded_by or ()
    stated = record.share_natures is not None
    return stated and any(n.held - left.get(n.share_nature, 0) > max(n.available, 0) for n in before)


def balance_arithmetic(case: Case[MovementKey, Movement]) -> RuleFinding | None:
    """Before + change is not after, or the balances by share nature do not add up to those after.

    A balance that states only one or two of before, change and after cannot be wrong.
    """
    for before, change, after in case.record.stated:
        if before is not None and change is not None and after is not None and before + change != after:
            return _about_balances(case)
    natures = case.record.share_natures
    if natures is not None:
        sums = tuple(sum(getattr(nature, name) for nature in natures) for name in Balances._fields)
        if sums != case.record.after or sum(nature.held for nature in natures) != case.record.standing.held:
            return _about_balances(case)
    return None


def balance_chain(case: Case[MovementKey, Movement]) -> RuleFinding | None:
    """A balance before is not the balance after the registration before."""
    record = case.record
    stated: list[Quantity | None] = [part.before for part in record.stated]
    previous = list(record.preceded_by)
    if record.held_before is not None and record.held_preceded_by is not None:
        stated.append(record.held_before)
        previous.append(record.held_preceded_by)
    if all(s is None or s == p for s, p in zip(stated, previous, strict=False)):
        return None
    return _about_movement(case, {"stated_before": stated, "previous_after": previous})


def _about_balances(case: Case[MovementKey, Movement]) -> RuleFinding:
    record = case.record
    details = {
        "before": list(record.before),
        "after": list(record.after),
        "held_before": Standing(record.before, record.held_before).held,
        "held_after": record.standing.held,
    }
    return _about_movement(case, details)


def _about_movement(case: Case[MovementKey, Movement], details: dict[str, Any]) -> RuleFinding:
    object_id = case.record.object_id
    objects = [_named("registration", object_id), _named("product", case.key.product)]
    return RuleFinding([object_id], [*objects, _named("account", case.key.account)], details)


def contract_on_two_chains(case: Case[AgreementKey, PledgeContract]) -> RuleFinding | None:
    """One contract of one pledgor has open pledges on two chains (重复质押), whoever the pledgees are."""
    if len(case.record.regions) <= 1:
        return None
    investor, contract = case.key
    objects = [_named("investor", investor), _named("contract", contract)]
    return RuleFinding([investor, contract], objects, {"regions": sorted(case.record.regions)})


def issuer_outside_region(case: Case[ObjectKey, Product]) -> RuleFinding | None:
    """The issuer belongs to another province than the market."""
    product, issuer = case.record, case.record.issuer
    if issuer is None or product.deleted or codes.letters_of(issuer) == case.letters:
        return None
    object_id = case.key.object_id
    objects = [_named("product", object_id), _named("enterprise", issuer)]
    return RuleFinding([object_id], objects, {"issuer": issuer, "region_letters": case.letters})


def issuer_on_two_chains(case: Case[EnterpriseKey, Issuer]) -> RuleFinding | None:
    """One enterprise has products on the chains of two markets."""
    if len(case.record.regions) <= 1:
        return None
    enterprise = case.key.enterprise
    return RuleFinding([enterprise], [_named("enterprise", enterprise)], {"regions": sorted(case.record.regions)})


def register_mismatch(case: Case[ObjectKey, Product]) -> RuleFinding | None:
    """What the market counted is not what its registrations added up to when it reported that.

    Where they do not state what is held, they may add up to anything between two figures.
    """
    count = case.record.count
    if count is None:
        return None
    stated = count.stated_total
    same_total = stated is None or count.least_total <= stated <= count.registered_total
    if same_total and count.stated_holders in (None, count.accounts):
        return None
    details = {
        "stated_total": count.stated_total,
        "registered_total": count.registered_total,
        "stated_holders": count.stated_holders,
        "accounts": count.accounts,
    }
    return RuleFinding([case.key.object_id], [_named("product", case.key.object_id)], details)


def product_unreported(case: Case[ObjectKey, Product]) -> RuleFinding | None:
    """A registration names a product that the chain has not reported."""
    if case.record.known:
        return None
    return _unresolved("product", case.key.object_id, "product")


def owner_unresolved(case: Case[ObjectKey, Account]) -> RuleFinding | None:
    """A registration names an account without an owner's code."""
    if not case.record.unresolved:
        return None
    return _unresolved("account", case.key.object_id, "investor_code")


def _unresolved(kind: str, object_id: str, missing: str) -> RuleFinding:
    return RuleFinding([kind, object_id], [_named(kind, object_id)], {"missing": missing})


def version_gap(case: Case[ObjectKey, DataObject]) -> RuleFinding | None:
    """Versions are missing, repeated or follow a deletion, and no correction followed."""
    fault = case.record.fault
    if fault is None:
        return None
    details = {
        "fault": fault.fault,
        "operation": fault.operation,
        "version": fault.version,
        "newest_before": fault.newest_before,
    }
    objects = [{**_named(fault.kind, case.key.object_id), "version": fault.version}]
    return RuleFinding([case.key.object_id], objects, details)


def incomplete_registration(case: Case[ObjectKey, DataObject]) -> RuleFinding | None:
    """A registration of rights lacks its account, its product or all balances."""
    where = case.record.incomplete
    if where is None:
        return None
    objects = [_named("registration", case.key.object_id)]
    return RuleFinding([case.key.object_id], objects, {"height": where.height, "index": where.number})


def oversized_snapshot(case: Case[AnomalyKey, Anomaly]) -> RuleFinding | None:
    """A snapshot is too large to be judged, and was anchored by its hash alone."""
    record = case.record
    if record.code != OVERSIZED:
        return None
    objects = [_named("snapshot", unnamed(record.height, record.index))]
    return RuleFinding([str(record.height), str(record.index)], objects, {"hash": record.hash})


def snapshot_root_inconsistent(case: Case[InconsistentKey, InconsistentBlock]) -> RuleFinding | None:
    """A block without snapshots commits to some: that stays so."""
    height = str(case.key.height)
    return RuleFinding([height], [_named("block", height)], {"commitments": case.record.commitments})


def region_misbehaved(case: Case[MisbehaviourKey, MisbehaviourRecord]) -> RuleFinding | None:
    """The region is frozen for a contradiction of its validators, from which governance has not recovered it."""
    record = case.record
    if case.key.shows != FROZE or record.recovered_height is not None:
        return None
    objects = [
        {**_named("block", block_id), "height": record.height} for block_id in (record.first_id, record.second_id)
    ]
    details = {"kind": record.kind, "culprits": [culprit.name for culprit in record.culprits]}
    return RuleFinding([str(record.height)], objects, details)
