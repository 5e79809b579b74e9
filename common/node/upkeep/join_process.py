"""Joining as a process: sockets, timers and files around `join`, then the proof, then the store in its place.

    data_dir/joining   the store that is being filled; a join that was interrupted goes on with it
    data_dir/chain     the store of a node; the finished one is renamed to it

Invariants
  P1  Nothing is done to a data directory that holds a chain.
  P2  `chain` appears in one rename, after everything in it was proven, synced, and opened once as a start would.
  P3  A join that makes no progress for `patience_s` ends with the reason; it may be started again.

Left out: who is believed (`join`), running the node afterwards (command line).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import uvloop

from common.core.errors import Conflict, InvariantBroken, Rejected, RuleBroken, Unavailable
from common.core.genesis import Genesis
from common.node.effect_performer import EffectPerformer, EffectPorts
from common.node.genesis_file import read_genesis
from common.node.keys import KeyPair, load_key_file
from common.node.logic.node_effects import CancelTimer, Disconnect, SendToPeer, SetTimer
from common.node.logic.node_events import PeerKey
from common.node.logic.node_outbox import NodeOutbox
from common.node.logic.wire.peer_messages import Hello
from common.node.peer.hello import ChannelIdentity
from common.node.peer.tls import PeerTls
from common.node.peer.transport import PeerTransport
from common.node.settings import NodeSettings
from common.node.startup import DATABASE_DIRECTORY
from common.node.store import disk
from common.node.store.chain_store import ChainStore
from common.node.store.exclusive import exclusive
from common.node.store.storage import LevelDBStore, settle
from common.node.upkeep.checkpoint_import import CheckpointImport, Progress
from common.node.upkeep.join import Join, JoinPhase
from common.node.upkeep.join_headers import HeaderChain, TrustedBlock

JOINING_DIRECTORY = "joining"
SCRATCH_DIRECTORY = "joining-scratch"
PATIENCE_S = 120.0
"""Longest time without any progress: eight answers that did not come."""

Say = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Joined:
    """What a finished join gave."""

    height: int
    chunks: int
    size_bytes: int
    took_s: float


def join_node(
    settings: NodeSettings,
    say: Say,
    *,
    trusted: TrustedBlock | None = None,
    may_have_voted: bool = True,
    patience_s: float = PATIENCE_S,
) -> Joined:
    """Fill an empty data directory from peers by a checkpoint.

    Raises Conflict('join_chain_exists'), RuleBroken('join_archive'), Unavailable('join_no_progress'), or what proving
    the checkpoint raises; StoreInUse and other InvariantBroken kinds for the disk.
    """
    with exclusive(settings.data_dir):
        return _join(settings, say, trusted, may_have_voted, patience_s)


def _join(
    settings: NodeSettings, say: Say, trusted: TrustedBlock | None, may_have_voted: bool, patience_s: float
) -> Joined:
    began = time.monotonic()
    genesis = read_genesis(settings.genesis_file)
    key = load_key_file(settings.key_file, settings.passphrase_file, genesis.suite)
    target, staging = settings.data_dir / DATABASE_DIRECTORY, settings.data_dir / JOINING_DIRECTORY
    scratch = settings.data_dir / SCRATCH_DIRECTORY
    check_empty(target)
    if settings.storage.archive:
        raise RuleBroken(
            "join_archive", "an archive keeps every block: `tongjian node run` fetches them all; a checkpoint has none"
        )
    store = LevelDBStore(staging)
    try:
        headers = HeaderChain(store, genesis, trusted)
        importing = CheckpointImport(store, genesis, headers, scratch)
        download(settings, genesis, key, headers, importing, say, patience_s)
        for step in importing.finish(may_have_voted=may_have_voted):
            say(step)
        manifest = importing.manifest
        if manifest is None:
            raise InvariantBroken("a join ended without a checkpoint")
        ChainStore(store, genesis).check_consistency()
    finally:
        store.close()
        disk.remove_tree(scratch, "staging.remove")
    put_in_place(staging, target)
    return Joined(manifest.height, len(manifest.chunks), manifest.size_bytes, time.monotonic() - began)


def check_empty(target: Path) -> None:
    """Raises Conflict('join_chain_exists') if a database is there, whatever it holds (P1)."""
    if target.exists() and any(target.iterdir()):
        raise Conflict(
            "join_chain_exists",
            f"{target} holds a chain: `tongjian node run` goes on from there; to start anew, move it away first "
            "(never the vote log beside it)",
        )


def put_in_place(staging: Path, target: Path) -> None:
    """Rename a closed store, once all of it is durable, to where a node looks for it (P2). Raises OSError."""
    settle(staging)
    if target.exists():
        check_empty(target)
        disk.remove_tree(target, "staging.remove")
    disk.rename(staging, target, "staging.rename")
    disk.sync_directory(target.parent, "staging.directory_sync")


def download(
    settings: NodeSettings,
    genesis: Genesis,
    key: KeyPair,
    headers: HeaderChain,
    importing: CheckpointImport,
    say: Say,
    patience_s: float,
) -> None:
    """Fetch headers and chunks until the import is complete. Raises Rejected or Unavailable('join_no_progress')."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_download(settings, genesis, key, headers, importing, say, patience_s))


async def _download(
    settings: NodeSettings,
    genesis: Genesis,
    key: KeyPair,
    headers: HeaderChain,
    importing: CheckpointImport,
    say: Say,
    patience_s: float,
) -> None:
    process = _JoinProcess(settings, genesis, key, headers, importing)
    process.transport.start()
    try:
        seen, since, offers_awaited = process.join.progress(), time.monotonic(), False
        while process.join.phase is not JoinPhase.DONE:
            await asyncio.wait((process.failed,), timeout=0.2)
            if process.failed.done():
                raise process.failed.result()
            progress = process.join.progress()
            offers_awaited = offers_awaited or process.join.phase is JoinPhase.OFFERS
            if (progress.what, progress.done) != (seen.what, seen.done):
                seen = progress
                say(progress)
                # A chain that lives grows by a header now and then: no progress for who waits for a checkpoint.
                if process.join.phase is JoinPhase.PARTS or not offers_awaited:
                    since = time.monotonic()
            if time.monotonic() - since > patience_s:
                raise Unavailable(
                    "join_no_progress",
                    f"nothing new for {patience_s:.0f} s: {process.join.describe()}; a checkpoint needs the same offer "
                    "from f+1 validators. What is here is kept; start the join again, or `tongjian node run` to "
                    "fetch all blocks if no peer has pruned them",
                )
    finally:
        await process.transport.close()


class _JoinProcess(EffectPorts):
    """The handler of the channels (`transport.PeerHandler`)."""

    def __init__(
        self,
        settings: NodeSettings,
        genesis: Genesis,
        key: KeyPair,
        headers: HeaderChain,
        importing: CheckpointImport,
    ) -> None:
        self._genesis = genesis
        self._headers = headers
        self._outbox = NodeOutbox()
        self._performer = EffectPerformer(self)
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self.failed: asyncio.Future[Exception] = self._loop.create_future()
        self.join = Join(genesis, headers, importing, self._outbox)
        self.transport = PeerTransport(
            ChannelIdentity(genesis.suite, genesis.id, genesis.network, key.seed, key.public_key),
            settings.peer,
            settings.peers,
            settings.limits,
            PeerTls(settings.peer.certificate_file, settings.peer.private_key_file, settings.peer.ca_file),
            self,
            lambda: time.time_ns() // 1_000_000,
            random.Random(),
        )

    def peer_keys(self) -> frozenset[PeerKey]:
        """The set that signs the next height: these are not bounded like observers."""
        members = self._headers.validators(self._headers.height + 1).members
        return frozenset(member.public_key for member in members)

    def key_named(self, name: str) -> PeerKey | None:
        """Unknown: keys may have changed since genesis. What a peer says is judged by the key that it shows."""
        return None

    def greeting_for(self, peer: PeerKey) -> bytes:
        """We have nothing yet."""
        return Hello(0, self._genesis.id, b"").encode()

    def peer_connected(self, peer: PeerKey, greeting: bytes) -> None:
        """A channel is open."""
        self._do(lambda: self.join.connected(peer))

    def peer_disconnected(self, peer: PeerKey) -> None:
        """A channel is gone."""
        self._do(lambda: self.join.disconnected(peer))

    def peer_message(self, peer: PeerKey, payload: bytes, member: bool) -> None:
        """A payload has arrived."""
        self._do(lambda: self.join.received(peer, payload))

    def _do(self, what: Callable[[], None]) -> None:
        """Step the join and perform its effects; what it raises ends it."""
        if self.failed.done() or self.join.phase is JoinPhase.DONE:
            return
        try:
            what()
        except (Rejected, InvariantBroken, OSError) as error:
            self.failed.set_result(error)
            return
        self._performer.take(self._outbox.take())

    def send(self, message: SendToPeer) -> None:
        """Hand it to the transport."""
        self.transport.send(message.peer, message.channel, message.payload)

    def disconnect(self, order: Disconnect) -> None:
        """Have the transport close a channel."""
        self.transport.disconnect(order.peer, order.reason, order.pause_ms)

    def cancel_timer(self, timer: CancelTimer | SetTimer) -> None:
        """Stop the one timer of a join."""
        if self._timer is not None:
            self._timer.cancel()

    def set_timer(self, timer: SetTimer) -> None:
        """Arm it."""
        self.cancel_timer(timer)

        def expired() -> None:
            if self._outbox.expired(timer.timer, timer.token):
                self._do(self.join.timed_out)

        self._timer = self._loop.call_later(timer.delay_ms / 1000, expired)
