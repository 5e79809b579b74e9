"""One node of the toy chain as a process: `python -m tests.e2e.toy_node node.toml`.

TOY_TAP names a file to which it writes every consensus message that it gets, one JSON list a line (`signed.py` reads
them back). TOY_VOTE_LOG_BYTES makes it replace its vote log above that size.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from common.consensus.messages import NewView, Proposal, ViewChange, Vote, decode_message
from common.core.errors import Rejected
from common.node import vote_log
from common.node.main import run_node
from common.node.node_events import PeerKey
from common.node.peer_messages import Consensus, decode_payload
from common.node.runtime import Runtime
from common.node.settings import load_settings
from tests.unit.node.toy import SUITE, ToyApplication


def noted(payload: bytes) -> list[object] | None:
    """[kind, signer, height, view, what] of a consensus message; None for anything else."""
    try:
        payload_message = decode_payload(payload)
        message = decode_message(payload_message.message) if isinstance(payload_message, Consensus) else None
    except Rejected:
        return None
    match message:
        case Vote():
            return [message.phase.name, message.voter, message.height, message.view, message.block_id.hex()]
        case Proposal():
            return ["PROPOSAL", message.leader, message.height, message.view, message.header.id(SUITE).hex()]
        case NewView():
            proposal = message.proposal
            return ["PROPOSAL", message.leader, message.height, message.view, proposal.header.id(SUITE).hex()]
        case ViewChange():
            prepared = None if message.prepared is None else message.prepared.view
            return ["VIEW_CHANGE", message.voter, message.height, message.view, prepared]
    return None


def tap(path: str) -> None:
    """Write down what peers send from now on; each line is out before the message counts."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    take = Runtime.peer_message

    def peer_message(self: Runtime, peer: PeerKey, payload: bytes, member: bool) -> None:
        line = noted(payload)
        if line is not None:
            os.write(file, json.dumps(line).encode() + b"\n")
        take(self, peer, payload, member)

    Runtime.peer_message = peer_message


if __name__ == "__main__":
    if "TOY_TAP" in os.environ:
        tap(os.environ["TOY_TAP"])
    vote_log.COMPACT_ABOVE_BYTES = int(os.environ.get("TOY_VOTE_LOG_BYTES", vote_log.COMPACT_ABOVE_BYTES))
    run_node(load_settings(Path(sys.argv[1])), lambda genesis: ToyApplication(), lambda service: [])
