"""A validator's key in hostile hands: an authenticated channel to one node, over which floods are sent as fast as the
node reads. Everything is well formed and validly signed, so that no check but the bounds can stop it."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Callable, Iterator

from common.consensus.messages import Stage, ViewChange, Vote, vote_payload
from common.node.logic.node_effects import Channel
from common.node.logic.wire import peer_messages as pm
from common.node.logic.wire.peer_messages import Hello
from common.node.peer.frames import FRAME_LIMITS, FRAME_TYPE_OF, FrameDecoder, FrameType, encode_frame
from common.node.peer.hello import ChannelBinding, ChannelIdentity, ChannelRole, Side, make_hello
from common.node.peer.tls import PeerTls
from tests.e2e.toy_network import ToyNetwork, ToyNode
from tests.unit.node.toy import SUITE, key_of, seed_of, transfer

BATCH_BYTES = 256 * 1024
Payloads = Iterator[tuple[Channel, bytes]]


class HostilePeer:
    """Uses the key and certificate of a validator that does not run."""

    def __init__(self, network: ToyNetwork, name: str, target: ToyNode) -> None:
        self.network, self.name = network, name
        self.index = [node.name for node in network.nodes].index(name)
        self.sent_bytes = self.sent = self.connections = 0
        self.refusals: list[str] = []
        folder = network.directory / name
        self._tls = PeerTls(folder / "tls.crt", folder / "tls.key", network.ca_file)
        self._port = network.peer_port(target)
        self._height = lambda: network.height(target)
        self.height = 0

    async def flood(self, payloads: Payloads, seconds: float) -> None:
        """Send for so long; connect again whenever the node hangs up."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.height = await asyncio.to_thread(self._height)
            try:
                await asyncio.wait_for(self._connected(payloads, until), until - time.monotonic() + 1)
            except (OSError, asyncio.IncompleteReadError, TimeoutError):
                await asyncio.sleep(0.2)

    async def _connected(self, payloads: Payloads, until: float) -> None:
        contexts = self._tls.current()
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, ssl=contexts.dialler)
        try:
            certificate = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            genesis = self.network.genesis
            identity = ChannelIdentity(SUITE, genesis.id, genesis.network, seed_of(self.name), key_of(self.name))
            binding = ChannelBinding(Side.DIALLER, contexts.certificate, certificate)
            hello = make_hello(identity, binding, ChannelRole.VALIDATOR, time.time_ns() // 1_000_000)
            writer.write(encode_frame(FrameType.HELLO, hello))
            writer.write(encode_frame(FrameType.GREETING, Hello(0, genesis.id, b"").encode()))
            self.connections += 1
            reading = asyncio.create_task(self._listen(reader))
            try:
                while time.monotonic() < until and not reading.done():
                    batch = bytearray()
                    while len(batch) < BATCH_BYTES and time.monotonic() < until:
                        channel, payload = next(payloads)
                        batch += encode_frame(FRAME_TYPE_OF[channel], payload)
                        self.sent += 1
                    self.sent_bytes += len(batch)
                    writer.write(bytes(batch))
                    await writer.drain()
                    await asyncio.sleep(0)
            finally:
                reading.cancel()
        finally:
            writer.transport.abort()

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        """Read everything, so that the node can go on; note why it hangs up."""
        decoder = FrameDecoder()
        decoder.allowed = FRAME_LIMITS
        while data := await reader.read(1 << 16):
            for kind, payload in decoder.feed(data):
                if kind is FrameType.REFUSAL:
                    self.refusals.append(payload.decode("ascii"))


def _signed_vote(peer: HostilePeer, stage: Stage, height: int, view: int, block_id: bytes) -> bytes:
    genesis = peer.network.genesis
    payload = vote_payload(SUITE, genesis.id, genesis.network, stage, height, view, block_id)
    signature = SUITE.sign(seed_of(peer.name), payload)
    return pm.Consensus(Vote(stage, height, view, block_id, peer.index, signature).encode()).encode()


def far_heights(peer: HostilePeer) -> Payloads:
    """Votes for heights just above the open one, and for heights far away."""
    chance = random.Random(1)
    for number in itertools.count():
        ahead = number % 8 + 2 if number % 2 else chance.randrange(10, 2**40)
        yield (
            Channel.CONSENSUS,
            _signed_vote(peer, Stage.COMMIT, peer.height + ahead, number % 64, chance.randbytes(32)),
        )


def far_views(peer: HostilePeer) -> Payloads:
    """Votes of the open height for ever higher views."""
    chance = random.Random(2)
    for view in itertools.count(1):
        stage = Stage.PREPARE if view % 2 else Stage.COMMIT
        yield Channel.CONSENSUS, _signed_vote(peer, stage, peer.height + 1, view, chance.randbytes(32))


def view_changes(peer: HostilePeer) -> Payloads:
    """VIEW-CHANGEs of the open height and the next, for ever higher views."""
    genesis = peer.network.genesis
    for view in itertools.count(1):
        unsigned = ViewChange(peer.height + 1 + view % 2, view, None, peer.index, b"")
        signature = SUITE.sign(seed_of(peer.name), unsigned.payload(SUITE, genesis.id, genesis.network))
        change = ViewChange(unsigned.height, view, None, peer.index, signature)
        yield Channel.CONSENSUS, pm.Consensus(change.encode()).encode()


def gossip(peer: HostilePeer) -> Payloads:
    """Valid transactions of a signer of its own, each fresh: what the pool's bounds are for."""
    for number in itertools.count(0, 16):
        batch = tuple(transfer(peer.network.genesis, f"flood-{number + at}", client="flood") for at in range(16))
        yield Channel.TRANSACTIONS, pm.Transactions(batch).encode()


def questions(peer: HostilePeer) -> Payloads:
    """Claims of absurd heights, drafts of far ones, and questions for all blocks and for bodies."""
    chance = random.Random(3)
    for number in itertools.count(1):
        request = number % 2**32
        yield Channel.SYNC, pm.Status(peer.height + chance.randrange(1, 2**40), chance.randbytes(32)).encode()
        yield Channel.SYNC, pm.GetBlocks(request, 1, pm.MAX_BLOCKS).encode()
        hashes = tuple(chance.randbytes(32) for _ in range(64))
        yield Channel.SYNC, pm.GetTransactions(request, hashes).encode()
        draft = pm.BlockDraft(peer.height + 1, 0, 2**40, chance.randbytes(32), hashes)
        yield Channel.CONSENSUS, draft.encode()


PEER_FLOODS: dict[str, Callable[[HostilePeer], Payloads]] = {
    "far_heights": far_heights,
    "far_views": far_views,
    "view_changes": view_changes,
    "gossip": gossip,
    "questions": questions,
}
"""Name -> what is sent."""
