"""Names of the custody chain's own operations; those that both tiers have are in `common.chain.governance`."""

from __future__ import annotations

from typing import Final

REGION_REGISTER: Final = "region.register"
REGION_RECOVER: Final = "region.recover"
RULES_SET: Final = "rules.set"
