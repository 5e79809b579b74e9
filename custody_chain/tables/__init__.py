"""THE tables of the custody chain: every family of keys, and the record under it.

One module a family of records; nobody else builds a key or decodes a record. `docs/protocol-state.md` lists them for
those who read proofs. Left out: who may sign, govern and approve, which both tiers keep alike (`common.chain`).
"""

from __future__ import annotations

from typing import Any, Final

from custody_chain.tables import (
    alerts,
    deliveries,
    encumbrances,
    movements,
    objects,
    positions,
    regions,
    registry,
    rules,
    work,
)
from custody_chain.tables.table import Table

TABLES: Final[tuple[Table[Any, Any], ...]] = tuple(
    value
    for module in (alerts, deliveries, encumbrances, movements, objects, positions, regions, registry, rules, work)
    for value in vars(module).values()
    if isinstance(value, Table)
)
"""All of them. Names are unique over state and index."""
