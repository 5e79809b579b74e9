"""What a block changed in the authenticated state: the leaves and the root that its header commits.

Who follows a chain takes the changes of each block, checks them against `change_root` and `change_count`, applies them
to the state it has, and arrives at `state_root`: nothing can be withheld, altered or added (architecture decision 26).

Invariants:
  * A change is a key whose value after the block differs from that before it, absence included. A key that was written
    and holds what it held is no change; a key counts once, however often it was written.
  * Leaves stand in ascending order of the keys' bytes: a set of changes has one root.

  leaf    u8 1 | b32 value hash | key      the value is set; value hash as in the state tree (`state_proof.py`)
          u8 0 | key                       the value is removed
  root    RFC 6962 (`merkle.py`) over the leaves

Left out: the changes themselves on disk and in answers (`common/node/store`, `common/node/http`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from common.core import merkle
from common.core.suite import Suite

_SET: Final = b"\1"
_REMOVED: Final = b"\0"


def change_leaf(key: bytes, value_digest: bytes | None) -> bytes:
    """The leaf of one change; `value_digest` is `state_proof.value_hash` of the new value, None if it is removed."""
    return _REMOVED + key if value_digest is None else _SET + value_digest + key


def change_root(suite: Suite, changes: Mapping[bytes, bytes | None]) -> bytes:
    """The root over a block's changes, given as key -> value hash, or None for a key that is removed."""
    return merkle.root(suite.hash, [change_leaf(key, changes[key]) for key in sorted(changes)])
