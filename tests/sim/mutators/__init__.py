"""What a Byzantine validator or relay can say instead of the truth: one named mutator for each kind of lie.

`catalogue` holds the register and the workshop in which lies are made; the other modules hold the mutators, by the
message that they change; `liar` chooses among them.
"""

from __future__ import annotations

from tests.sim.mutators import certificates, packets, proposals, sync, views, votes
from tests.sim.mutators.catalogue import EXERCISED, MUTATORS

__all__ = ["EXERCISED", "MUTATORS", "certificates", "packets", "proposals", "sync", "views", "votes"]
