"""What can happen to a replica: the inputs of `Replica.step`.

Contract for whoever drives a replica (the node; tests and the simulator keep it too)
  V1  `Received` messages were decoded by `messages.decode_message` and are otherwise unverified. `sender` is the index,
      in the set of the open height, of the peer whose authenticated channel brought the message; None if that peer is
      not in the set.
  V2  A `ViewTimerExpired` is given only after every message that had already arrived (protocol rule 4, attack C11), and
      only for the `SetViewTimer` in force. Late or repeated ones for another height or view do no harm.
  V3  `Committed` is given once for every height, after the block is durable, whether the replica decided it or the
      node learned it otherwise.
"""

from __future__ import annotations

import msgspec

from common.consensus.messages import ConsensusMessage
from common.core.block import Block
from common.core.header import Header
from common.core.validators import ValidatorSet


class ChainTip(msgspec.Struct, frozen=True):
    """The last durable block, on which the open height builds. At genesis: height 0, the genesis id and its time."""

    height: int
    block_id: bytes
    time_ms: int


class Received(msgspec.Struct, frozen=True):
    """A peer sent a message."""

    message: ConsensusMessage
    sender: int | None


class BlockBuilt(msgspec.Struct, frozen=True):
    """Answer to `BuildBlock`: executed, ready to propose. Given at any time later, or never if there is no work."""

    height: int
    view: int
    block: Block


class BlockValidated(msgspec.Struct, frozen=True):
    """Answer to `ValidateBlock`: the body is here, matches the header, and executes to its roots."""

    height: int
    view: int
    block: Block


class BlockRefused(msgspec.Struct, frozen=True):
    """Answer to `ValidateBlock`: the block is invalid. Not for a body that is merely missing: keep looking for it."""

    height: int
    view: int
    block_id: bytes
    code: str


class BlockFetched(msgspec.Struct, frozen=True):
    """Answer to `FetchBlock`: the body that peers had. Not validated; the replica checks only its id."""

    height: int
    view: int
    block: Block


class ViewTimerExpired(msgspec.Struct, frozen=True):
    """The timer of the last `SetViewTimer(height, view, …)` ran out."""

    height: int
    view: int


class WorkPending(msgspec.Struct, frozen=True):
    """Whether a block is due: the mempool holds a transaction valid on committed state, or a heartbeat is overdue."""

    pending: bool


class Committed(msgspec.Struct, frozen=True):
    """A block is durable; `validators` is the set that signs the next height."""

    header: Header
    validators: ValidatorSet


class MemberConnected(msgspec.Struct, frozen=True):
    """A channel to the member with this index, in the set of the open height, came up."""

    index: int


class OwnMessageShown(msgspec.Struct, frozen=True):
    """A peer showed a message that claims to be signed by this validator (hello of a channel, protocol rule 7)."""

    message: ConsensusMessage


Event = (
    Received
    | BlockBuilt
    | BlockValidated
    | BlockRefused
    | BlockFetched
    | ViewTimerExpired
    | WorkPending
    | Committed
    | MemberConnected
    | OwnMessageShown
)
