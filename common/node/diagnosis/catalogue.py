"""What can be wrong, and what to do about it: the one list of findings.

`/readyz`, `/v1/networks/{network}/health`, `tongjian doctor`, the checks before a change and `tongjian node check`
speak of findings from this list alone. A finding is a `fault` (something does not do its work, or would not after the
change) or a `warning` (it will not for long, or with less safety than planned). Codes are part of the public contract;
docs/operators.md has the list as tables (`tools/make-finding-table`).

Left out: the rules that lead to findings (`self_judgement`, `comparison`, `change_rules`, `certificate_forecast`,
`data_findings`), and collecting the facts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from common.node.store.store_errors import REMEDY_RESYNC

Severity = Literal["fault", "warning"]

RENEW_BEFORE_DAYS: Final = 30
"""A TLS certificate with fewer days left is a finding, and is said at each start."""
LEAST_LEAD_BLOCKS: Final = 10
"""Blocks that a change should lie ahead: its transaction has to be signed and committed before."""
REPAIR: Final = "stop the node and run `tongjian node repair`: it rebuilds the database and keeps the old one beside it"
KEEP_KEY_SILENT: Final = (
    "`tongjian node repair` moves the file aside and keeps the validator silent until nothing that it may have "
    "forgotten can matter; or restore vote log and database from one moment"
)


@dataclass(frozen=True, slots=True)
class Ailment:
    """A kind of finding."""

    severity: Severity
    meaning: str
    remedy: str


OF_NETWORKS: Final[dict[str, Ailment]] = {
    "no_quorum": Ailment(
        "fault",
        "too few validators of a chain are reachable; the missing ones are named",
        "start the missing validators, or their links; nothing final is lost while they are away",
    ),
    "view_churn": Ailment(
        "warning",
        "leaders fail one after the other: half of the last blocks needed another view (a fault from view 3 on)",
        "look at who is missing or slow in the table of peers: links, clocks, disks, load of the validators",
    ),
    "stalled": Ailment(
        "fault",
        "no block for three heartbeats and two view timeouts, although a quorum is connected",
        "look at view_churn, clock_skew and disk_slow of every validator, then at their logs",
    ),
    "node_down": Ailment("fault", "the process does not run", "see its log; start it again"),
    "node_unreachable": Ailment("fault", "the process is there, but does not answer", "see its log; start it again"),
    "not_ready": Ailment(
        "warning",
        "it answers, but neither commits nor has proof that it is level with a quorum",
        "see whether its chain has a quorum, then its log; do not send it submissions meanwhile",
    ),
    "node_behind": Ailment(
        "warning",
        "more than 50 blocks behind its chain",
        "it catches up by itself; if its height stands still, see its log",
    ),
    "not_voting": Ailment(
        "fault",
        "a validator signs nothing although a quorum is connected: its vote log or database was lost, replaced or set "
        "back",
        "its log says which (`this node does not vote`, or the warning `abstaining`); abstaining ends by itself above "
        "a height, unless so many abstain that no block comes (docs/operators.md, Backup); otherwise stop it and run "
        "`tongjian node repair`, or give the validator a new key by `validators.change` and never use the old one "
        "again",
    ),
    "duplicate_key": Ailment(
        "fault",
        "two nodes of a chain run with one validator's key",
        "stop all but the one that the key belongs to; the others need key files of their own",
    ),
    "identity_mismatch": Ailment(
        "fault",
        "a node has another key than the validator of its name",
        "give it the validator's own key file, or have its new key put into the set by `validators.change`; if it is "
        "not your node that answers there, correct the address",
    ),
    "peers_missing": Ailment(
        "warning",
        "fewer connections than validators; the missing ones are named",
        "check the addresses, certificates and firewalls between them",
    ),
    "clock_skew": Ailment(
        "fault",
        "a clock is more than 5 s away from the others",
        "synchronise clocks (NTP); proposals more than 15 s ahead are refused",
    ),
    "disk_low": Ailment(
        "warning",
        "less space is free in the data directory than `limits.low_space_mib` (a fault when there is none)",
        "make room; a node stops by itself rather than lose a vote",
    ),
    "disk_slow": Ailment(
        "warning",
        "making votes durable takes more than 50 ms on average",
        "a disk with faster syncs, or less beside the node on it",
    ),
    "data_damaged": Ailment(
        "fault",
        "stored data that was asked for failed its checks; it was not served",
        REMEDY_RESYNC,
    ),
    "certificate_expiring": Ailment(
        "warning",
        f"a TLS certificate has fewer than {RENEW_BEFORE_DAYS} days left",
        "`tongjian cert rotate`",
    ),
    "certificate_expired": Ailment("fault", "a TLS certificate has expired", "`tongjian cert rotate`"),
    "validator_accused": Ailment(
        "fault",
        "a validator of the present set is proven to have signed against the protocol",
        "read `GET /v1/networks/{network}/evidence`; replace the validator by `validators.change`; ask its "
        "organisation who else has its key",
    ),
    "organisation_concentrated": Ailment(
        "warning",
        "one organisation has more validators than may fail: it alone can stop the chain",
        "spread the seats over organisations by `validators.change`",
    ),
    "version_mismatch": Ailment(
        "warning", "nodes of a chain run different versions", "finish the upgrade, one node after the other"
    ),
    "relay_down": Ailment("fault", "a relay does not answer", "start it; it keeps no state"),
    "relay_error": Ailment(
        "warning", "what a relay met when it last tried", "it tries again by itself; the detail names the node or rule"
    ),
    "relay_behind": Ailment(
        "warning",
        "a region's chain is more than 50 blocks ahead of what the custody chain has anchored",
        "see the relay's last error and log; another relay may be started at any time",
    ),
    "region_lagging": Ailment(
        "warning",
        "the custody chain has no recent block of a region, or only part of one",
        "see the relay's last error and its nodes of that region",
    ),
    "region_silent": Ailment(
        "fault",
        "the custody chain has had no block of a region for long, not even a heartbeat",
        "see the region's validators, then the relay",
    ),
    "region_expired": Ailment(
        "fault",
        "a region's trusted header is older than the trusting period",
        "governance gives it a new root: `region.recover`",
    ),
    "region_frozen": Ailment(
        "fault",
        "conflicting certificates of a region are on the custody chain",
        "read `GET /v1/networks/{region}/evidence` of a custody node; governance decides: `region.recover`",
    ),
    "not_observed": Ailment("warning", "something could not be seen from here", "check access and try again"),
}
"""What nodes, the doctor and `/readyz` find wrong with a running network."""

OF_CHANGES: Final[dict[str, Ailment]] = {
    "quorum_lost": Ailment(
        "fault",
        "members that are level and vote now, and newcomers that are level, are no quorum of the next set",
        "the chain would stop at the change: bring members back, or let newcomers catch up, first",
    ),
    "newcomers_needed": Ailment(
        "warning",
        "only with newcomers are they a quorum of the next set: these must vote at once",
        "exchange fewer at once, or be at hand",
    ),
    "member_not_live": Ailment("warning", "members that stay are not level, or do not vote", "bring them back first"),
    "newcomer_not_level": Ailment(
        "warning",
        "a newcomer does not run level with the chain",
        "start it with its new key; as an observer it catches up",
    ),
    "member_not_asked": Ailment(
        "warning",
        "no node was named for a member, so nothing is known of it (a fault if the quorum hangs on it)",
        "name it too: --url, beside --network if network.json does not list it",
    ),
    "tolerance_lost": Ailment(
        "warning",
        "the next set tolerates fewer faulty or fewer absent members than the present one, or is one member alone",
        "add members before others leave: four tolerate one failure, seven two",
    ),
    "change_pending": Ailment(
        "fault", "another change of the set waits", "let it take effect, or name its height in `replaces`"
    ),
    "effective_height_out_of_range": Ailment(
        "fault",
        "the change would take effect too soon to be signed and committed before",
        f"leave at least {LEAST_LEAD_BLOCKS} blocks for signing and committing it",
    ),
    "quorum_lost_without": Ailment(
        "fault",
        "those that are level and vote would be no quorum without the node that is to be restarted",
        "bring the others back first: they must be level and vote",
    ),
    "node_not_answering": Ailment("fault", "a node does not answer", "start it, or see why it does not answer"),
    "protocol_version_unsupported": Ailment(
        "fault",
        "a node does not support the active, the scheduled or the named protocol version",
        "upgrade it before the version becomes active",
    ),
    "certificates_endanger_quorum": Ailment(
        "fault",
        "too few validators of a chain keep a valid certificate for the time asked about",
        "rotate them one by one, guarded by: tongjian upgrade check",
    ),
}
"""What the checks before a change of members, a restart or an upgrade find besides. What a running network may suffer
from they name by the codes of `OF_NETWORKS`; what validators would refuse, by the code of that refusal.
"""

OF_DATA: Final[dict[str, Ailment]] = {
    "database_missing": Ailment(
        "fault", "there is no database in the data directory", "start the node: it catches up from its peers"
    ),
    "database_unreadable": Ailment("fault", "LevelDB cannot open or read a file of the database", REPAIR),
    "database_wrong": Ailment(
        "fault", "the database is another chain's, or another version's", "set data_dir and genesis_file aright"
    ),
    "entry_unknown": Ailment("fault", "an entry belongs to no kind that this version writes", REPAIR),
    "tip_wrong": Ailment("fault", "the record of version, genesis or tip contradicts the chain", REPAIR),
    "header_wrong": Ailment("fault", "a header is missing, or does not follow the one before it", REPAIR),
    "certificate_wrong": Ailment(
        "fault", "a certificate is missing, or its signatures do not decide its block", REPAIR
    ),
    "validators_wrong": Ailment("fault", "a validator set is not the one that the headers commit to", REPAIR),
    "transactions_wrong": Ailment("fault", "the transactions of a block are not those of its header", REPAIR),
    "receipts_wrong": Ailment("fault", "the receipts of a block are not those of its header", REPAIR),
    "snapshots_wrong": Ailment("fault", "the snapshots of a block are not those of its header", REPAIR),
    "changes_wrong": Ailment("fault", "the changes noted of a block are not those of its header", REPAIR),
    "place_wrong": Ailment("fault", "the index does not lead from a transaction to its place", REPAIR),
    "nonce_wrong": Ailment("fault", "the used nonces are not those of the blocks", REPAIR),
    "revision_wrong": Ailment("fault", "the index does not lead from a data object to its snapshots", REPAIR),
    "state_wrong": Ailment("fault", "the state is not the one that the headers commit to", REPAIR),
    "history_wrong": Ailment("fault", "past values of the state are not those that the blocks made", REPAIR),
    "index_wrong": Ailment("fault", "a business index is not the one that the blocks make", REPAIR),
    "tree_wrong": Ailment("fault", "a node of the state tree is not the one that the state makes", REPAIR),
    "execution_differs": Ailment(
        "fault",
        "a certified block does not execute to what its header says: this program is not the one that the chain runs, "
        "or has a fault",
        "run the version that the other validators run; keep everything, and report it",
    ),
    "vote_log_missing": Ailment("fault", "the vote log that the database knows of is gone", KEEP_KEY_SILENT),
    "vote_log_damaged": Ailment("fault", "the vote log fails its checksums", KEEP_KEY_SILENT),
    "vote_log_set_back": Ailment("fault", "vote log and database are not of one moment", KEEP_KEY_SILENT),
}
"""What a check of a stopped node's files finds wrong with them."""

CATALOGUE: Final[dict[str, Ailment]] = OF_NETWORKS | OF_CHANGES | OF_DATA
"""Code -> kind of finding."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is wrong: `code` is stable, `about` names the chain, node or region."""

    code: str
    severity: Severity
    about: str
    detail: str
    remedy: str


def finding(code: str, about: str, detail: str = "", *, severity: Severity | None = None) -> Finding:
    """A finding of the catalogue; without a detail its meaning stands there."""
    kind = CATALOGUE[code]
    return Finding(
        code=code,
        severity=severity or kind.severity,
        about=about,
        detail=detail or kind.meaning,
        remedy=kind.remedy,
    )


def faults_first(found: Iterable[Finding]) -> list[Finding]:
    """In the order in which findings are shown."""
    return sorted(found, key=lambda item: (item.severity != "fault", item.about, item.code))
