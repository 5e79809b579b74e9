"""Settlements (资金结算).

No operation of ours makes one, and custody counts and versions those of other chains without interpreting them: there
is neither builder nor reader yet, and the schema beside this module judges them.
"""

from __future__ import annotations

from typing import Final

SETTLEMENT: Final = "settlement"
