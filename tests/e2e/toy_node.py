"""One node of the toy chain as a process: `python -m tests.e2e.toy_node node.toml`.

TOY_TAP names a file to which it writes every consensus message that it gets, one JSON list a line, for
`tests.support.signed`. TOY_VOTE_LOG_BYTES makes it replace its vote log above that size.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from common.consensus.messages import decode_message
from common.core.errors import Rejected
from common.node.logic.node_events import PeerKey
from common.node.logic.wire.peer_messages import Consensus, decode_payload
from common.node.main import run_node
from common.node.runtime import Runtime
from common.node.settings import load_settings
from common.node.store import vote_log
from tests.support.signed import described
from tests.unit.node.toy import ToyApplication


def noted(payload: bytes) -> list[object] | None:
    """What a peer's payload says, if it is a consensus message (`tests.support.signed`); None for anything else."""
    try:
        carrier = decode_payload(payload)
        return described(decode_message(carrier.message)) if isinstance(carrier, Consensus) else None
    except Rejected:
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
