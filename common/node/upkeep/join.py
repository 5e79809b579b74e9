"""How a node joins by a checkpoint: which peer is asked for what, what is believed, and who is dropped.

Synchronous, without sockets or clocks, like `Node`: whoever drives it gives it what happened and performs the effects
of the outbox. Three phases::

    headers   from one peer at a time, until no connected peer has more          verified one by one (`join_headers`)
    offers    every peer says which checkpoints it has       one is chosen that f+1 members of the set agree on
    parts     the manifest, then the chunks, several at once, from all that offered it

Invariants
  J1  A checkpoint is followed only if its block is one of these headers and at least f+1 distinct members of the newest
      set named the same manifest for it, each on its own authenticated channel. The newest set is the one that signs
      after the last verified header. So an honest validator's own state gave the checkpoint (ADR 0051). Members of
      older sets and observers may serve; they vouch for nothing, not even for checkpoints of their time.
  J2  What does not verify drops its sender for good: a false header, an offer for a block that the certified chain
      does not have, a manifest or chunk of another id (attack C17). The work goes on with the others.
  J3  Every wait ends: a peer that does not answer in time is asked last from then on.
  J4  At most `WINDOW` chunks are asked for or held at once.

Left out: channels (`join_process`), proving the whole (`checkpoint_import`).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from common.core.errors import Malformed, Rejected
from common.core.genesis import Genesis
from common.node.logic.catchup.checkpoint_format import Manifest
from common.node.logic.node_effects import Channel, Disconnect, Warned
from common.node.logic.node_events import PeerKey, Timer
from common.node.logic.node_outbox import NodeOutbox
from common.node.logic.wire.checkpoint_messages import (
    MANIFEST_PART,
    MAX_HEADERS,
    AnswerCheckpoints,
    AnswerHeaders,
    AnswerPart,
    GetCheckpoints,
    GetHeaders,
    GetPart,
    Offer,
)
from common.node.logic.wire.peer_messages import KIND_CONSENSUS, decode_payload
from common.node.upkeep.checkpoint_import import CheckpointFalse, CheckpointImport, Progress
from common.node.upkeep.join_headers import HeaderChain

WINDOW: Final = 8
"""Chunks on their way: 8 MiB, what 100 Mbit/s carry in two thirds of a second."""
ANSWER_MS: Final = 15_000
"""Longest wait for an answer of at most 4 MiB: 2.2 Mbit/s."""
OFFERS_MS: Final = 1_000
"""How long offers are collected before they are asked for again."""
PAUSE_MS: Final = 3_600_000
"""How long a liar is left alone: longer than a join takes."""


class JoinPhase(Enum):
    """What is being fetched."""

    HEADERS = "headers"
    OFFERS = "offers"
    PARTS = "parts"
    DONE = "done"


@dataclass(slots=True)
class _Peer:
    """What is known of a connected peer."""

    tip_height: int | None = None
    """Its word, lowered to what it gave; None if it has not been asked."""
    offers: tuple[Offer, ...] | None = None
    slow: int = 0
    """Answers that did not come, or did not help."""
    asked: dict[int, int] = field(default_factory=dict)
    """Open requests: number -> part of the checkpoint; -1 for headers, -2 for offers."""


_HEADERS: Final = -1
_OFFERS: Final = -2


class Join:
    """See the module docstring. Effects are taken from `outbox` after every call."""

    def __init__(self, genesis: Genesis, headers: HeaderChain, importing: CheckpointImport, outbox: NodeOutbox) -> None:
        self._genesis = genesis
        self._headers = headers
        self._import = importing
        self._outbox = outbox
        self._peers: dict[PeerKey, _Peer] = {}
        self._request = 0
        self._turn = 0
        self._chosen: Offer | None = None
        self._received: dict[int, bytes] = {}
        self.phase = JoinPhase.HEADERS
        """What is being fetched now."""

    # What happens.

    def connected(self, peer: PeerKey) -> None:
        """A channel is open."""
        self._peers[peer] = _Peer()
        self._ask_offers(peer)
        self._go_on()

    def disconnected(self, peer: PeerKey) -> None:
        """It is gone; what it was asked for is asked of others."""
        if self._peers.pop(peer, None) is not None:
            self._go_on()

    def received(self, peer: PeerKey, payload: bytes) -> None:
        """A payload has arrived. Raises CheckpointFalse: more than f validators vouched for what is not so."""
        known = self._peers.get(peer)
        if known is None or payload[:1] == bytes((KIND_CONSENSUS,)):
            return
        try:
            match decode_payload(payload):
                case AnswerHeaders() as answer if known.asked.pop(answer.request, None) == _HEADERS:
                    self._on_headers(known, answer)
                case AnswerCheckpoints() as offered if known.asked.pop(offered.request, None) == _OFFERS:
                    known.offers = offered.offers
                case AnswerPart() as answered:
                    number = known.asked.pop(answered.request, None)
                    if number is not None and number >= 0:
                        self._on_part(known, number, answered.part)
                case _:
                    return
        except CheckpointFalse:
            raise
        except Rejected as refusal:
            self._drop(peer, refusal.code)
        self._go_on()

    def timed_out(self) -> None:
        """The timer is over: whoever owes an answer is slow; offers may be newer by now."""
        for known in self._peers.values():
            known.slow += bool(known.asked)
            known.asked.clear()
            if self.phase is JoinPhase.OFFERS:
                known.tip_height = None  # the chain has grown, and new checkpoints lie above what is known
        if self.phase is JoinPhase.OFFERS:
            self.phase = JoinPhase.HEADERS
        for peer in self._peers:
            self._ask_offers(peer)
        self._go_on()

    def progress(self) -> Progress:
        """How far the present phase has come."""
        manifest = self._import.manifest
        if self.phase is JoinPhase.PARTS and manifest is not None:
            return Progress(f"checkpoint {manifest.height}, chunks", self._import.taken, len(manifest.chunks))
        if self.phase is JoinPhase.OFFERS:
            votes = Counter(offer for known in self._peers.values() for offer in set(known.offers or ()))
            needed = self._headers.validators(self._headers.height + 1).fault_bound + 1
            return Progress("checkpoint offers that agree", max(votes.values(), default=0), needed)
        best = max([known.tip_height or 0 for known in self._peers.values()], default=0)
        return Progress(self.phase.value, self._headers.height, max(best, self._headers.height))

    def describe(self) -> str:
        """Who is connected, and who offers what: for a person whose join does not get on."""
        offers = Counter(offer.height for known in self._peers.values() for offer in known.offers or ())
        named = ", ".join(f"height {height} by {count}" for height, count in sorted(offers.items())) or "none"
        return f"{len(self._peers)} peers, headers up to {self._headers.height}, checkpoints offered: {named}"

    # Going on.

    def _go_on(self) -> None:
        if self.phase is JoinPhase.HEADERS:
            self._ask_headers()
        if self.phase is JoinPhase.OFFERS:
            self._choose()
        if self.phase is JoinPhase.PARTS:
            self._ask_parts()
        if self.phase is JoinPhase.DONE:
            self._outbox.cancel_timer(Timer.SYNC)
        elif not self._outbox.runs(Timer.SYNC):
            self._outbox.set_timer(Timer.SYNC, OFFERS_MS if self.phase is JoinPhase.OFFERS else ANSWER_MS)

    def _restart_timer(self) -> None:
        self._outbox.cancel_timer(Timer.SYNC)

    # Headers.

    def _ask_headers(self) -> None:
        """Ask the next peer that says it has more; once nobody does, go on to the offers."""
        if any(_HEADERS in known.asked.values() for known in self._peers.values()):
            return
        height = self._headers.height
        ahead = [peer for peer, known in self._peers.items() if known.tip_height is None or known.tip_height > height]
        source = self._least_slow(ahead)
        if source is not None:
            self._ask(source, _HEADERS, GetHeaders(self._next_request(), height + 1, MAX_HEADERS))
        elif self._peers:
            self.phase = JoinPhase.OFFERS

    def _on_headers(self, known: _Peer, answer: AnswerHeaders) -> None:
        self._headers.take(answer.entries)
        height = self._headers.height
        known.tip_height = answer.tip_height if answer.entries else min(answer.tip_height, height)
        self._restart_timer()

    # Offers.

    def _ask_offers(self, peer: PeerKey) -> None:
        self._ask(peer, _OFFERS, GetCheckpoints(self._next_request()))

    def _choose(self) -> None:
        """Take the highest checkpoint that enough members vouch for (J1)."""
        if not self._headers.trusted_is_reached:
            return
        members = self._headers.validators(self._headers.height + 1)
        votes: Counter[Offer] = Counter()
        for peer, known in list(self._peers.items()):
            for offer in set(known.offers or ()):
                if not 1 <= offer.height <= self._headers.height:
                    continue
                if offer.block_id != self._headers.block_id(offer.height):
                    self._drop(peer, "join_offer_of_another_block")
                    break
                if members.index_of(peer) is not None:
                    votes[offer] += 1
        agreed = [offer for offer, count in votes.items() if count > members.fault_bound]
        resumed = [offer for offer in agreed if offer.manifest_id == self._import.manifest_id]
        chosen = max(resumed or agreed, key=lambda offer: (offer.height, offer.manifest_id), default=None)
        if chosen is None:
            return
        self._chosen = chosen
        self._received.clear()
        self.phase = JoinPhase.DONE if resumed and self._import.complete else JoinPhase.PARTS
        self._restart_timer()

    # Parts.

    def _ask_parts(self) -> None:
        """Keep `WINDOW` chunks on their way, from all that offered the chosen checkpoint."""
        offer = self._chosen
        sources = [peer for peer, known in self._peers.items() if offer is not None and offer in (known.offers or ())]
        if offer is None or not sources:
            self.phase = JoinPhase.OFFERS
            return
        wanted = [MANIFEST_PART]
        manifest = self._import.manifest
        if manifest is not None and self._import.manifest_id == offer.manifest_id:
            first = self._import.taken
            wanted = list(range(first, min(first + WINDOW, len(manifest.chunks))))
        asked = {number for known in self._peers.values() for number in known.asked.values()}
        for number in wanted:
            if number not in asked and number not in self._received:
                source = self._least_slow(sources)
                if source is not None:
                    self._ask(source, number, GetPart(self._next_request(), offer.height, number))

    def _on_part(self, known: _Peer, number: int, part: bytes) -> None:
        offer = self._chosen
        if self.phase is not JoinPhase.PARTS or offer is None:
            return
        if not part:
            known.offers = ()  # it has made room for a newer one; the timer asks for its offers again
            return
        if number == MANIFEST_PART:
            self._on_manifest(offer, part)
        elif not self._import.fits(number, part):
            raise Malformed("join_chunk", "A chunk is not the one that the manifest names.", chunk=number)
        else:
            self._received[number] = part
            while (chunk := self._received.pop(self._import.taken, None)) is not None:
                self._import.take(chunk)
        self._restart_timer()
        if self._import.complete:
            self.phase = JoinPhase.DONE

    def _on_manifest(self, offer: Offer, data: bytes) -> None:
        suite = self._genesis.suite
        manifest = Manifest.decode(data)
        if manifest.id(suite) != offer.manifest_id or manifest.header.id(suite) != offer.block_id:
            raise Malformed("join_manifest", "A manifest is not the one that was offered.")
        self._import.begin(manifest)

    # Peers.

    def _least_slow(self, peers: list[PeerKey]) -> PeerKey | None:
        """The next in turn of those that have failed least often, and owe the fewest answers."""
        self._turn += 1
        ranked = [
            ((self._peers[peer].slow, len(self._peers[peer].asked), (at + self._turn) % len(peers)), peer)
            for at, peer in enumerate(peers)
        ]
        return min(ranked)[1] if ranked else None

    def _next_request(self) -> int:
        self._request = self._request % 0xFFFFFFFF + 1
        return self._request

    def _ask(self, peer: PeerKey, number: int, message: GetHeaders | GetCheckpoints | GetPart) -> None:
        self._peers[peer].asked[message.request] = number
        self._outbox.send(peer, message, Channel.SYNC)

    def _drop(self, peer: PeerKey, code: str) -> None:
        """J2."""
        self._peers.pop(peer, None)
        self._outbox.add(Warned("join_peer_lied", code))
        self._outbox.add(Disconnect(peer, code, PAUSE_MS))
