"""Makes tests/vectors/consensus_v1.json: `python -m tests.unit.consensus.golden`. New bytes are a new wire version.

Real Ed25519 with public test seeds; the block is empty, with digests that anybody can write down.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from common.consensus.messages import ConsensusMessage, NewView, PreparedCertificate, Proposal, Stage, ViewChange, Vote
from common.consensus.payloads import Payloads
from common.consensus.voice import Voice
from common.core.header import Header
from common.core.suite import ED25519_SHA256 as SUITE
from common.core.validators import Validator, ValidatorSet

PATH = Path(__file__).parents[2] / "vectors" / "consensus_v1.json"
GENESIS_ID = hashlib.sha256(b"genesis").digest()
NETWORK = "beijing"
SEEDS = tuple(number.to_bytes(32, "big") for number in range(1000, 1004))
VALIDATORS = ValidatorSet(
    tuple(Validator(f"node-{at}", "market", SUITE.public_key(seed)) for at, seed in enumerate(SEEDS))
)


def voices(height: int) -> list[Voice]:
    """The four test validators, ready to sign at a height."""
    made = [Voice(Payloads(SUITE, GENESIS_ID, NETWORK), seed) for seed in SEEDS]
    for at, voice in enumerate(made):
        voice.open_height(height, at)
    return made


def header(envelope_hash: bytes) -> Header:
    """A header of height 1 by member 1, the leader of view 0."""
    empty = SUITE.hash(b"")
    return Header(
        protocol_version=1,
        network=NETWORK,
        genesis_id=GENESIS_ID,
        height=1,
        time_ms=1_700_000_001_000,
        parent_id=GENESIS_ID,
        proposer=1,
        tx_root=SUITE.hash(b"\x00" + envelope_hash),
        tx_count=1,
        receipt_root=empty,
        receipt_count=0,
        snapshot_root=empty,
        snapshot_count=0,
        change_root=empty,
        change_count=0,
        state_root=empty,
        validators_hash=VALIDATORS.hash(SUITE),
        next_validators_hash=VALIDATORS.hash(SUITE),
    )


def messages() -> dict[str, ConsensusMessage]:
    """A height at which view 0 prepares, and view 1 repeats the block."""
    envelope_hash = SUITE.hash(b"an envelope")
    members, head = voices(1), header(SUITE.hash(b"an envelope"))
    block_id = head.id(SUITE)
    proposal = members[1].proposal(0, head, (envelope_hash,))
    prepares = [members[at].vote(Stage.PREPARE, 0, block_id) for at in (0, 1, 2)]
    certificate = PreparedCertificate(1, 0, block_id, tuple((vote.signer, vote.signature) for vote in prepares))
    commit = members[0].vote(Stage.COMMIT, 0, block_id)
    changes = (members[0].view_change(1, certificate), members[2].view_change(1, None), members[3].view_change(1, None))
    new_view = members[2].new_view(1, changes, head, (envelope_hash,))
    made: dict[str, Proposal | Vote | ViewChange | NewView] = {
        "proposal of member 1 in view 0": proposal,
        "PREPARE of member 0": prepares[0],
        "COMMIT of member 0": commit,
        "VIEW-CHANGE of member 2 to view 1, nothing prepared": changes[1],
        "VIEW-CHANGE of member 0 to view 1, block prepared in view 0": changes[0],
        "NEW-VIEW of member 2, repeating the block": new_view,
    }
    return made


def document() -> dict[str, Any]:
    """The vector file."""
    return {
        "provenance": "made by tests/unit/consensus/golden.py with public test seeds; Ed25519 and SHA-256",
        "genesis_id": GENESIS_ID.hex(),
        "network": NETWORK,
        "seeds": [seed.hex() for seed in SEEDS],
        "block_id": header(SUITE.hash(b"an envelope")).id(SUITE).hex(),
        "messages": [
            {
                "name": name,
                "wire": message.encode().hex(),
                "signed": message.payload(SUITE, GENESIS_ID, NETWORK).hex(),
            }
            for name, message in messages().items()
        ],
    }


if __name__ == "__main__":
    PATH.write_text(json.dumps(document(), indent=1) + "\n", encoding="utf-8")
