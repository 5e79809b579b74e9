"""Joins the replica to the node: gives it events, and turns its effects into the node's own.

Invariants
  D1  The driver handles effects strictly in the order in which the replica returned them. An event that comes up
      meanwhile waits until all effects of the step are handled (`common.consensus.effects`, F1).
  D2  The replica starts when q-1 other members have said hello; where n = 1, at once. No agreement is possible earlier.
      By then enough peers have shown what this validator signed before (protocol rule 7, attack C16). What they show
      counts only if this node's key did sign it.
  D3  A leader to whom this node has no channel cannot send it a proposal. The driver leaves that leader's view after an
      eighth of the time-out, so a dead validator costs every n-th block a fraction of a second.
        * Time-outs still double with the view.
        * Their length decides about speed only, never about safety (protocol rule 4).
        * The driver shortens a running timer once at most.
  D4  A validator whose data came from a checkpoint or a backup has no memory of its votes (attack C16).
        * It starts only when members that make up a quorum with it say that their tips are no higher.
        * It then signs nothing at or below tip + `REJOIN_HEIGHTS`.
        * Both hold for a validator that is no member at its old tip, too: above that tip it may have become one.
      Why this is enough. Let t be the last height that the validator's earlier self saw decided.
        * Deciding t took commits of q-1 others. The honest ones among them were at t-1 or higher.
        * Any q-1 members have f in common with those. The forgetful validator counts as faulty, so at most f-1 others
          are. One of the f is therefore honest.
        * That one's tip is at least t-1, and it is not above this node's tip.
        * The earlier self voted at t+1 at most, which is tip + 2.
  D5  A member whose newest word is this node's tip is sent this node's messages of the open height again, once a
      height. While the member was far behind it could keep none of them (`common.consensus.future`). A quorum that
      needs it would otherwise wait for the whole time-out.

Left out: blocks' contents (`block_assembly`), commits (`committer`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from common.consensus import effects
from common.consensus.events import (
    ChainTip,
    Committed,
    Event,
    MemberConnected,
    OwnMessageShown,
    Received,
    ViewTimerExpired,
)
from common.consensus.messages import ConsensusMessage, Mark, Stage, decode_message
from common.consensus.params import ConsensusParameters
from common.consensus.replica import Replica
from common.core.genesis import Genesis
from common.core.header import Header
from common.core.validators import ValidatorSet
from common.node.logic.agreement.block_assembly import BlockAssembly
from common.node.logic.agreement.committer import Committer
from common.node.logic.catchup.peer_table import PeerTable
from common.node.logic.catchup.serving import Serving
from common.node.logic.catchup.sync import CatchUp
from common.node.logic.execution.next_block import NextBlock
from common.node.logic.node_effects import Accusation, Channel, Warned
from common.node.logic.node_events import PeerKey, Timer
from common.node.logic.node_outbox import NodeOutbox
from common.node.logic.step_clock import StepClock
from common.node.logic.wire.peer_messages import Consensus
from common.node.store.chain_store import ChainStore

UNHEARD_LEADER_DIVISOR = 8
"""Of the default time-out of 2 s that leaves 250 ms, long enough for a channel that is just being opened again."""
REJOIN_HEIGHTS = 2
"""How far above the tip of a quorum a validator may have voted (D4)."""


class ConsensusDriver:
    """Owns the replica. See the module docstring for the invariants D1-D5."""

    def __init__(
        self,
        *,
        genesis: Genesis,
        chain: ChainStore,
        next_block: NextBlock,
        seed: bytes | None,
        recovered: Sequence[bytes],
        may_vote: bool,
        abstain_through_height: int,
        outbox: NodeOutbox,
        clock: StepClock,
        peers: PeerTable,
        assembly: BlockAssembly,
        committer: Committer,
        serving: Serving,
        sync: CatchUp,
        accused: Callable[[ConsensusMessage, ConsensusMessage], None],
    ) -> None:
        self._genesis = genesis
        self._chain = chain
        self._next = next_block
        self._seed = seed
        self._public_key = None if seed is None else genesis.suite.public_key(seed)
        self._recovered = tuple(recovered)
        self._may_vote = may_vote
        self._outbox = outbox
        self._clock = clock
        self._assembly = assembly
        self._committer = committer
        self._serving = serving
        self._sync = sync
        self._peers = peers
        self._accused = accused
        self._replica: Replica | None = None
        self.started = False
        """Whether the replica takes part."""
        self._greeted: set[PeerKey] = set()
        """Who has said hello before the replica starts; empty afterwards."""
        self._reminded: dict[PeerKey, int] = {}
        """For connected members, the height for which they were sent our messages again (D5)."""
        self._floor = Mark(abstain_through_height, 0, Stage.COMMIT) if abstain_through_height else None
        self._inbox: deque[Event] = deque()
        self._draining = False
        self._timer: effects.SetViewTimer | None = None
        self._hastened = False

    @property
    def view(self) -> int:
        """The view of the open height."""
        return 0 if self._replica is None else self._replica.view

    @property
    def can_vote(self) -> bool:
        """Whether this node signs at the open height."""
        return self._replica is not None and self._replica.can_vote

    def signed_by(self, peer: PeerKey) -> bytes:
        """The furthest message held that this peer signed, encoded; empty if there is none (protocol rule 7)."""
        message = None if self._replica is None else self._replica.highest_signed_by(peer)
        return b"" if message is None else message.encode()

    def furthest_mark(self, peer: PeerKey) -> Mark | None:
        """How far this peer is known to have signed."""
        message = None if self._replica is None else self._replica.highest_signed_by(peer)
        return None if message is None else message.mark

    def greet(self, peer: PeerKey, evidence: bytes) -> None:
        """Take a peer's hello. `evidence` is empty or an encoded message, which this node signed if the peer is right.

        Raises `Malformed` if it is neither.
        """
        if evidence:
            self._shown(decode_message(evidence))
        if self._replica is None:
            self._greeted.add(peer)
            self.start_if_ready()
            return
        index = self._chain.validators(self._chain.tip().height + 1).index_of(peer)
        if index is not None:
            self.deliver(MemberConnected(index))

    def level(self, peer: PeerKey, tip_height: int) -> None:
        """Take a peer's word on its tip. If that is our tip, the peer has reached the open height, perhaps from far
        behind. It then gets what it could not keep earlier, once a height (D5).
        """
        height = self._chain.tip().height
        index = self._chain.validators(height + 1).index_of(peer)
        if index is None or tip_height != height or self._reminded.get(peer) == height:
            return
        self._reminded[peer] = height
        self.deliver(MemberConnected(index))

    def _shown(self, message: ConsensusMessage) -> None:
        if self._replica is not None:
            self.deliver(OwnMessageShown(message))
            return
        suite, genesis = self._genesis.suite, self._genesis
        if self._public_key is None or message.height <= self._chain.tip().height:
            return
        if suite.verify(self._public_key, message.payload(suite, genesis.id, genesis.network), message.signature):
            self._floor = message.mark if self._floor is None else max(self._floor, message.mark)

    @property
    def _parameters(self) -> ConsensusParameters:
        return ConsensusParameters.of(self._next.parameters)

    def start_if_ready(self) -> None:
        """Start the replica once enough members have said hello (D2)."""
        if self._replica is not None:
            return
        tip = self._chain.tip()
        validators = self._chain.validators(tip.height + 1)
        others = sum(1 for peer in self._greeted if validators.index_of(peer) is not None)
        if others < validators.quorum - 1:
            return
        if self._chain.rejoined and self._public_key is not None:
            if self._peers.level(validators, tip.height) < validators.quorum - 1:
                return
            self._abstain_after_rejoining(tip.height)
        genesis = self._genesis
        own_index = validators.index_of(self._public_key)
        self.started = True
        self._replica = Replica(self._parameters, genesis.suite, genesis.id, genesis.network, own_index, self._seed)
        floor = self._floor if self._floor is not None and self._floor.height > tip.height else None
        restored = self._replica.restore(
            ChainTip(tip.height, tip.block_id, tip.time_ms),
            validators,
            self._recovered,
            floor=floor,
            may_vote=self._may_vote,
        )
        self._recovered = ()
        self._greeted.clear()
        self._inbox.extend([MemberConnected(index) for index in self._peers.members(validators)])
        self._run(self._replica, restored)

    def _abstain_after_rejoining(self, tip_height: int) -> None:
        """Abstain wherever this key may have signed before: the data know nothing of it (D4)."""
        through = tip_height + REJOIN_HEIGHTS
        floor = Mark(through, 0, Stage.COMMIT)
        self._floor = floor if self._floor is None else max(self._floor, floor)
        self._chain.votes_again_above(through)

    def received(self, peer: PeerKey, message: bytes) -> bool:
        """Give the replica what a peer sent; see `deliver`. Raises `Malformed` if it is no message."""
        decoded = decode_message(message)
        if self._replica is None:
            return False
        return self.deliver(Received(decoded, self._replica.validators.index_of(peer)))

    def committed(self, header: Header, validators: ValidatorSet) -> None:
        """Tell the replica that a block is durable: `validators` and the parameters on it hold for the next height."""
        if self._replica is None:
            self.start_if_ready()
        else:
            self._replica.parameters = self._parameters
            self.deliver(Committed(header, validators))

    def deliver(self, event: Event) -> bool:
        """Give the replica an event, after those that wait already. Before the replica starts, drop the event.

        Returns whether anything may follow: the replica asked for something, or has not come to the event yet.
        """
        replica = self._replica
        if replica is None:
            return False
        if self._draining:
            self._inbox.append(event)
            return True
        asked = replica.step(event)
        if asked:
            self._run(replica, asked)
        return bool(asked)

    def _run(self, replica: Replica, asked: Sequence[effects.Effect]) -> None:
        """Handle these effects, then step the events that wait, one after the other (D1)."""
        self._draining = True
        try:
            while True:
                for effect in asked:
                    self._handle(effect)
                if not self._inbox:
                    return
                asked = replica.step(self._inbox.popleft())
        finally:
            self._draining = False

    def timer_expired(self) -> None:
        """Tell the replica that the view timer ran out."""
        timer, self._timer = self._timer, None
        if timer is not None:
            self.deliver(ViewTimerExpired(timer.height, timer.view))

    def _set_timer(self, effect: effects.SetViewTimer) -> None:
        """Arm the view timer; make it shorter if this node has no channel to the view's leader (D3)."""
        self._timer = effect
        validators = self._chain.validators(self._chain.tip().height + 1)
        leader = validators.members[validators.leader(effect.height, effect.view)].public_key
        heard = leader == self._public_key or leader in self._peers.keys
        self._hastened = not heard
        self._outbox.set_timer(Timer.VIEW, effect.delay_ms if heard else effect.delay_ms // UNHEARD_LEADER_DIVISOR)

    def disconnected(self, peer: PeerKey) -> None:
        """Note that a channel is gone. If it was the leader's, arm the running timer anew, once.

        A leader that comes and goes must not put its time-out off for ever (attack S3).
        """
        validators = self._chain.validators(self._chain.tip().height + 1)
        if validators.index_of(peer) is None:
            self._greeted.discard(peer)  # observers come under as many keys as they like (attack N3)
        self._reminded.pop(peer, None)
        timer = self._timer
        if timer is None or self._hastened:
            return
        if validators.members[validators.leader(timer.height, timer.view)].public_key == peer:
            self._set_timer(timer)

    def _handle(self, effect: effects.Effect) -> None:
        match effect:
            case effects.Persist():
                self._outbox.add(effect)
            case effects.Broadcast():
                self._outbox.broadcast(Consensus(effect.message.encode()), Channel.CONSENSUS)
            case effects.Send():
                peer = self._member(effect.index)
                if peer is not None:
                    self._outbox.send(peer, Consensus(effect.message.encode()), Channel.CONSENSUS)
            case effects.SetViewTimer():
                self._set_timer(effect)
            case effects.CancelViewTimer():
                self._timer = None
                self._outbox.cancel_timer(Timer.VIEW)
            case effects.Accuse():
                self._accuse(effect)
            case effects.Refused():
                sender = None if effect.sender is None else self._member(effect.sender)
                self._outbox.add(Warned("consensus_message_refused", effect.code, sender))
            case effects.Abstaining():
                self._outbox.add(Warned("abstaining", f"{effect.code} through height {effect.height}"))
            case _:
                self._hand_on(effect)

    def _hand_on(self, effect: effects.Effect) -> None:
        match effect:
            case effects.BuildBlock():
                self._assembly.build(effect)
            case effects.ValidateBlock():
                self._assembly.validate(effect, self._members(effect.senders))
            case effects.FetchBlock():
                self._assembly.fetch(effect, self._members(effect.senders))
            case effects.Decide():
                self._committer.commit(effect.block, effect.certificate)
            case effects.DecideById():
                signers = self._members([index for index, _ in effect.certificate.signatures])
                self._assembly.decided_by_id(effect.height, effect.block_id, effect.certificate, signers)
            case effects.SendDecided():
                peer = self._member(effect.index)
                if peer is not None:
                    self._serving.decided(peer, effect.height, self._clock.now_ms)
            case effects.MemberAhead():
                peer = self._member(effect.index)
                if peer is not None:
                    self._sync.shown_ahead(peer, effect.height)

    def _accuse(self, effect: effects.Accuse) -> None:
        members = self._chain.validators(effect.first.height).members
        if effect.first.signer < len(members):
            culprit = members[effect.first.signer].public_key
            self._outbox.add(Accusation(culprit, effect.first.encode(), effect.second.encode()))
            self._accused(effect.first, effect.second)

    def _members(self, indexes: Sequence[int]) -> list[PeerKey]:
        """The keys of these members of the open height, without this node's own."""
        keys = [self._member(index) for index in indexes]
        return [key for key in keys if key is not None and key != self._public_key]

    def _member(self, index: int) -> PeerKey | None:
        members = self._chain.validators(self._chain.tip().height + 1).members
        return members[index].public_key if index < len(members) else None
