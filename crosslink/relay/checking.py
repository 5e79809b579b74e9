"""Every page is checked with the light client before anything of it is submitted (attack R10). Pure.

Invariants:
  C1  A block passes only if the custody validators would accept it in the state the custody chain is in: same code,
      same rules.
  C2  Of a page that is wrong somewhere the part before the fault is kept; the rest is the node's fault, never
      submitted.
  C3  A block that commits to no snapshot is delivered, also where that contradicts itself: what the validators
      certified is the custody chain's to judge, and the relay must not stand in its way (protocol rule 16).
  C4  A certified contradiction (misbehaviour) is not a lie of the node: it is reported to the custody chain (attack
      R3).

Left out: which node to ask instead (`node_pool`).
"""

from __future__ import annotations

from dataclasses import dataclass

from common.core.errors import ProofInvalid, Rejected
from crosslink.lightclient.client_state import ClientState
from crosslink.lightclient.client_types import client_for
from crosslink.lightclient.port import Verdict, Verified
from crosslink.lightclient.reading import ServedBlock
from crosslink.lightclient.update import update
from crosslink.lightclient.verify import verify
from crosslink.relay.planner import FetchedBlock


@dataclass(frozen=True, slots=True)
class Checked:
    """`blocks` passed and `state` is after them. `fault`: the refusal that ended the page; `conflict`: proven
    misbehaviour."""

    blocks: tuple[FetchedBlock, ...]
    state: ClientState
    fault: Rejected | None = None
    conflict: FetchedBlock | None = None


def check_blocks(
    state: ClientState, blocks: tuple[ServedBlock, ...], now_ms: int, *, tip_is_due: bool = False
) -> Checked:
    """Verify successive blocks against `state`: the first stands on its tip, or is the tip itself if that is due, being
    partly delivered."""
    passed: list[FetchedBlock] = []
    for served in blocks:
        try:
            fetched, verified = _check_one(state, served, now_ms, tip_is_due=tip_is_due and not passed)
        except Rejected as refusal:
            return Checked(tuple(passed), state, fault=refusal)
        if verified.verdict is Verdict.CONFLICTING:
            return Checked(tuple(passed), state, conflict=fetched)
        passed.append(fetched)
        state = update(state, verified)
    return Checked(tuple(passed), state)


def _check_one(
    state: ClientState, served: ServedBlock, now_ms: int, *, tip_is_due: bool
) -> tuple[FetchedBlock, Verified]:
    verified = verify(state, served.header, now_ms=now_ms)
    block = verified.block
    if (verified.verdict is Verdict.KNOWN) is not tip_is_due and verified.verdict is not Verdict.CONFLICTING:
        raise Rejected("wrong_height", "The node served another block than was asked for.", height=block.height)
    if verified.verdict is not Verdict.CONFLICTING:
        client = client_for(state.client_type)
        delivered = client.verify_objects(block.commitments, 0, served.snapshots, None)
        if not delivered.complete:
            raise ProofInvalid("snapshots_missing", "The node left out snapshots of the block.", height=block.height)
    return FetchedBlock(block, served.header, served.snapshots), verified
