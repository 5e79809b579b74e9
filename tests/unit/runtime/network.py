"""Transports of several nodes on loopback, with a recorder in the node's place."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from common.core.suite import ED25519_SHA256
from common.node.logic.node_events import PeerKey
from common.node.peer.certificates import Authority, create_authority, issue_certificate
from common.node.peer.hello import ChannelIdentity
from common.node.peer.tls import PeerTls
from common.node.peer.transport import PeerHandler, PeerTransport
from common.node.settings import LimitSettings, PeerAddress, PeerSettings

GENESIS_ID = bytes(range(32))
NETWORK = "beijing"


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def seed_of(number: int) -> bytes:
    return bytes([number]) * 32


def key_of(number: int) -> PeerKey:
    return ED25519_SHA256.public_key(seed_of(number))


def identity_of(number: int, *, genesis_id: bytes = GENESIS_ID, network: str = NETWORK) -> ChannelIdentity:
    return ChannelIdentity(ED25519_SHA256, genesis_id, network, seed_of(number), key_of(number))


@dataclass
class Recorder:
    """Takes the node's place behind a transport."""

    members: dict[str, PeerKey]
    events: list[tuple[str, PeerKey, bytes]] = field(default_factory=list)

    def peer_keys(self) -> frozenset[PeerKey]:
        return frozenset(self.members.values())

    def key_named(self, name: str) -> PeerKey | None:
        return self.members.get(name)

    def greeting_for(self, peer: PeerKey) -> bytes:
        return b"greeting for " + peer[:4]

    def peer_connected(self, peer: PeerKey, greeting: bytes) -> None:
        self.events.append(("connected", peer, greeting))

    def peer_disconnected(self, peer: PeerKey) -> None:
        self.events.append(("disconnected", peer, b""))

    def peer_message(self, peer: PeerKey, payload: bytes, member: bool) -> None:
        self.events.append(("message" if member else "observer", peer, payload))

    def payloads(self, kind: str = "message") -> list[bytes]:
        return [payload for event, _, payload in self.events if event == kind]


class Site:
    """One authority and the certificates that tests need."""

    def __init__(self, directory: Path, name: str = "ca") -> None:
        self.directory = directory
        self.ca_file = directory / f"{name}.crt"
        self.authority: Authority = create_authority(
            self.ca_file, directory / f"{name}.key", name=name, organisation="test", now_ms=now_ms()
        )

    def certificate(self, name: str) -> tuple[Path, Path]:
        files = self.directory / f"{name}.crt", self.directory / f"{name}.key"
        issue_certificate(self.authority, *files, name=name, organisation="test", hosts=["127.0.0.1"], now_ms=now_ms())
        return files

    def tls(self, name: str) -> PeerTls:
        return PeerTls(*self.certificate(name), self.ca_file)

    def transport(
        self,
        number: int,
        recorder: PeerHandler,
        peers: dict[str, int] | None = None,
        *,
        identity: ChannelIdentity | None = None,
        limits: LimitSettings | None = None,
    ) -> PeerTransport:
        name = f"node-{number}"
        certificate_file, private_key_file = self.certificate(name)
        settings = PeerSettings(
            host="127.0.0.1",
            port=0,
            certificate_file=certificate_file,
            private_key_file=private_key_file,
            ca_file=self.ca_file,
        )
        addresses = tuple(PeerAddress(name=peer, host="127.0.0.1", port=port) for peer, port in (peers or {}).items())
        return PeerTransport(
            identity or identity_of(number),
            settings,
            addresses,
            limits or LimitSettings(handshake_timeout_ms=2_000),
            PeerTls(certificate_file, private_key_file, self.ca_file),
            recorder,
            now_ms,
            random.Random(number),
        )


async def until(condition: Callable[[], bool], timeout_s: float = 5.0) -> None:
    """Wait until `condition` holds; fails the test otherwise."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("the condition did not come true in time")
        await asyncio.sleep(0.005)
