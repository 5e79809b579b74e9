"""Transports that run for a test's while, and a peer that speaks TLS honestly and all else as a test wants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from common.node.peer.frames import FrameType, encode_frame
from common.node.peer.hello import ChannelBinding, ChannelIdentity, ChannelRole, Side, make_hello
from common.node.peer.transport import PeerTransport
from common.node.settings import LimitSettings
from tests.unit.runtime.network import Site, identity_of, key_of, now_ms

MEMBERS = {f"node-{number}": key_of(number) for number in (1, 2, 3, 4)}
QUICK = LimitSettings(handshake_timeout_ms=400, keepalive_ms=100, idle_timeout_ms=300)


@asynccontextmanager
async def started(*transports: PeerTransport) -> AsyncIterator[None]:
    for transport in transports:
        transport.start()
    try:
        yield
    finally:
        for transport in transports:
            await transport.close()


class RawPeer:
    """A peer that speaks TLS honestly and everything else as a test wants."""

    def __init__(self, site: Site, port: int, name: str = "raw") -> None:
        self._tls = site.tls(name)
        self._port = port
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter
        self.binding: ChannelBinding

    async def __aenter__(self) -> RawPeer:
        contexts = self._tls.current()
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self._port, ssl=contexts.dialler)
        certificate = self.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        self.binding = ChannelBinding(Side.DIALLER, contexts.certificate, certificate)
        return self

    async def __aexit__(self, *error: object) -> None:
        self.writer.close()

    def send(self, kind: FrameType, payload: bytes) -> None:
        self.writer.write(encode_frame(kind, payload))

    def hello(self, identity: ChannelIdentity) -> None:
        self.send(FrameType.HELLO, make_hello(identity, self.binding, ChannelRole.VALIDATOR, now_ms()))

    def greet(self, number: int) -> None:
        """Say hello as the validator of this number, and whatever a node says after it."""
        self.hello(identity_of(number))
        self.send(FrameType.GREETING, b"")

    async def read(self) -> tuple[FrameType, bytes]:
        header = await self.reader.readexactly(5)
        payload = await self.reader.readexactly(int.from_bytes(header[:4], "big"))
        return FrameType(header[4]), payload

    async def refusal(self) -> str:
        """Read until the refusal; its code."""
        while True:
            kind, payload = await asyncio.wait_for(self.read(), 3)
            if kind is FrameType.REFUSAL:
                return payload.decode("ascii")


async def hung_up(peer: RawPeer, timeout_s: float) -> bool:
    """Whether the other end closes the socket, whatever it says before."""
    try:
        await asyncio.wait_for(peer.reader.read(-1), timeout_s)
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return True


def redirect(transport: PeerTransport, port: int) -> None:
    """Point the only configured peer of a transport to another port."""
    (dialler,) = transport.diallers
    dialler.address = dialler.address.model_copy(update={"port": port})
