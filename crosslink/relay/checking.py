"""Every page is checked with the light client before anything of it is submitted (attack R10). Pure.

Invariants:
  C1  A block passes only if the custody validators would accept it in the state the custody chain is in: same code,
      same rules.
  C2  Of a page that is wrong somewhere the part before the fault is kept; the rest is the node's fault, never
      submitted.
  C3  A block without snapshots is delivered whatever its snapshot root: what the validators certified is the custody
      chain's to judge, and the relay must not stand in its way (protocol rule 16).
  C4  A certified contradiction (misbehaviour) is not a lie of the node: it is reported to the custody chain (attack
      R3).

Left out: which node to ask instead (`node_pool`).
"""

from __future__ import annotations

from dataclasses import dataclass

from common.core.errors import Rejected
from crosslink.lightclient.client_state import ClientState
from crosslink.lightclient.messages import HeaderMessage
from crosslink.lightclient.port import client_for
from crosslink.lightclient.verify import Verdict, verify_snapshots
from crosslink.relay.planner import FetchedBlock
from crosslink.relay.ports import ServedBlock


@dataclass(frozen=True, slots=True)
class Checked:
    """`blocks` passed and `state` is after them. `fault`: the refusal that ended the page; `conflict`: proven
    misbehaviour."""

    blocks: tuple[FetchedBlock, ...]
    state: ClientState
    fault: Rejected | None = None
    conflict: FetchedBlock | None = None


def check_blocks(state: ClientState, blocks: tuple[ServedBlock, ...], due_height: int, now_ms: int) -> Checked:
    """Verify consecutive blocks from `due_height` on against `state` (whose tip is due_height - 1, or due_height itself
    when that block is partly delivered)."""
    passed: list[FetchedBlock] = []
    for served in blocks:
        try:
            block, verdict, following = _check_one(state, served, due_height + len(passed), now_ms)
        except Rejected as refusal:
            return Checked(tuple(passed), state, fault=refusal)
        if verdict is Verdict.CONFLICTING:
            return Checked(tuple(passed), state, conflict=block)
        passed.append(block)
        state = following
    return Checked(tuple(passed), state)


def _check_one(
    state: ClientState, served: ServedBlock, due_height: int, now_ms: int
) -> tuple[FetchedBlock, Verdict, ClientState]:
    client = client_for(state.client_type)
    message: HeaderMessage = client.decode(served.header, served.certificate, served.validators)
    header = message.header
    if header.height != due_height or served.height != due_height:
        raise Rejected("wrong_height", "The node served another height than was asked for.", height=due_height)
    verified = client.verify(state, message, now_ms=now_ms)
    block = FetchedBlock(
        height=header.height,
        block_id=verified.block_id,
        time_ms=header.time_ms,
        header=served.header,
        certificate=served.certificate,
        next_validators=served.validators,
        snapshots=served.snapshots,
    )
    if verified.verdict is Verdict.CONFLICTING:
        return block, verified.verdict, state
    if header.snapshot_count or served.snapshots:
        verify_snapshots(state.algorithms, header, 0, served.snapshots)
    return block, verified.verdict, client.update(state, verified)
