"""What a healthy node of a chain of four knows of itself; tests change what they are about."""

from __future__ import annotations

from typing import Any

import msgspec

from common.node.diagnosis.self_judgement import NodeFacts, PeerFacts

NAMES = tuple(f"beijing-{number}" for number in range(1, 5))


def healthy_peer(name: str, **changes: Any) -> PeerFacts:
    """A connected validator."""
    peer = PeerFacts(
        name=name,
        organisation=f"of-{name}",
        member=True,
        connected=True,
        height=100,
        view=0,
        silent_ms=300,
        round_trip_ms=1,
        clock_offset_ms=3,
    )
    return msgspec.structs.replace(peer, **changes)


def healthy_facts(name: str = NAMES[0], **changes: Any) -> NodeFacts:
    """One of four validators, all well."""
    facts = NodeFacts(
        name=name,
        network="beijing",
        version="1.0.0",
        protocol_version=1,
        clock_ms=1_700_000_000_000,
        height=100,
        view=0,
        recent_views=[0] * 8,
        quorum=3,
        member=name,
        voting=True,
        ready=True,
        short=False,
        stalled=False,
        level=True,
        validators=[(other, f"of-{other}") for other in NAMES],
        peers=[healthy_peer(other) for other in NAMES if other != name],
        free_bytes=50 << 30,
        low_space_bytes=1 << 30,
        sync_us=200,
        certificates={"api": 800, "peer": 800, "peer_ca": 3000},
    )
    return msgspec.structs.replace(facts, **changes)
