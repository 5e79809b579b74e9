"""Faults of what touches the world: HTTP, channels, disks, logs, keys, the relay; and of the custody chain."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from zlib import crc32

from msgspec import structs

from common.core.suite import ED25519_SHA256
from common.core.transaction import sign_envelope
from common.node.store import vote_frames
from common.node.store.store_errors import DamagedStore
from crosslink.lightclient.port import Verdict
from tests.attacks.fault import fault, with_bound

Original = Callable[..., Any]
ENDLESS = 1 << 40


# Channels


@fault("common.node.runtime:Runtime.peer_message")
def observers_may_say_anything(original: Original) -> Any:
    """Whoever has a channel counts as a member."""
    return lambda self, peer, payload, member: original(self, peer, payload, True)


@fault("common.node.peer.link:Link._take_frames")
def a_peer_is_heard_to_the_end(original: Original) -> Any:
    """One turn of the loop takes all that a peer has sent."""
    return with_bound(original, "common.node.peer.link:TURN_S", 1e9)


@fault("common.node.peer.tls:_peer_contexts")
def channels_are_resumed(original: Original) -> Any:
    """A listener gives session tickets."""

    def peer_contexts(*given: Any) -> Any:
        contexts = original(*given)
        contexts.listener.num_tickets = 2
        return contexts

    return peer_contexts


@fault("common.node.peer.listener:Listener._admit")
def addresses_are_not_counted(original: Original) -> Any:
    """Every connection seems to come from an address of its own."""
    number = itertools.count()
    return lambda self, connection, address: original(self, connection, f"{address}#{next(number)}")


# HTTP


@fault("common.node.http.server:GuardedHttpProtocol.data_received")
def a_head_without_end(original: Original) -> Any:
    """The bytes before a body are not bounded."""
    return with_bound(original, "common.node.http.server:MAX_HEAD_BYTES", ENDLESS)


@fault("common.node.http.server:GuardedHttpProtocol.pause_writing")
def slow_readers_keep_their_connection(original: Original) -> Any:
    """No time is set for a client that does not read."""

    def pause_writing(self: Any) -> None:
        original(self)
        self._write_deadline.cancel()

    return pause_writing


@fault("common.node.http.edge:_BoundedBody.__call__")
def a_body_may_take_for_ever(original: Original) -> Any:
    """No time is set for the rest of a body."""

    async def receive(self: Any) -> Any:
        self._deadline = None
        return await original(self)

    return receive


@fault("common.node.http.edge:escaped_path")
def paths_are_logged_as_sent(original: Original) -> Any:
    """Control characters reach the log."""
    return lambda scope: (scope.get("raw_path") or scope["path"].encode("utf-8", "replace")).decode("latin-1")


@fault("common.node.logs:JsonFormatter.format")
def log_lines_are_plain_text(original: Original) -> Any:
    """What is logged may break out of its line."""
    return lambda self, record: record.getMessage()


# Disk and keys


@fault("common.node.effect_performer:EffectPerformer._persist")
def effects_overtake_the_vote_log(original: Original) -> Any:
    """What rests on a record is sent before the record is durable."""

    def persist(self: Any, first: Any) -> None:
        original(self, first)
        self._persisting = False

    return persist


@fault("common.node.runtime:Runtime._off_the_loop")
def failures_of_the_disk_pass(original: Original) -> Any:
    """Work that failed counts as done."""

    def off_the_loop(self: Any, thread: Any, work: Callable[[], None], done: Any, what: str) -> None:
        def lenient() -> None:
            try:
                work()
            except Exception:  # whatever the disk says
                return

        original(self, thread, lenient, done, what)

    return off_the_loop


@fault("common.node.runtime:Runtime._expired")
def timers_count_before_what_has_arrived(original: Original) -> Any:
    """The view timer does not wait for the sockets."""
    return lambda self, effect, due_s: self._give(effect)


@fault("common.node.keys:encode_key")
def a_key_file_is_encrypted_once(original: Original) -> Any:
    """The second file of a seed has the salt and IV of the first."""
    kept: dict[Any, bytes] = {}

    def encode_key(seed: bytes, passphrase: bytes | None = None) -> bytes:
        return kept.setdefault((seed, passphrase), original(seed, passphrase))

    return encode_key


@fault("common.node.store.vote_log:VoteLog._open")
def a_lost_vote_log_is_begun_anew(original: Original) -> Any:
    """That the database knows of one does not count."""

    def open_log(cls: Any, directory: Any, genesis_id: bytes, mark: bytes | None, draw_log_id: Any) -> Any:
        return original(cls, directory, genesis_id, None if directory.read() is None else mark, draw_log_id)

    return open_log


@fault("common.node.store.vote_frames:read_frame")
def flipped_bits_pass(original: Original) -> Any:
    """A frame whose checksum does not fit is taken as it stands."""

    def read_frame(data: bytes, at: int, checksum: int) -> Any:
        try:
            return original(data, at, checksum)
        except DamagedStore:
            length, kind, begun = vote_frames._FRAME.unpack_from(data, at)
            payload = data[at + vote_frames._FRAME.size :][:length]
            end = at + vote_frames._FRAME.size + length + vote_frames._CHECKSUM.size
            return kind, payload, end, crc32(payload, begun)

    return read_frame


@fault("common.node.store.state_tree:StateTree.load")
def any_node_of_the_tree_will_do(original: Original) -> Any:
    """A node is not held against the hash in its parent."""

    def load(self: Any, path: str, expected: bytes, **named: Any) -> Any:
        unjudged = with_bound(original, "common.node.store.state_tree:node_hash", lambda suite, node: expected)
        return unjudged(self, path, expected, **named)

    return load


# Relay and custody chain


@fault("custody_chain.anchoring:Anchoring._block")
def known_blocks_count_again(original: Original) -> Any:
    """What the chain has anchored passes for new."""
    verdicts = {verdict.name: verdict for verdict in Verdict} | {"KNOWN": None}
    return with_bound(original, "custody_chain.anchoring:Verdict", SimpleNamespace(**verdicts))


@fault("crosslink.relay.http_custody:HttpCustody._attempt")
def every_attempt_is_a_new_transaction(original: Original) -> Any:
    """A lost answer leads to a second transaction of the same content."""

    async def attempt(self: Any, envelope: bytes) -> Any:
        transaction = json.loads(envelope)["transaction"]
        transaction["nonce"] = self._draw_nonce(16)
        return await original(self, sign_envelope(transaction, [self._key.seed], ED25519_SHA256))

    return attempt


@fault("crosslink.relay.node_pool:NodePool.failed")
def failing_nodes_are_asked_at_once(original: Original) -> Any:
    """A fault costs a node no pause."""

    def failed(self: Any, index: int, *others: Any) -> int:
        paused_until_ms = self._nodes[index].paused_until_ms
        pause_ms = int(original(self, index, *others))
        self._nodes[index].paused_until_ms = paused_until_ms
        return pause_ms

    return failed


@fault("custody_chain.anchoring:Anchoring._verified")
def overlapping_parts_count_twice(original: Original) -> Any:
    """What was delivered before is delivered again."""
    return lambda self, partial, items: original(self, structs.replace(partial, delivered=0), items)


@fault("custody_chain.anchoring:Anchoring._deliver")
def a_block_is_anchored_with_any_part_of_it(original: Original) -> Any:
    """The anchored height moves although snapshots are missing."""

    def deliver(self: Any, number: int, opened: Any, items: Any) -> None:
        original(self, number, opened, items)
        partial = self._record().partial
        if partial is not None:
            self._anchor(partial)

    return deliver
