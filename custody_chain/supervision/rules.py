"""The supervisory rules: what each says, where it comes from, which records it is asked about, with which parameters.

An alert is a question to a market, not a verdict about it. `docs/supervision.md` explains every rule to regulators.
A new rule is a function in `verdicts` and an entry here, with the protocol version since which it is available
(`RULES.add` declares one from elsewhere).

Invariants:
  * A rule's id is part of the public contract; ids are never reused.
  * A rule that was there from the beginning is in force until governance says otherwise; a later one only once
    governance has said so. Governance sets parameters from a height on; what it does not name has its default.

Left out: what the functions look at (`verdicts`), asking them (`judging`), where alerts are kept (`alerts`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from common.core.errors import InvariantBroken
from common.core.protocol import check_supported, forget_with
from custody_chain.supervision import verdicts
from custody_chain.supervision.verdicts import Case, RuleFinding
from custody_chain.tables.encumbrances import AGREEMENTS
from custody_chain.tables.movements import MOVEMENTS
from custody_chain.tables.objects import ANOMALIES, OBJECTS
from custody_chain.tables.positions import SECURITIES
from custody_chain.tables.regions import INCONSISTENT_BLOCKS, MISBEHAVIOURS
from custody_chain.tables.registry import ACCOUNTS, ISSUERS, PRODUCTS
from custody_chain.tables.rules import RuleSettings
from custody_chain.tables.table import K, R, Table

MAX_HOLDERS: Final = 200
"""Holders of one security, all taken together (Decree 132, Art. 13)."""

HOLDER_LIMITS: Final = 1, 1_000_000
"""Between which numbers governance may set another limit."""

FIRST_VERSION: Final = 1
"""The protocol version with which a chain begins."""


_NOTHING: Final[Mapping[str, Any]] = {}

Judge = Callable[[Case[Any, Any]], RuleFinding | None]


class On:
    """A function that is asked about the records of one table."""

    __slots__ = ("judge", "table")

    def __init__(self, table: Table[K, R], judge: Callable[[Case[K, R]], RuleFinding | None]) -> None:
        self.table: Table[Any, Any] = table
        self.judge: Judge = judge


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule. One that is not `governed` is part of the protocol: governance has no say in it."""

    rule: str
    title: str
    title_zh: str
    source: str
    asks: tuple[On, ...]
    parameters: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    """Their defaults."""
    bounds: Mapping[str, tuple[int, int]] = field(default_factory=lambda: _NOTHING)
    """The least and the greatest that governance may set of each."""
    since: int = FIRST_VERSION
    attributed_to: str = "region"
    governed: bool = True


_RULES: Final = (
    Rule(
        rule="holder_cap",
        title="More holders of one security than the limit",
        title_zh="单只证券持有人累计超过上限",
        source="CSRC Decree 132, Art. 13",
        asks=(On(PRODUCTS, verdicts.too_many_holders),),
        parameters={"limit": MAX_HOLDERS},
        bounds={"limit": HOLDER_LIMITS},
    ),
    Rule(
        rule="holder_cap_instalments",
        title="More holders of one security over several instalments or markets than the limit",
        title_zh="分期发行合并计算后持有人累计超过上限",
        source="CSRC Decree 132, Art. 13 and 14",
        asks=(On(SECURITIES, verdicts.too_many_holders_of_instalments),),
        parameters={"limit": MAX_HOLDERS},
        bounds={"limit": HOLDER_LIMITS},
    ),
    Rule(
        rule="encumbered_over_held",
        title="Pledged and frozen shares exceed the shares held",
        title_zh="质押与冻结数量超过持有数量",
        source="JR/T 0314-2024 registration balances; supervision check on repeated pledges (重复质押)",
        asks=(On(MOVEMENTS, verdicts.encumbered_over_held),),
    ),
    Rule(
        rule="contract_on_two_chains",
        title="One pledge contract of one holder has open pledges on two chains",
        title_zh="同一质押合同在两条链上登记",
        source="supervision check on repeated pledges (重复质押); contract numbers as the markets state them",
        asks=(On(AGREEMENTS, verdicts.contract_on_two_chains),),
    ),
    Rule(
        rule="encumbered_moved",
        title="Pledged or frozen shares left the account",
        title_zh="已质押或已冻结股份发生转移",
        source="JR/T 0314-2024 registration balances; supervision check on movements of locked shares",
        asks=(On(MOVEMENTS, verdicts.encumbered_moved),),
    ),
    Rule(
        rule="issuer_outside_region",
        title="The issuer belongs to another province than the market",
        title_zh="为本省级行政区域以外企业提供服务",
        source="国办发〔2017〕11号; CSRC guidance of 2012; region letters of JR/T 0326-2024",
        asks=(On(PRODUCTS, verdicts.issuer_outside_region),),
    ),
    Rule(
        rule="issuer_on_two_chains",
        title="One enterprise has securities on the chains of two markets",
        title_zh="同一企业在两个市场发行登记",
        source="国办发〔2017〕11号; supervision check on cross-province service",
        asks=(On(ISSUERS, verdicts.issuer_on_two_chains),),
    ),
    Rule(
        rule="balance_arithmetic",
        title="Before + change is not after",
        title_zh="变动前余额加变动额不等于变动后余额",
        source="JR/T 0315-2024 data model, registration balances",
        asks=(On(MOVEMENTS, verdicts.balance_arithmetic),),
    ),
    Rule(
        rule="balance_chain",
        title="The balance before is not the balance after the previous registration",
        title_zh="变动前余额与上次登记的变动后余额不一致",
        source="JR/T 0315-2024 data model, registration balances",
        asks=(On(MOVEMENTS, verdicts.balance_chain),),
    ),
    Rule(
        rule="register_mismatch",
        title="What the market counts as registered is not what its registrations add up to",
        title_zh="产品登记总量或持有人数与登记明细合计不一致",
        source="JR/T 0315-2024 data model, product; supervision check on roster against ledger",
        asks=(On(PRODUCTS, verdicts.register_mismatch),),
    ),
    Rule(
        rule="version_gap",
        title="Versions of a data object are missing, repeated or follow its deletion",
        title_zh="数据对象版本不连续",
        source="JR/T 0314-2024, life cycle of data objects",
        asks=(On(OBJECTS, verdicts.version_gap),),
    ),
    Rule(
        rule="reference_unresolved",
        title="A registration names an account or product that the chain has not reported, or an owner without a code",
        title_zh="登记引用的账户、产品或投资者代码无法解析",
        source="JR/T 0314-2024, references; JR/T 0326-2024, codes",
        asks=(On(PRODUCTS, verdicts.product_unreported), On(ACCOUNTS, verdicts.owner_unresolved)),
    ),
    Rule(
        rule="incomplete_registration",
        title="A registration of rights without account, product or balances",
        title_zh="权利登记缺少账户、产品或余额",
        source="JR/T 0315-2024 data model, registration",
        asks=(On(OBJECTS, verdicts.incomplete_registration),),
    ),
    Rule(
        rule="oversized_snapshot",
        title="A snapshot above 64 KiB was anchored by its hash alone",
        title_zh="快照超过64KiB，仅锚定其摘要",
        source="protocol rules 14 and 16",
        asks=(On(ANOMALIES, verdicts.oversized_snapshot),),
    ),
    Rule(
        rule="snapshot_root_inconsistent",
        title="A block without snapshots commits to some",
        title_zh="无快照的区块其快照根不为空",
        source="protocol rule 16",
        asks=(On(INCONSISTENT_BLOCKS, verdicts.snapshot_root_inconsistent),),
        governed=False,
    ),
    Rule(
        rule="region_misbehaved",
        title="The region's validators contradicted themselves; the region is frozen",
        title_zh="区域链出现冲突证书，已冻结",
        source="protocol rule 20",
        asks=(On(MISBEHAVIOURS, verdicts.region_misbehaved),),
        governed=False,
    ),
)


class Catalogue(dict[str, Rule]):
    """Rules by id, and by the table that they are asked about."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        super().__init__()
        self._over: dict[str, list[tuple[Rule, Judge]]] = {}
        self._take(rules)
        forget_with(self._forget_after)

    def add(self, rule: Rule) -> None:
        """Declare one more. Raises `InvariantBroken` for an id that is in use, or a version that is not supported."""
        check_supported(f"supervisory rule {rule.rule}", rule.since)
        if rule.rule in self:
            raise InvariantBroken(f"supervisory rule {rule.rule} is declared twice")
        self._take([rule])

    def _take(self, rules: Iterable[Rule]) -> None:
        for rule in rules:
            self[rule.rule] = rule
            for on in rule.asks:
                self._over.setdefault(on.table.name, []).append((rule, on.judge))

    def _forget_after(self, version: int) -> None:
        """The end of a rehearsal."""
        rest = [rule for rule in self.values() if rule.since <= version]
        self.clear()
        self._over.clear()
        self._take(rest)

    def over(self, table: Table[Any, Any]) -> Sequence[tuple[Rule, Judge]]:
        """The rules that are asked about a table's records, with the functions to ask."""
        return self._over.get(table.name, ())


RULES: Final = Catalogue(_RULES)
"""All rules."""


def parameters_of(settings: RuleSettings | None, rule: Rule, custody_height: int) -> Mapping[str, Any] | None:
    """A rule's parameters at a custody height, or None while it is not in force. The one place that knows.

    `settings` is what governance has set (`RULE_SETTINGS`).
    """
    given = rule.since == FIRST_VERSION
    if settings is None:
        return rule.parameters if given else None
    standing: Mapping[str, Any] | None = {} if given else None
    for setting in settings.rules.get(rule.rule, ()):
        if setting.from_height <= custody_height:
            standing = setting.parameters
    if standing is None:
        return None
    return {**rule.parameters, **standing} if standing else rule.parameters
