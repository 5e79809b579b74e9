"""The snapshots of a block: bytes of at most 64 KiB each, committed in business order by a Merkle root.

Invariant: the header commits `snapshot_root` and the number of snapshots beside it.
Left out: what a snapshot says (`common.model`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from common.core import merkle
from common.core.suite import Suite

MAX_SNAPSHOT_BYTES: Final = 65536
"""Most bytes of one snapshot (protocol rule 14)."""


def snapshot_root(suite: Suite, snapshots: Sequence[bytes]) -> bytes:
    """Merkle root over the snapshot bytes in block order."""
    return merkle.root(suite.hash, snapshots)
