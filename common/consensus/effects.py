"""What a replica wants done: the outputs of `Replica.step`.

Contract for whoever performs them
  F1  Effects are performed strictly in the order returned, lists in the order of the steps that returned them.
  F2  Everything behind a `Persist` waits until its records are durable (protocol rule 1).
  F3  `Send` and `Broadcast` may lose messages: timers and reconnects repeat what matters.
  F4  Answers to peers (`Send`, `SendDecided`) are caused by those peers. Their queues are bounded by the runtime, so
      that a peer that asks too often fills only its own.
  F5  Indexes, and "every validator", mean the set of the height that is open when `step` returns. Resolve them then:
      the set may have changed when an effect behind a `Persist` is performed.
"""

from __future__ import annotations

import msgspec

from common.consensus.messages import ConsensusMessage, Proposal
from common.core.block import Block
from common.core.certificate import Certificate


class Persist(msgspec.Struct, frozen=True):
    """Append `records` (see `records`) to the vote log and make them durable before anything behind is performed."""

    records: tuple[bytes, ...]


class Broadcast(msgspec.Struct, frozen=True):
    """Send to every other validator. The replica has counted the message itself already."""

    message: ConsensusMessage


class Send(msgspec.Struct, frozen=True):
    """Send to the member with this index in the set of the open height."""

    index: int
    message: ConsensusMessage


class SendDecided(msgspec.Struct, frozen=True):
    """Send the final block of `height` with its certificate: the peer still votes on it (protocol rule 3)."""

    index: int
    height: int


class MemberAhead(msgspec.Struct, frozen=True):
    """A hint, unverified: the peer claims to be at `height`, above ours. Ask it for blocks if that lasts."""

    index: int
    height: int


class BuildBlock(msgspec.Struct, frozen=True):
    """This replica leads: answer `BlockBuilt` when there is something to propose and the least interval is over."""

    height: int
    view: int


class ValidateBlock(msgspec.Struct, frozen=True):
    """Get the body of `proposal`, execute it, compare, and answer `BlockValidated` or `BlockRefused`.

    `fresh`: check wall clock and proposer. A re-proposal (`fresh` is False) is checked for neither: it was prepared
    by a quorum in an earlier view (protocol rules 2 and 5, attack C21). `senders` should have the body. A later
    request, a decision or a commit supersedes this one; an answer that comes late is still useful.
    """

    height: int
    view: int
    proposal: Proposal
    fresh: bool
    senders: tuple[int, ...]


class FetchBlock(msgspec.Struct, frozen=True):
    """Get a prepared block whose body this new leader lacks from one of `senders`; answer `BlockFetched`."""

    height: int
    view: int
    block_id: bytes
    senders: tuple[int, ...]


class Decide(msgspec.Struct, frozen=True):
    """The block is final: commit it, then answer `Committed`. At most one for a height.

    The block was validated, possibly before a restart, so an execution result may have to be made again.
    """

    block: Block
    certificate: Certificate


class DecideById(msgspec.Struct, frozen=True):
    """The block with this id is final, but it was not validated here: get it from the certificate's signers.

    At most one for a height. If a validation under way ends well before the commit, a `Decide` follows.
    """

    height: int
    block_id: bytes
    certificate: Certificate


class SetViewTimer(msgspec.Struct, frozen=True):
    """Answer `ViewTimerExpired(height, view)` after `delay_ms`, on a clock that does not jump; replaces a running
    one.
    """

    height: int
    view: int
    delay_ms: int


class CancelViewTimer(msgspec.Struct, frozen=True):
    """Stop the timer."""


class Accuse(msgspec.Struct, frozen=True):
    """Two validly signed messages of one member that no correct member signs both (attack C1)."""

    first: ConsensusMessage
    second: ConsensusMessage


class Refused(msgspec.Struct, frozen=True):
    """A received message was refused; for log and counters. `code` is stable, `detail` one sentence."""

    sender: int | None
    code: str
    detail: str


class Abstaining(msgspec.Struct, frozen=True):
    """This replica signs nothing for heights up to and including `height`.

    `code`: `own_messages_forgotten` (a peer or an input shows that we signed further than our records know: the
    records went backwards) or `own_key_used_elsewhere` (a second process signs with our key); attacks C8 and C16.
    """

    height: int
    code: str


Effect = (
    Persist
    | Broadcast
    | Send
    | SendDecided
    | MemberAhead
    | BuildBlock
    | ValidateBlock
    | FetchBlock
    | Decide
    | DecideById
    | SetViewTimer
    | CancelViewTimer
    | Accuse
    | Refused
    | Abstaining
)
