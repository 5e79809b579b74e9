"""Subjects, accounts and products: who is behind an account, and who issued what.

Invariants:
  * A position is filed under the investor that its account led to when it was filed.
  * It is listed by the changes of account and subject until then. A later change queues the account or subject, and
    `refile` moves what was filed before it, a bounded number a block.
  * The same holds for the issuer of products whose code names none, and for the security that a product's holders are
    counted to. No snapshot can cause unbounded work.
  * Objects belong to the region that reported them; nothing here can change another region's records (attack R8).

References: JR/T 0326-2024; 国办发〔2017〕11号; data model v2.0.0. Left out: balances (`positions`), what is wrong with
any of it (`verdicts`).
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from common.model import codes
from common.model.kinds.account import AccountFacts
from common.model.kinds.product import ProductFacts
from common.model.kinds.subject import SubjectFacts
from custody_chain.records import Records
from custody_chain.supervision.alerts import Moment
from custody_chain.tables.objects import ObjectKey
from custody_chain.tables.registry import (
    ACCOUNTS,
    COMPANIES,
    ISSUED,
    ISSUERS,
    LISTED,
    OFFERED,
    OWNED,
    PRODUCTS,
    SUBJECTS,
    WAITING,
    Account,
    Company,
    CompanyKey,
    Count,
    EnterpriseKey,
    Issued,
    IssuedKey,
    Issuer,
    Listed,
    OfferedKey,
    OwnedKey,
    Product,
    Subject,
)
from custody_chain.tables.table import UNRESOLVED, Table
from custody_chain.tables.work import WORK, Work, WorkKey


def investor_of_subject(records: Records, network: str, subject: str | None) -> str:
    """The investor code behind a subject, or `UNRESOLVED`."""
    record = None if subject is None else records.get(SUBJECTS, ObjectKey(network, subject))
    return UNRESOLVED if record is None or record.investor is None else record.investor


def investor_of_account(records: Records, network: str, account: str) -> str:
    """The investor code behind an account, or `UNRESOLVED`."""
    record = records.get(ACCOUNTS, ObjectKey(network, account))
    return UNRESOLVED if record is None else investor_of_subject(records, network, record.subject)


def changes_of_subject(records: Records, network: str, subject: str | None) -> int:
    """How often a subject's codes changed; never before it is reported."""
    record = None if subject is None else records.get(SUBJECTS, ObjectKey(network, subject))
    return 0 if record is None else record.changes


def filing_of(records: Records, network: str, account: str) -> tuple[int, int]:
    """Changes of an account's owner and of the owner's codes. It only grows, and names one investor code."""
    record = records.get(ACCOUNTS, ObjectKey(network, account))
    return (0, 0) if record is None else (record.changes, changes_of_subject(records, network, record.subject))


def apply_subject(records: Records, moment: Moment, object_id: str, facts: SubjectFacts, *, deleted: bool) -> None:
    """Keep a subject's codes; queue its accounts and products if they changed."""
    key = ObjectKey(moment.network, object_id)
    before = records.get(SUBJECTS, key)
    subject = Subject(
        investor=None if deleted else facts.investor,
        enterprise=facts.enterprise,
        organisation=facts.organisation,
        name=facts.name,
        shareholders=facts.shareholders,
        changes=0 if before is None else before.changes,
        height=moment.height,
        index=moment.index,
        deleted=deleted,
    )
    codes_before = (None, None) if before is None else (before.investor, before.enterprise)
    if (subject.investor, subject.enterprise) != codes_before:
        subject = replace(subject, changes=subject.changes + 1)
        named = records.get(WAITING, key) is not None
        if named:
            records.delete(WAITING, key)
        if named or before is not None:
            _queue(records, "subject", key)
    records.put(SUBJECTS, key, subject)
    borne, bears = _enterprise_borne(before), _enterprise_borne(subject)
    if borne != bears:
        if borne is not None:
            records.delete(COMPANIES, CompanyKey(borne, *key))
        if bears is not None:
            records.put(COMPANIES, CompanyKey(bears, *key), Company(object_id))


def _enterprise_borne(subject: Subject | None) -> str | None:
    return None if subject is None or subject.deleted else subject.enterprise


def apply_account(records: Records, moment: Moment, object_id: str, facts: AccountFacts, *, deleted: bool) -> None:
    """Keep whose account it is; queue its positions if that changed."""
    key = ObjectKey(moment.network, object_id)
    named = records.get(ACCOUNTS, key)
    before = named or Account()
    changed = facts.subject != before.subject
    account = replace(
        before,
        known=True,
        subject=facts.subject,
        account_type=facts.account_type,
        changes=before.changes + changed,
        height=moment.height,
        index=moment.index,
        deleted=deleted,
    )
    records.put(ACCOUNTS, key, account)
    if not changed:
        return
    for subject, listed in ((before.subject, False), (facts.subject, True)):
        if subject is not None:
            changes = changes_of_subject(records, moment.network, subject)
            _list(records, OWNED, OwnedKey(moment.network, subject, changes, object_id), listed=listed)
    _await(records, moment.network, facts.subject)
    if named is not None:
        _queue(records, "account", key)


def _queue(records: Records, what: str, key: ObjectKey) -> None:
    """Have moved what was filed before a change."""
    records.put(WORK, WorkKey(key.region, what, key.object_id), Work())


def _list(records: Records, table: Table[Any, Listed], key: Any, *, listed: bool) -> None:
    """List an account or product under a subject, or no more. What an older list has goes when that is worked off."""
    if listed:
        records.put(table, key, LISTED)
    else:
        records.delete(table, key)


def _await(records: Records, network: str, subject: str | None) -> None:
    """Remember that a subject is named by something before it is reported."""
    if subject is not None and records.get(SUBJECTS, ObjectKey(network, subject)) is None:
        records.put(WAITING, ObjectKey(network, subject), LISTED)


def apply_product(records: Records, moment: Moment, object_id: str, facts: ProductFacts, *, deleted: bool) -> None:
    """Keep what a product is, and what the market counts of it."""
    network, key = moment.network, ObjectKey(moment.network, object_id)
    before = records.get(PRODUCTS, key) or Product()
    security = codes.security_of(facts.code)
    changed = security != before.security
    count = Count(
        stated_total=facts.registered_total,
        stated_holders=facts.registered_holders,
        least_total=before.least_held,
        registered_total=before.held,
        accounts=before.accounts,
    )
    product = replace(
        before,
        known=True,
        code=facts.code,
        name=facts.name,
        issuer_subject=facts.issuer_subject,
        security=security,
        product_type=facts.product_type,
        issue_size=facts.issue_size,
        issue_price=facts.issue_price,
        unit=facts.unit,
        # Metadata are no part of what an update merges: an update without them leaves the decimal places.
        scale=before.scale if facts.scale is None else facts.scale,
        count=before.count if deleted else count,
        changes=before.changes + changed,
        height=moment.height,
        index=moment.index,
        deleted=deleted,
    )
    _keep_with_issuer(records, key, before, product)
    if changed and before.holders:
        _queue(records, "product", key)
    if facts.issuer_subject == before.issuer_subject:
        return
    for subject, listed in ((before.issuer_subject, False), (facts.issuer_subject, True)):
        if subject is not None:
            changes = changes_of_subject(records, network, subject)
            _list(records, OFFERED, OfferedKey(network, subject, changes, object_id), listed=listed)
    _await(records, network, facts.issuer_subject)


def find_issuer_again(records: Records, key: ObjectKey) -> None:
    """Ask again who issued a product, after its issuer's subject changed."""
    product = records.get(PRODUCTS, key)
    if product is not None:
        _keep_with_issuer(records, key, product, product)


def _keep_with_issuer(records: Records, key: ObjectKey, before: Product, product: Product) -> None:
    """Keep a product with the issuer that its code names, or its issuer's subject, and list it there."""
    subject = product.issuer_subject
    record = None if subject is None else records.get(SUBJECTS, ObjectKey(key.region, subject))
    issuer = codes.product_enterprise(product.code) or (None if record is None else record.enterprise)
    product = replace(product, issuer=issuer)
    records.put(PRODUCTS, key, product)
    listed_before, listed = _issuer_listed(before), _issuer_listed(product)
    if listed_before == listed:
        return
    if listed_before is not None:
        records.delete(ISSUED, IssuedKey(listed_before, *key))
        _count_product(records, key.region, listed_before, -1)
    if listed is not None:
        records.put(ISSUED, IssuedKey(listed, *key), Issued(key.object_id))
        _count_product(records, key.region, listed, 1)


def _issuer_listed(product: Product) -> str | None:
    return None if product.deleted else product.issuer


def _count_product(records: Records, region: str, enterprise: str, change: int) -> None:
    """Count the products that an enterprise has in a region."""
    key = EnterpriseKey(enterprise)
    before = records.get(ISSUERS, key) or Issuer({})
    regions = counted(before.regions, region, change)
    if regions:
        records.put(ISSUERS, key, replace(before, regions=regions))
    else:
        records.delete(ISSUERS, key)


def counted(regions: dict[str, int], region: str, change: int) -> dict[str, int]:
    """Counts by region with one changed; a region without any is not in it."""
    counts = {**regions, region: regions.get(region, 0) + change}
    return {name: count for name, count in counts.items() if count > 0}
