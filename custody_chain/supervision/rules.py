"""The rules that raise alerts: what each says, where it comes from, and the arithmetic behind it. Pure functions of
numbers.

An alert is a question to a market, not a verdict about it. `docs/supervision.md` explains every rule to regulators.

Invariants:
  * A rule's id is part of the public contract; ids are never reused.
  * *Held* is available + pledged + frozen: in the data model, available is the free part (JR/T 0314-2024 registration
    objects; the mapping of the data model's balances onto one account's holding is this project's reading).

Left out: where alerts are kept (`alerts`), and rules that need sources outside the chains (trading days, companies
register).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from common.model.quantities import MAX_QUANTITY

MAX_HOLDERS: Final = 200
"""Holders of one security, all taken together (Decree 132, Art. 13)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule. `clears`: whether the alert ends by itself when the facts are right again or are corrected."""

    rule: str
    title: str
    title_zh: str
    source: str
    attributed_to: str = "region"


_RULES: Final = (
    Rule(
        rule="holder_cap",
        title="More than 200 holders of one security",
        title_zh="单只证券持有人累计超过200人",
        source="CSRC Decree 132, Art. 13",
    ),
    Rule(
        rule="holder_cap_instalments",
        title="More than 200 holders of one security over several instalments or markets",
        title_zh="分期发行合并计算后持有人累计超过200人",
        source="CSRC Decree 132, Art. 13 and 14",
    ),
    Rule(
        rule="encumbered_over_held",
        title="Pledged and frozen shares exceed the shares held",
        title_zh="质押与冻结数量超过持有数量",
        source="JR/T 0314-2024 registration balances; supervision check on repeated pledges (重复质押)",
    ),
    Rule(
        rule="contract_on_two_chains",
        title="One pledge contract of one holder has open pledges on two chains",
        title_zh="同一质押合同在两条链上登记",
        source="supervision check on repeated pledges (重复质押); contract numbers as the markets state them",
    ),
    Rule(
        rule="encumbered_moved",
        title="Pledged or frozen shares left the account",
        title_zh="已质押或已冻结股份发生转移",
        source="JR/T 0314-2024 registration balances; supervision check on movements of locked shares",
    ),
    Rule(
        rule="issuer_outside_region",
        title="The issuer belongs to another province than the market",
        title_zh="为本省级行政区域以外企业提供服务",
        source="国办发〔2017〕11号; CSRC guidance of 2012; region letters of JR/T 0326-2024",
    ),
    Rule(
        rule="issuer_on_two_chains",
        title="One enterprise has securities on the chains of two markets",
        title_zh="同一企业在两个市场发行登记",
        source="国办发〔2017〕11号; supervision check on cross-province service",
    ),
    Rule(
        rule="balance_arithmetic",
        title="Before + change is not after",
        title_zh="变动前余额加变动额不等于变动后余额",
        source="JR/T 0315-2024 data model, registration balances",
    ),
    Rule(
        rule="balance_chain",
        title="The balance before is not the balance after the previous registration",
        title_zh="变动前余额与上次登记的变动后余额不一致",
        source="JR/T 0315-2024 data model, registration balances",
    ),
    Rule(
        rule="register_mismatch",
        title="What the market counts as registered is not what its registrations add up to",
        title_zh="产品登记总量或持有人数与登记明细合计不一致",
        source="JR/T 0315-2024 data model, product; supervision check on roster against ledger",
    ),
    Rule(
        rule="version_gap",
        title="Versions of a data object are missing, repeated or follow its deletion",
        title_zh="数据对象版本不连续",
        source="JR/T 0314-2024, life cycle of data objects",
    ),
    Rule(
        rule="reference_unresolved",
        title="A registration names an account or product that the chain has not reported, or an owner without a code",
        title_zh="登记引用的账户、产品或投资者代码无法解析",
        source="JR/T 0314-2024, references; JR/T 0326-2024, codes",
    ),
    Rule(
        rule="incomplete_registration",
        title="A registration of rights without account, product or balances",
        title_zh="权利登记缺少账户、产品或余额",
        source="JR/T 0315-2024 data model, registration",
    ),
    Rule(
        rule="oversized_snapshot",
        title="A snapshot above 64 KiB was anchored by its hash alone",
        title_zh="快照超过64KiB，仅锚定其摘要",
        source="protocol rules 14 and 16",
    ),
    Rule(
        rule="snapshot_root_inconsistent",
        title="A block without snapshots commits to some",
        title_zh="无快照的区块其快照根不为空",
        source="protocol rule 16",
    ),
    Rule(
        rule="region_misbehaved",
        title="The region's validators contradicted themselves; the region is frozen",
        title_zh="区域链出现冲突证书，已冻结",
        source="protocol rule 20",
    ),
)

RULES: Final = {rule.rule: rule for rule in _RULES}
"""All rules by id."""


class Balances(NamedTuple):
    """Balances of one account in one product, in the product's unit."""

    available: int
    pledged: int
    frozen: int

    @property
    def held(self) -> int:
        """Everything in the account, free or not."""
        return self.available + self.pledged + self.frozen

    @property
    def in_range(self) -> bool:
        """Whether all three can be believed and summed (`MAX_QUANTITY`)."""
        return all(-MAX_QUANTITY <= value <= MAX_QUANTITY for value in self)


NOTHING: Final = Balances(0, 0, 0)


def arithmetic_holds(before: int | None, change: int | None, after: int | None) -> bool:
    """Whether before + change = after; a part that states only one or two of them cannot be wrong."""
    return before is None or change is None or after is None or before + change == after


def encumbered_over_held(before: Balances, after: Balances, *, inflow: bool) -> bool:
    """Whether more is pledged and frozen than the account holds.

    `inflow`: shares may have come in (the registration names a transaction, or is the account's first in the product).
    Without an inflow the account cannot hold more than before, so a second pledge of the same shares shows here even
    when the region leaves the free balance as it was.
    """
    if min(after) < 0:
        return True
    grew = after.pledged + after.frozen > before.pledged + before.frozen
    return grew and not inflow and after.pledged + after.frozen > before.held


def encumbered_moved(before: Balances, after: Balances) -> bool:
    """Whether shares left that were pledged or frozen: more than were free, or straight out of either balance."""
    leaving = before.held - after.held
    if leaving <= 0:
        return False
    return leaving > max(before.available, 0) or after.pledged < before.pledged or after.frozen < before.frozen


def too_many_holders(holders: int) -> bool:
    """Whether the cap of Decree 132, Art. 13 is passed."""
    return holders > MAX_HOLDERS
