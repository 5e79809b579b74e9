"""What governance has set of the supervisory rules."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from custody_chain.tables.table import Only, Table


class RuleSetting(msgspec.Struct, frozen=True):
    """From a custody height on, a rule has these parameters; null: it is not in force."""

    from_height: int
    parameters: dict[str, Any] | None


class RuleSettings(msgspec.Struct, frozen=True):
    """The settings of each rule, by ascending height. A rule that is not named here is as the chain began."""

    rules: dict[str, tuple[RuleSetting, ...]] = {}


RULE_SETTINGS: Final = Table("rules", Only, RuleSettings)
