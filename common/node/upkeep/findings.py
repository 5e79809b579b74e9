"""What can be wrong with a node's files, as stable codes: where, what it means, what to do.

A finding is for an operator: the code is stable, the key says where in the database (`schema`), the remedy is the
command or the step that mends it. Every kind of key of the database has a code of its own.

Left out: how it is found (`audit`, `file_audit`) and mended (`repair`).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from common.node.store import schema
from common.node.store.store_errors import DamagedStore

REPAIR: Final = "stop the node and run `tongjian node repair`: it rebuilds the database and keeps the old one beside it"
KEEP_KEY_SILENT: Final = (
    "`tongjian node repair` moves the file aside and keeps the validator silent until nothing that it may have "
    "forgotten can matter; or restore vote log and database from one moment"
)

CODES: Final[dict[str, tuple[str, str]]] = {
    "database_missing": ("there is no database in the data directory", "start the node: it catches up from its peers"),
    "database_unreadable": ("LevelDB cannot open or read a file of the database", REPAIR),
    "database_wrong": ("the database is another chain's, or another version's", "set data_dir and genesis_file aright"),
    "entry_unknown": ("an entry belongs to no kind that this version writes", REPAIR),
    "tip_wrong": ("the record of version, genesis or tip contradicts the chain", REPAIR),
    "header_wrong": ("a header is missing, or does not follow the one before it", REPAIR),
    "certificate_wrong": ("a certificate is missing, or its signatures do not decide its block", REPAIR),
    "validators_wrong": ("a validator set is not the one that the headers commit to", REPAIR),
    "transactions_wrong": ("the transactions of a block are not those of its header", REPAIR),
    "receipts_wrong": ("the receipts of a block are not those of its header", REPAIR),
    "snapshots_wrong": ("the snapshots of a block are not those of its header", REPAIR),
    "place_wrong": ("the index does not lead from a transaction to its place", REPAIR),
    "nonce_wrong": ("the used nonces are not those of the blocks", REPAIR),
    "revision_wrong": ("the index does not lead from a data object to its snapshots", REPAIR),
    "state_wrong": ("the state is not the one that the headers commit to", REPAIR),
    "history_wrong": ("past values of the state are not those that the blocks made", REPAIR),
    "index_wrong": ("a business index is not the one that the blocks make", REPAIR),
    "tree_wrong": ("a node of the state tree is not the one that the state makes", REPAIR),
    "execution_differs": (
        "a certified block does not execute to what its header says: this program is not the one that the chain runs, "
        "or has a fault",
        "run the version that the other validators run; keep everything, and report it",
    ),
    "vote_log_missing": ("the vote log that the database knows of is gone", KEEP_KEY_SILENT),
    "vote_log_damaged": ("the vote log fails its checksums", KEEP_KEY_SILENT),
    "vote_log_set_back": ("vote log and database are not of one moment", KEEP_KEY_SILENT),
}
"""Code -> (meaning, remedy)."""

CODE_OF_PREFIX: Final[dict[bytes, str]] = {
    b"!": "tip_wrong",
    schema.HEADERS: "header_wrong",
    schema.CERTIFICATES: "certificate_wrong",
    schema.ENVELOPES: "transactions_wrong",
    schema.RECEIPTS: "receipts_wrong",
    schema.SNAPSHOTS: "snapshots_wrong",
    schema.TRANSACTIONS: "place_wrong",
    schema.NONCES: "nonce_wrong",
    schema.OBJECTS: "revision_wrong",
    schema.VALIDATORS: "validators_wrong",
    schema.STATE: "state_wrong",
    schema.HISTORY: "history_wrong",
    schema.DELETED: "history_wrong",
    schema.INDEX: "index_wrong",
    schema.TREE: "tree_wrong",
}
"""First byte of a key -> the code of what is wrong with such entries."""

MAX_FINDINGS_A_CODE: Final = 10
"""More of one kind tell nothing new; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Finding:
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
class Report:
    """What an audit found, and what it looked at."""

    height: int | None = None
    findings: list[Finding] = field(default_factory=list)
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
        """Note a finding; `remedy` only for codes that are not in `CODES`."""
        self.counts[code] += 1
        if self.counts[code] <= MAX_FINDINGS_A_CODE:
            self.findings.append(Finding(code, what, remedy or CODES[code][1], key))

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
