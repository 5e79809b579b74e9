"""What a check of a node's files reports: findings of the `catalogue`, and where in the database each is.

A finding is for an operator: the key says where (`schema`), the remedy is the command or the step that mends it. Every
kind of key of the database has a code of its own.

Left out: how it is found (`audit`, `file_audit`) and mended (`repair`).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from common.node.diagnosis.catalogue import CATALOGUE
from common.node.store import schema
from common.node.store.store_errors import DamagedStore

CODE_OF_PREFIX: Final[dict[bytes, str]] = {
    b"!": "tip_wrong",
    schema.HEADERS: "header_wrong",
    schema.CERTIFICATES: "certificate_wrong",
    schema.ENVELOPES: "transactions_wrong",
    schema.RECEIPTS: "receipts_wrong",
    schema.SNAPSHOTS: "snapshots_wrong",
    schema.CHANGES: "changes_wrong",
    schema.TRANSACTIONS: "place_wrong",
    schema.NONCES: "nonce_wrong",
    schema.OBJECTS: "revision_wrong",
    schema.VALIDATORS: "validators_wrong",
    schema.STATE: "state_wrong",
    schema.HISTORY: "history_wrong",
    schema.DELETED: "history_wrong",
    schema.INDEX: "index_wrong",
    schema.TREE: "tree_wrong",
    schema.PAST_TREE: "tree_wrong",
}
"""First byte of a key -> the code of what is wrong with such entries."""

MAX_FINDINGS_A_CODE: Final = 10
"""More of one kind tell nothing new; the rest is counted."""


@dataclass(frozen=True, slots=True)
class DataFinding:
    """One thing that is wrong; `key` is the database key, None if a whole file is concerned."""

    code: str
    what: str
    remedy: str
    key: bytes | None = None

    def document(self) -> dict[str, Any]:
        """As JSON; the key as hex, and readable beside it."""
        shown = {} if self.key is None else {"key": self.key.hex(), "key_text": repr(self.key)[2:-1]}
        return {"code": self.code, "what": self.what, "remedy": self.remedy} | shown


@dataclass(slots=True)
class DataReport:
    """What an audit found, and what it looked at."""

    height: int | None = None
    findings: list[DataFinding] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    """Findings a code, those left out of the list included."""
    checked: dict[str, int] = field(default_factory=dict)
    not_checked: list[str] = field(default_factory=list)
    """What could not be looked at, and why."""

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.counts

    def add(self, code: str, what: str, key: bytes | None = None, remedy: str | None = None) -> None:
        """Note a finding; `remedy` only for codes that are not in the catalogue."""
        self.counts[code] += 1
        if self.counts[code] <= MAX_FINDINGS_A_CODE:
            self.findings.append(DataFinding(code, what, remedy or CATALOGUE[code].remedy, key))

    def add_entry(self, what: str, key: bytes) -> None:
        """Note a finding about one database entry."""
        self.add(CODE_OF_PREFIX.get(key[:1], "entry_unknown"), what, key)

    def add_damage(self, error: DamagedStore, code: str | None = None) -> None:
        """Note what a check raised: under `code`, or the code of the entry that it names."""
        if code is None and error.key:
            self.add_entry(error.what, error.key)
        else:
            self.add(code or "database_unreadable", error.what, error.key)

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "sound": self.sound,
            "height": self.height,
            "findings": [finding.document() for finding in self.findings],
            "counts": dict(sorted(self.counts.items())),
            "checked": self.checked,
            "not_checked": self.not_checked,
        }
