"""A chain's state in plain dicts, for tests of what reads and changes it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from common.chain.application import OverlayView

Entries = dict[bytes, bytes]


def _scanned(entries: Entries, prefix: bytes, limit: int, start_after: bytes | None) -> list[tuple[bytes, bytes]]:
    after = start_after or b""
    return sorted(item for item in entries.items() if item[0].startswith(prefix) and item[0] > after)[:limit]


@dataclass
class DictState:
    """A `StateReader` over two dicts: authenticated values, and the index."""

    values: Entries = field(default_factory=dict)
    index: Entries = field(default_factory=dict)

    def get(self, key: bytes) -> bytes | None:
        return self.values.get(key)

    def get_index(self, key: bytes) -> bytes | None:
        return self.index.get(key)

    def scan(self, prefix: bytes, limit: int, start_after: bytes | None = None) -> list[tuple[bytes, bytes]]:
        return _scanned(self.values, prefix, limit, start_after)

    def scan_index(self, prefix: bytes, limit: int, start_after: bytes | None = None) -> list[tuple[bytes, bytes]]:
        return _scanned(self.index, prefix, limit, start_after)

    def commit(self, view: OverlayView) -> None:
        """Make an overlay's changes permanent."""
        for target, changes in ((self.values, view.state_changes), (self.index, view.index_changes)):
            for key, value in changes.items():
                if value is None:
                    target.pop(key, None)
                else:
                    target[key] = value

    def root(self) -> str:
        """A hash over all authenticated values."""
        digest = hashlib.sha256()
        for item in sorted(self.values.items()):
            digest.update(repr(item).encode())
        return digest.hexdigest()
