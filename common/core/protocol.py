"""Protocol versions: which sets of rules this software knows, and from which version each later rule holds.

A header names the version that its block obeys. A chain starts with the version of its genesis and goes on to the
next one at a height that governance sets (`protocol.activate`), so that nodes are upgraded one by one first.

  version 1   the rules of docs/protocol*.md
  version 2   a `validators.change` that names the set which signs already is refused (`validators_unchanged`) unless
              it withdraws a scheduled change; version 1 schedules it, to no effect

Invariants: a version's rules never change once a chain may have activated it; a rule that differs is gated by the
constants below, on the version of the block that executes it.
Reference: protocol rule 8, attack C19, ADR 0050. Left out: when one becomes active (`common.chain.schedule`).
"""

from __future__ import annotations

from typing import Final

SUPPORTED_VERSIONS: Final = (1, 2)
"""Versions that this software executes, verifies and votes on."""
LATEST_VERSION: Final = SUPPORTED_VERSIONS[-1]
UNCHANGED_SET_REFUSED_FROM: Final = 2
