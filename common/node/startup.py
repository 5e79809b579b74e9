"""What is opened and checked before a node takes part: database, vote log, key, certificates.

Invariants:
  U1  Nothing is served or signed from data that fails its checks (attack S2).
  U2  A node whose vote log and database do not belong together may catch up and serve, but does not vote (attack C16);
      if only the database was set back, it votes again above what the vote log knows.
  U3  What an operator should mend, but what stops nothing (a certificate that expires), is one warning each.
  U4  A node does not start with the key of a validator of another name in the current or the next set: two processes
      with one key fight over its channels and may sign against each other.

Leaves out: sockets and tasks (`main`).
"""

from __future__ import annotations

import logging
import os
import resource
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.chain.application import Application
from common.chain.index_families import families_of
from common.core.errors import Conflict, InvariantBroken, Malformed, Rejected, Unavailable
from common.core.genesis import Genesis
from common.node.diagnosis.catalogue import RENEW_BEFORE_DAYS
from common.node.keys import KeyPair, load_key_file
from common.node.logic.execution.genesis_state import initialise_chain
from common.node.logic.node_events import PeerKey
from common.node.peer.certificates import check_authorities, check_issued, read_certificates
from common.node.settings import NodeSettings
from common.node.store.chain_prune import keep_past_trees
from common.node.store.chain_store import ChainStore
from common.node.store.exclusive import exclusive
from common.node.store.index_layouts import rebuild_indexes
from common.node.store.log_directory import LogDirectory
from common.node.store.migration import migrate
from common.node.store.storage import KeyValueStore, LevelDBStore
from common.node.store.store_errors import VotingUnsafe
from common.node.store.vote_log import VoteLog

DATABASE_DIRECTORY = "chain"
VOTES_DIRECTORY = "votes"
SPARE_DESCRIPTORS = 256
"""Descriptors for the database, peers and the log, besides those of HTTPS connections."""

_log = logging.getLogger("tongjian.node")


class NoVotes:
    """Stands for a vote log that must not be used: the node does not vote (U2)."""

    recovered: tuple[bytes, ...] = ()

    def append(self, records: Sequence[bytes]) -> None:
        """Refuse. Raises InvariantBroken: a node that may not vote has nothing to write here."""
        if records:
            raise InvariantBroken("this node may not vote, but asked to record a vote")

    def sync(self) -> None:
        """Nothing to do."""

    def compact(self, tip_height: int, tip_id: bytes) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A node's durable data, checked."""

    store: KeyValueStore
    chain: ChainStore
    votes: VoteLog | NoVotes
    may_vote: bool
    abstain_through_height: int

    def close(self) -> None:
        """Release files; the process may open them again afterwards."""
        self.votes.close()
        self.store.close()


def open_data(data_dir: Path, genesis: Genesis, application: Application, *, past_proofs: bool | None = None) -> Opened:
    """Open and check what a node keeps, brought to the present layout first; write height 0 into a new database.

    `past_proofs`: whether state trees of the past are kept (`StorageSettings`).
    Raises StoreFailed, WrongDatabase or DamagedStore (U1), Unavailable('data_dir_unusable'), or Rejected for a genesis
    document that the application refuses.
    """
    try:
        with exclusive(data_dir):
            store = LevelDBStore(data_dir / DATABASE_DIRECTORY)
    except OSError as error:
        raise Unavailable(
            "data_dir_unusable",
            f"data_dir {data_dir} cannot be used: {error.strerror}; it must be a directory that this user may write, "
            "or not exist yet",
        ) from error
    try:
        migrate(store, _tell)
        chain = ChainStore(store, genesis)
        if chain.initialised and rebuild_indexes(chain, families_of(application), _tell):
            chain = ChainStore(store, genesis)
        initialise_chain(chain, genesis, application)
        keep_past_trees(chain, genesis.tier == "custody" if past_proofs is None else past_proofs, _tell_removed)
        return open_votes(data_dir / VOTES_DIRECTORY, store, chain)
    except (InvariantBroken, Rejected):
        store.close()
        raise


def _tell(what: str, entries: int) -> None:
    _log.info("bringing the database up to date", extra={"what": what, "entries": entries})


def _tell_removed(entries: int) -> None:
    _log.info("removing the state trees of the past, which are not to be kept", extra={"entries_removed": entries})


def open_votes(
    place: Path | LogDirectory,
    store: KeyValueStore,
    chain: ChainStore,
    *,
    draw_log_id: Callable[[int], bytes] = os.urandom,
) -> Opened:
    """Open the vote log and judge whether it and the database let this node vote (U2).

    Raises StoreFailed or DamagedStore (U1); then nothing is left open but `store`.
    """
    try:
        votes = VoteLog.open(place, chain.genesis.id, chain.vote_log_mark(), draw_log_id=draw_log_id)
    except VotingUnsafe as unsafe:
        _warn_unsafe(unsafe)
        chain.check_consistency()
        return Opened(store, chain, NoVotes(), may_vote=False, abstain_through_height=0)
    if votes.torn_bytes:
        _log.warning("the vote log ended in an unfinished write, which was cut", extra={"bytes": votes.torn_bytes})
    try:
        chain.check_consistency(votes)
    except VotingUnsafe as unsafe:
        _warn_unsafe(unsafe)
        if unsafe.safe_above_height is not None:
            abstain = max(unsafe.safe_above_height, votes.silent_through)
            return Opened(store, chain, votes, may_vote=True, abstain_through_height=abstain)
        votes.close()
        return Opened(store, chain, NoVotes(), may_vote=False, abstain_through_height=0)
    except InvariantBroken:
        votes.close()
        raise
    if votes.silent_through > chain.tip().height:
        _log.warning(
            "this node keeps silent for a while: its vote log was replaced by a repair",
            extra={"through_height": votes.silent_through},
        )
    return Opened(store, chain, votes, may_vote=True, abstain_through_height=votes.silent_through)


def _warn_unsafe(unsafe: VotingUnsafe) -> None:
    _log.error("this node does not vote", extra={"why": unsafe.what, "remedy": unsafe.remedy})


def members(chain: ChainStore) -> dict[str, PeerKey]:
    """Names and keys of the sets that sign the last and the next height (protocol rule 7)."""
    height = chain.tip().height
    sets = (chain.validators(height), chain.validators(height + 1))
    return {member.name: member.public_key for group in sets for member in group.members}


def load_identity(settings: NodeSettings, chain: ChainStore) -> KeyPair:
    """The validator key.

    Raises Conflict('key_of_another_validator') (U4), or Rejected for a key file that cannot be used. A name whose key
    in the set is another one is a warning only: whoever comes back with a new key must catch up with the change first,
    and until then is an observer.
    """
    pair = load_key_file(settings.key_file, settings.passphrase_file, chain.genesis.suite)
    height = chain.tip().height
    known = [member for at in (height, height + 1) for member in chain.validators(at).members]
    owners = {member.name for member in known if member.public_key == pair.public_key}
    if owners and settings.name not in owners:
        raise Conflict(
            "key_of_another_validator",
            f"{settings.key_file} holds the key of the validator {' or '.join(sorted(owners))}, but this node's name "
            f"is {settings.name}: give it its own key file (two nodes with one key take each other's channels and "
            "could sign against each other), or its validator's name",
        )
    if not owners and settings.name in {member.name for member in known}:
        _log.warning(
            "the validator of this name has another key: this node is an observer until the set names its key",
            extra={"validator": settings.name, "key": pair.text},
        )
    elif not owners:
        _log.warning("the key is in no current validator set: this node is an observer", extra={"key": pair.text})
    return pair


def check_certificates(settings: NodeSettings, now_ms: int) -> None:
    """Warn of certificates that have expired or soon will. Raises Malformed if a file holds none, or a damaged one."""
    files = {settings.api.certificate_file, settings.peer.certificate_file, settings.peer.ca_file}
    for path in sorted(files):
        for certificate in read_certificates(path):
            days = certificate.days_left(now_ms)
            if days < RENEW_BEFORE_DAYS or certificate.not_before_ms > now_ms:
                _log.warning(
                    "a certificate is not valid, or not for long: renew it with `tongjian cert rotate`",
                    extra={"file": str(path), "subject": certificate.subject, "days_left": days},
                )
    check_authorities(settings.peer.ca_file)
    for path in sorted({settings.api.certificate_file, settings.peer.certificate_file}):
        check_issued(path, settings.peer.ca_file)


def raise_descriptor_limit(connections: int) -> None:
    """Let the process open as many sockets as its settings promise. Raises Malformed if the system forbids it."""
    wanted = connections + SPARE_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= wanted or soft == resource.RLIM_INFINITY:
        return
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise Malformed(
            "descriptor_limit",
            f"limits.http_connections = {connections} needs {wanted} file descriptors, the system allows {hard}: "
            "lower the setting, or raise the limit (ulimit -n)",
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
