"""Subjects, accounts and products: who is behind an account, and who issued what.

Values::

    subject/…   {"investor", "enterprise", "organisation", "name", "shareholders", "changes": how often its codes
                 changed, "height", "index", "deleted"}
    account/…   {"subject", "account_type", "changes": how often its owner changed, "height", "index", "deleted"}
    product/…   {"known", "code", "name", "issuer_subject", "issuer", "security", "product_type", "issue_size", "unit",
                 "scale" (decimal places), "holders", "accounts", "available", "pledged", "frozen", "alerts",
                 "changes": how often its security changed, "height", "index", "deleted"}
    issuer/…    {"regions": {region: number of products}, "alerted": region that has the alert, or null}

Invariants:
  * A position is filed under the investor code its account led to when it was filed, and listed by the changes of
    account and subject until then. A later change queues the account or subject, and `refile` moves what was filed
    before it, a bounded number a block: no snapshot can cause unbounded work. So are the issuer of products whose code
    names none, and the security that a product's holders are counted to.
  * Objects belong to the region that reported them; nothing here can change another region's records (attack R8).

References: JR/T 0326-2024; 国办发〔2017〕11号; data model v2.0.0. Left out: balances (`positions`).
"""

from __future__ import annotations

from typing import Any, Final

from common.model import codes
from common.model.kinds.account import AccountFacts
from common.model.kinds.product import ProductFacts
from common.model.kinds.subject import SubjectFacts
from custody_chain import state
from custody_chain.records import Records
from custody_chain.supervision.alerts import Moment, clear_alert, home_of, judge, judge_across

NEW_PRODUCT: Final[dict[str, Any]] = {
    "known": False,
    "code": None,
    "name": None,
    "issuer_subject": None,
    "issuer": None,
    "security": None,
    "product_type": None,
    "issue_size": None,
    "unit": None,
    "scale": None,
    "holders": 0,
    "accounts": 0,
    "available": 0,
    "pledged": 0,
    "frozen": 0,
    "alerts": [],
    "changes": 0,
    "height": 0,
    "index": 0,
    "deleted": False,
}
"""A product that is named by a registration before the chain has reported it."""


def investor_of_subject(records: Records, network: str, subject: str | None) -> str:
    """The investor code behind a subject, or `UNRESOLVED`."""
    record = None if subject is None else records.get(state.subject(network, subject))
    return state.UNRESOLVED if record is None or record["investor"] is None else str(record["investor"])


def investor_of_account(records: Records, network: str, account: str) -> str:
    """The investor code behind an account, or `UNRESOLVED`."""
    record = records.get(state.account(network, account))
    return state.UNRESOLVED if record is None else investor_of_subject(records, network, record["subject"])


def changes_of_subject(records: Records, network: str, subject: str | None) -> int:
    """How often a subject's codes changed; never before it is reported."""
    return _changes(None if subject is None else records.get(state.subject(network, subject)))


def filing_of(records: Records, network: str, account: str) -> tuple[int, int]:
    """Changes of an account's owner and of the owner's codes. It only grows, and names one investor code."""
    record = records.get(state.account(network, account))
    return (0, 0) if record is None else (_changes(record), changes_of_subject(records, network, record["subject"]))


def _changes(record: dict[str, Any] | None) -> int:
    return 0 if record is None else int(record["changes"])


def apply_subject(records: Records, moment: Moment, object_id: str, facts: SubjectFacts, *, deleted: bool) -> None:
    """Keep a subject's codes; queue its accounts and products if they changed."""
    network = moment.network
    key = state.subject(network, object_id)
    before = records.get(key)
    investor = None if deleted else facts.investor
    codes_before = (None, None) if before is None else (before["investor"], before["enterprise"])
    changed = (investor, facts.enterprise) != codes_before
    records.put(
        key,
        {
            "investor": investor,
            "enterprise": facts.enterprise,
            "organisation": facts.organisation,
            "name": facts.name,
            "shareholders": facts.shareholders,
            "changes": _changes(before) + changed,
            "height": moment.height,
            "index": moment.index,
            "deleted": deleted,
        },
    )
    if changed:
        _queue(records, network, "subject", object_id, is_new=before is None)
    borne = None if before is None or before["deleted"] else before["enterprise"]
    bears = None if deleted else facts.enterprise
    if borne != bears:
        if borne is not None:
            records.put(state.company(borne, network, object_id), None)
        if bears is not None:
            records.put(state.company(bears, network, object_id), {"subject": object_id})


def apply_account(records: Records, moment: Moment, object_id: str, facts: AccountFacts, *, deleted: bool) -> None:
    """Keep whose account it is; queue its positions if that changed."""
    network = moment.network
    key = state.account(network, object_id)
    before = records.get(key)
    old_subject = None if before is None else before["subject"]
    changed = facts.subject != old_subject
    records.put(
        key,
        {
            "subject": facts.subject,
            "account_type": facts.account_type,
            "changes": _changes(before) + changed,
            "height": moment.height,
            "index": moment.index,
            "deleted": deleted,
        },
    )
    if not changed:
        return
    _list_under(records, network, state.OWNED, old_subject, facts.subject, object_id, {"account": object_id})
    _queue(records, network, "account", object_id, is_new=before is None)


def _list_under(
    records: Records,
    network: str,
    listed: state.ListByChanges,
    old: str | None,
    new: str | None,
    object_id: str,
    entry: dict[str, Any],
) -> None:
    """List an account or product under another subject. What a change left in an older list goes when that is done."""
    for subject, value in ((old, None), (new, entry)):
        if subject is not None:
            changes = changes_of_subject(records, network, subject)
            records.put_index(listed.entry(network, subject, changes, step=state.component(object_id)), value)
    if new is not None and records.get(state.subject(network, new)) is None:
        records.put_index(state.waiting(network, "subject", new), {})


def _queue(records: Records, network: str, what: str, object_id: str, *, is_new: bool) -> None:
    """Have refiled what was filed before a change, if there can be any: nothing is, if nothing named a new object."""
    waiting = state.waiting(network, what, object_id)
    if not is_new or records.get_index(waiting) is not None:
        records.put(state.refile(network, what, object_id), {"object": object_id})
        records.put_index(waiting, None)


def apply_product(records: Records, moment: Moment, object_id: str, facts: ProductFacts, *, deleted: bool) -> None:
    """Keep what a product is, and ask whether its issuer may be served by this market."""
    network = moment.network
    key = state.product(network, object_id)
    before = records.get(key) or NEW_PRODUCT
    security = codes.security_of(facts.code)
    changed = security != before["security"]
    product = {
        **before,
        "known": True,
        "code": facts.code,
        "name": facts.name,
        "issuer_subject": facts.issuer_subject,
        "security": security,
        "product_type": facts.product_type,
        "issue_size": facts.issue_size,
        "unit": facts.unit,
        # Metadata are no part of what an update merges: an update without them leaves the decimal places.
        "scale": before["scale"] if facts.scale is None else facts.scale,
        "changes": before["changes"] + changed,
        "height": moment.height,
        "index": moment.index,
        "deleted": deleted,
    }
    if not deleted:
        product["alerts"] = _judge_totals(records, moment, object_id, product, facts)
    records.put(key, _with_issuer(records, moment, object_id, before, product))
    if changed and before["holders"]:
        _queue(records, network, "product", object_id, is_new=False)
    if facts.issuer_subject != before["issuer_subject"]:
        subjects = before["issuer_subject"], facts.issuer_subject
        _list_under(records, network, state.OFFERED, *subjects, object_id, {"product": object_id})
    if not before["known"]:
        clear_alert(records, moment, "reference_unresolved", ["product", object_id])


def rejudge_issuer(records: Records, moment: Moment, object_id: str) -> None:
    """Ask again who issued a product, after its issuer's subject changed."""
    key = state.product(moment.network, object_id)
    product = records.get(key)
    records.put(key, _with_issuer(records, moment, object_id, product, product))


def _with_issuer(
    records: Records, moment: Moment, object_id: str, before: dict[str, Any], product: dict[str, Any]
) -> dict[str, Any]:
    """The product with the issuer that its code names, or its issuer's subject: listed there, and judged."""
    subject = product["issuer_subject"]
    record = None if subject is None else records.get(state.subject(moment.network, subject))
    issuer = codes.product_enterprise(product["code"]) or (None if record is None else record["enterprise"])
    listed_before = None if before["deleted"] else before["issuer"]
    listed = None if product["deleted"] else issuer
    if listed_before != listed:
        if listed_before is not None:
            _unlist(records, moment, listed_before, object_id)
        if listed is not None:
            _list(records, moment, listed, object_id)
    alerts = _judge_issuer(records, moment, object_id, listed, product["alerts"])
    return {**product, "issuer": issuer, "alerts": alerts}


def _judge_issuer(records: Records, moment: Moment, object_id: str, issuer: str | None, alerts: list[str]) -> list[str]:
    """Rule `issuer_outside_region`. Returns the product's list of standing alerts."""
    outside = issuer is not None and codes.letters_of(issuer) != moment.letters
    judge(
        records,
        moment,
        outside,
        "issuer_outside_region",
        [object_id],
        [{"kind": "product", "id": object_id}, {"kind": "enterprise", "id": issuer}],
        {"issuer": issuer, "region_letters": moment.letters},
        was_wrong="issuer_outside_region" in alerts,
    )
    return with_alert(alerts, "issuer_outside_region", outside)


def _judge_totals(
    records: Records, moment: Moment, object_id: str, product: dict[str, Any], facts: ProductFacts
) -> list[str]:
    """Rule `register_mismatch`: what the market counts is what its registrations add up to."""
    held = product["available"] + product["pledged"] + product["frozen"]
    wrong = (facts.registered_total is not None and facts.registered_total != held) or (
        facts.registered_holders is not None and facts.registered_holders != product["accounts"]
    )
    details = {
        "stated_total": facts.registered_total,
        "registered_total": held,
        "stated_holders": facts.registered_holders,
        "accounts": product["accounts"],
    }
    objects = [{"kind": "product", "id": object_id}]
    was_wrong = "register_mismatch" in product["alerts"]
    judge(records, moment, wrong, "register_mismatch", [object_id], objects, details, was_wrong=was_wrong)
    return with_alert(product["alerts"], "register_mismatch", wrong)


def with_alert(alerts: list[str], rule: str, standing: bool) -> list[str]:
    """The list of standing rules with one added or removed, sorted."""
    return sorted({*alerts, rule}) if standing else [item for item in alerts if item != rule]


def _list(records: Records, moment: Moment, enterprise: str, product: str) -> None:
    records.put(state.issued(enterprise, moment.network, product), {"product": product})
    _count_product(records, moment, enterprise, 1)


def _unlist(records: Records, moment: Moment, enterprise: str, product: str) -> None:
    records.put(state.issued(enterprise, moment.network, product), None)
    _count_product(records, moment, enterprise, -1)


def _count_product(records: Records, moment: Moment, enterprise: str, change: int) -> None:
    """Count the products an enterprise has in this region, and ask whether it is on two chains."""
    key = state.issuer(enterprise)
    before = records.get(key) or {"regions": {}, "alerted": None}
    count = before["regions"].get(moment.network, 0) + change
    regions = {**before["regions"], moment.network: count}
    if count <= 0:
        regions.pop(moment.network)
    alerted = before["alerted"]
    home = home_of(moment, alerted, regions) if len(regions) > 1 else None
    objects, details = [{"kind": "enterprise", "id": enterprise}], {"regions": sorted(regions)}
    rule = "issuer_on_two_chains"
    judge_across(records, moment, rule, [enterprise], objects, details, home=home, stood_in=alerted)
    records.put(key, {"regions": regions, "alerted": home} if regions else None)
