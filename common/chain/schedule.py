"""What governance has scheduled for later heights: the next validator set, and protocol versions.

Both tiers' operations `validators.change` and `protocol.activate` end here; the executor asks what is due. State keys
(canonical JSON; the prefix `chain/` belongs to the node)::

    chain/validators   {"effective_height", "validators": [...]}     while a change is scheduled
    chain/protocol     {"activations": [{"height", "version"}]}      from the first activation on, ascending

Invariants
  G1  A scheduled set signs its effective height and no height before: block `effective_height - 1` commits it in
      `next_validators_hash` and drops the key.
  G2  At most one change of validators and one activation are scheduled. Another one is refused unless it names the
      height of the one that it replaces; the set that signs already, or the version that is active, withdraws it.
  G3  A version follows the one before it: no version is skipped, none comes back.
  G4  The version of height h is a function of the state after block h - 1.

Reference: protocol rules 8 and 17; attacks C9, C18, C19; ADR 0050. Left out: who may (policy of each tier).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import msgspec

from common.chain.application import BlockContext, StateView
from common.chain.validator_history import record_set
from common.core.codec import canonical_json
from common.core.errors import Conflict, Malformed, RuleBroken, Unavailable
from common.core.genesis import Genesis
from common.core.membership import check_seats, check_succession
from common.core.suite import Suite
from common.core.validators import MAX_VALIDATORS, ValidatorSet

VALIDATORS_KEY: Final = b"chain/validators"
PROTOCOL_KEY: Final = b"chain/protocol"
MAX_LEAD_BLOCKS: Final = 100_000
"""How far ahead a change may be scheduled: as far as a transaction may expire (protocol rule 12)."""
MAX_SEATS_FIELD: Final = "max_seats_per_organisation"
"""Optional in the `application` part of a genesis document, on both tiers."""


class _Reader(Protocol):
    def get(self, key: bytes) -> bytes | None: ...


@dataclass(frozen=True, slots=True)
class ScheduledSet:
    """Signs from `effective_height` on."""

    effective_height: int
    validators: ValidatorSet


@dataclass(frozen=True, slots=True)
class Activation:
    """`version` holds from `height` on."""

    height: int
    version: int


def scheduled_set(state: _Reader, suite: Suite) -> ScheduledSet | None:
    """The change of validators that waits for its height, or None."""
    data = state.get(VALIDATORS_KEY)
    if data is None:
        return None
    document: dict[str, Any] = msgspec.json.decode(data)
    return ScheduledSet(document["effective_height"], ValidatorSet.from_json(document["validators"], suite))


def activations(state: _Reader) -> list[Activation]:
    """All activations since genesis, ascending; the last one may lie ahead."""
    data = state.get(PROTOCOL_KEY)
    return [] if data is None else msgspec.json.decode(data, type=dict[str, list[Activation]])["activations"]


def protocol_version(state: _Reader, genesis: Genesis, height: int) -> int:
    """The version that block `height` obeys; `state` is that after the block before, or earlier (G4)."""
    version = genesis.protocol_version
    for activation in activations(state):
        if activation.height <= height:
            version = activation.version
    return version


def check_supported(state: _Reader, genesis: Genesis, height: int, supported: Sequence[int]) -> None:
    """Raise `Unavailable('protocol_version_unsupported')` unless this software knows the rules of block `height`: the
    node stops before it could fork (attack C19).
    """
    version = protocol_version(state, genesis, height)
    if version not in supported:
        raise Unavailable(
            "protocol_version_unsupported",
            f"block {height} of {genesis.network} obeys protocol version {version}, this software supports "
            f"{', '.join(map(str, supported))}: install a version that supports it, and start the node again on the "
            "same data",
        )


def take_due_set(state: StateView, context: BlockContext) -> ValidatorSet:
    """The set that signs the height after this block; a scheduled one that is due leaves the schedule (G1) and enters
    the history of sets, under which later evidence about its heights is judged (`validator_history`).
    """
    scheduled = scheduled_set(state, context.genesis.suite)
    if scheduled is None or scheduled.effective_height != context.height + 1:
        return context.validators
    state.delete(VALIDATORS_KEY)
    record_set(state, context.height + 1, scheduled.validators, context.genesis.suite)
    return scheduled.validators


def schedule_validators(
    state: StateView, context: BlockContext, validators: ValidatorSet, effective_height: int, replaces: int | None
) -> None:
    """Let another set sign from `effective_height` on. `replaces`: effective height of the change to be replaced.

    Raises `RuleBroken` with `effective_height_out_of_range`, `validators_unchanged`, `validators_quorum_at_risk`,
    `validators_seats_exceeded`; `Conflict` with `change_pending`, `change_not_pending`.
    """
    check_lead(context, effective_height)
    pending = scheduled_set(state, context.genesis.suite)
    check_replaces(None if pending is None else pending.effective_height, replaces)
    if validators == context.validators:
        if replaces is not None:
            state.delete(VALIDATORS_KEY)
            return
        raise RuleBroken("validators_unchanged", "This set signs already.")
    check_succession(context.validators, validators)
    check_seats(validators, context.genesis.application.get(MAX_SEATS_FIELD))
    listed = validators.to_json(context.genesis.suite)
    state.put(VALIDATORS_KEY, canonical_json({"effective_height": effective_height, "validators": listed}))


def schedule_protocol(state: StateView, context: BlockContext, version: int, height: int, replaces: int | None) -> None:
    """Let the next protocol version hold from `height` on. `replaces`: height of the activation to be replaced.

    Raises `RuleBroken` with `effective_height_out_of_range`, `protocol_version_not_next`; `Conflict` with
    `change_pending`, `change_not_pending`.
    """
    check_lead(context, height)
    known = activations(state)
    past = [activation for activation in known if activation.height <= context.height]
    check_replaces(known[-1].height if len(known) > len(past) else None, replaces)
    withdraws = replaces is not None and version == context.protocol_version
    if version != context.protocol_version + 1 and not withdraws:
        raise RuleBroken(
            "protocol_version_not_next",
            "The next protocol version is the active one plus one.",
            active=context.protocol_version,
            version=version,
        )
    if not withdraws:
        past.append(Activation(height, version))
    if not past:
        state.delete(PROTOCOL_KEY)
        return
    entries = [{"height": activation.height, "version": activation.version} for activation in past]
    state.put(PROTOCOL_KEY, canonical_json({"activations": entries}))


def check_genesis_seats(genesis: Genesis) -> None:
    """Judge the optional limit of seats, and the genesis set by it. Raises `Malformed('genesis_application')`."""
    limit = genesis.application.get(MAX_SEATS_FIELD)
    if limit is None:
        return
    if type(limit) is not int or not 1 <= limit <= MAX_VALIDATORS:
        raise Malformed("genesis_application", f"{MAX_SEATS_FIELD} is a number of seats.", field=MAX_SEATS_FIELD)
    try:
        check_seats(genesis.validators, limit)
    except RuleBroken as broken:
        raise Malformed("genesis_application", broken.detail, field=MAX_SEATS_FIELD) from broken


def check_lead(context: BlockContext, height: int) -> None:
    """A change takes effect later, within the bound. Raises `RuleBroken('effective_height_out_of_range')`."""
    if not context.height < height <= context.height + MAX_LEAD_BLOCKS:
        raise RuleBroken(
            "effective_height_out_of_range",
            "A change takes effect at a later height, within the bound.",
            height=context.height,
            effective_height=height,
            max_lead=MAX_LEAD_BLOCKS,
        )


def check_replaces(pending: int | None, replaces: int | None) -> None:
    """A change takes the place of the one that it names, and of no other.

    Raises `Conflict` with `change_not_pending`, `change_pending`.
    """
    if replaces is not None and replaces != pending:
        raise Conflict("change_not_pending", "No change is scheduled for the height to be replaced.", replaces=replaces)
    if replaces is None and pending is not None:
        raise Conflict(
            "change_pending", "A change is scheduled already; name its height to replace it.", effective_height=pending
        )
