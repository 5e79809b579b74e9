"""The files beside the database, for `tongjian node check`: vote log, key, tokens, certificates.

Nothing is changed: the vote log is read as a start would read it, but a torn end is not cut.

Left out: the settings file itself (who reads it has checked it), the database (`audit`).
"""

from __future__ import annotations

from pathlib import Path

from common.core.errors import Rejected
from common.core.genesis import Genesis
from common.node.access import TokenStore
from common.node.diagnosis.data_findings import DataReport
from common.node.keys import load_key_file
from common.node.peer.certificates import check_authorities, check_issued
from common.node.peer.tls import ApiTls, PeerTls
from common.node.settings import NodeSettings
from common.node.startup import VOTES_DIRECTORY
from common.node.store import schema
from common.node.store.chain_reader import ChainReader
from common.node.store.log_directory import FILE_NAME
from common.node.store.store_errors import DamagedStore, VotingUnsafe
from common.node.store.vote_frames import LogMark, Scan, read_file

REMEDY_FILE = "see the finding; no database needs to be touched"


def check_files(settings: NodeSettings, genesis: Genesis, report: DataReport) -> None:
    """Key, tokens and certificates as a start would read them; each refusal's code and sentence is a finding."""
    checks = (
        lambda: load_key_file(settings.key_file, settings.passphrase_file, genesis.suite),
        lambda: TokenStore(settings.api.tokens_file),
        lambda: ApiTls(settings.api.certificate_file, settings.api.private_key_file),
        lambda: check_authorities(settings.peer.ca_file),
        lambda: check_issued(settings.peer.certificate_file, settings.peer.ca_file),
        lambda: PeerTls(settings.peer.certificate_file, settings.peer.private_key_file, settings.peer.ca_file),
    )
    for check in checks:
        try:
            check()
        except Rejected as refusal:
            report.add(refusal.code, refusal.detail, remedy=REMEDY_FILE)
    report.checked["files"] = len(checks)


def read_vote_log(data_dir: Path) -> bytes | None:
    """The vote log's bytes, or None if there is none. Raises OSError."""
    path = data_dir / VOTES_DIRECTORY / FILE_NAME
    return path.read_bytes() if path.exists() else None


def check_vote_log(data: bytes | None, reader: ChainReader, report: DataReport) -> Scan | None:
    """The vote log against the database (invariants L3, L4 of `vote_log`); what it holds, or None if it is unusable."""
    try:
        mark = reader.view.get(schema.VOTE_LOG)
        if data is None:
            if mark is not None or reader.tip().height > 0:
                report.add("vote_log_missing", "there is no vote log")
            return None
        scan = read_file(data, reader.genesis.id, None if mark is None else LogMark.decode(mark))
        known = reader.block_id(scan.tip[0]) if scan.tip[0] <= reader.tip().height else None
    except VotingUnsafe as error:
        report.add("vote_log_set_back", error.what)
        return None
    except DamagedStore as error:
        report.add_damage(error, "vote_log_damaged" if error.key is None else None)
        return None
    report.checked["vote_log_bytes"] = scan.position
    if known is None:
        what = f"the vote log knows block {scan.tip[0]}, the database ends at {reader.tip().height}"
        report.add("vote_log_set_back", what, remedy=REMEDY_CATCH_UP)
    elif known != scan.tip[1]:
        report.add("vote_log_set_back", f"vote log and database hold different blocks at height {scan.tip[0]}")
        return None
    return scan


REMEDY_CATCH_UP = "start the node: it catches up from its peers, and votes again above that height"
