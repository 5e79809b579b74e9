"""One node as a process: open, wire, serve until told to stop.

    settings ─ data (`startup`) ─ Node ─ Runtime ─ PeerTransport
                                      └─ NodeService ─ HTTP application ─ HttpServer

Invariants:
  M1  The process ends with code 0 after SIGTERM or SIGINT, within five seconds; with code 1 and one critical line if it
      could not start or had to stop (attacks S2, S5).
  M2  A listener that cannot be bound, a key that cannot be read, data that fails its checks: nothing is started.
  M3  One thread runs all logic; two wait for the disk, another for bodies off the chain; name look-ups use the event
      loop's own.

Leaves out: which tier this is: the tier passes its application and routes in.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import signal
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import uvloop

from common.chain.application import Application
from common.chain.schedule import check_supported
from common.core.errors import InvariantBroken, Rejected
from common.core.genesis import Genesis
from common.core.protocol import supported_versions
from common.core.suite import Suite
from common.node import allocator, wall_clock
from common.node.access import TokenStore
from common.node.bodies.body_exchange import BodyExchange
from common.node.bodies.body_keeper import BodyKeeper, SealedBodies
from common.node.bodies.body_store import BODIES_DIRECTORY, BodyRoom, BodyStore
from common.node.genesis_file import read_genesis
from common.node.http.app import create_app
from common.node.http.body_routes import body_router
from common.node.http.edge import HttpLimits
from common.node.http.server import HttpServer
from common.node.logic.node import Node
from common.node.logic.node_status import NodeLimits
from common.node.logs import configure_logging
from common.node.peer.hello import ChannelIdentity
from common.node.peer.listener import bind
from common.node.peer.tls import ApiTls, PeerTls
from common.node.peer.transport import PeerTransport
from common.node.runtime import Runtime
from common.node.self_check import SelfCheck
from common.node.service import NodeService
from common.node.settings import NodeSettings
from common.node.startup import (
    Opened,
    check_certificates,
    load_identity,
    members,
    open_data,
    raise_descriptor_limit,
)
from common.node.store import fault_points
from common.node.store.committed_state import CommittedState
from common.node.store.store_errors import DamagedStore, StoreFailed
from common.node.upkeep.checkpoint_store import CHECKPOINTS_DIRECTORY, CheckpointFiles, CheckpointMaker
from common.node.wall_clock import wall_clock_ms

if TYPE_CHECKING:
    from fastapi import APIRouter

ApplicationFactory = Callable[[Genesis], Application]
"""A tier's rules for one genesis document. Raises Rejected if the document is not of this tier."""
RouterFactory = Callable[[NodeService], "Sequence[APIRouter]"]
"""A tier's routes over a running node."""

GC_THRESHOLDS = (20_000, 20, 50)
"""Young objects of a block die by reference counts; rarer collections save a tenth of the time of a step."""

_log = logging.getLogger("tongjian.node")


def run_node(settings: NodeSettings, application_factory: ApplicationFactory, router_factory: RouterFactory) -> None:
    """Run one node until SIGTERM or SIGINT. Raises SystemExit(1) if it cannot start or has to stop (M1)."""
    allocator.limit_free_memory()
    configure_logging(settings.log.level, settings.log.file)
    reason: str | None
    try:
        fault_points.arm_from_environment()
        wall_clock.set_from_environment()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            reason = runner.run(_run(settings, application_factory, router_factory))
    except (Rejected, InvariantBroken, OSError) as error:
        reason = str(error)
        _log.critical("the node cannot start", extra={"node": settings.name} | cause(error))
    if reason is not None:
        raise SystemExit(1)


def cause(error: Rejected | InvariantBroken | OSError) -> dict[str, str]:
    """Why a node cannot start: a stable code, and one sentence with the file or port and the remedy."""
    if isinstance(error, Rejected):
        return {"code": error.code, "detail": error.detail}
    if isinstance(error, StoreFailed | DamagedStore):
        return {"code": error.code, "detail": str(error)}
    if isinstance(error, OSError):
        return {"code": "file_unusable", "detail": f"{error.filename or 'a file'}: {error.strerror or error}"}
    return {"code": "invariant_broken", "detail": str(error)}


async def _run(
    settings: NodeSettings, application_factory: ApplicationFactory, router_factory: RouterFactory
) -> str | None:
    """Start, wait, stop. Returns why the node had to stop, None if it was told to."""
    raise_descriptor_limit(settings.limits.http_connections)
    check_certificates(settings, wall_clock_ms())
    genesis = read_genesis(settings.genesis_file)
    application = application_factory(genesis)
    opened = open_data(settings.data_dir, genesis, application, past_proofs=settings.storage.past_proofs)
    try:
        check_supported(CommittedState(opened.chain), genesis, opened.chain.tip().height + 1, supported_versions())
        process = NodeProcess(settings, opened, application, router_factory)
        await process.start()
        try:
            return await process.until_stopped()
        finally:
            await process.stop()
    finally:
        opened.close()


def _node_limits(settings: NodeSettings) -> NodeLimits:
    limits = settings.limits
    return NodeLimits(
        mempool_transactions=limits.mempool_transactions,
        mempool_bytes=limits.mempool_bytes,
        mempool_signer_transactions=limits.mempool_signer_transactions,
        checkpoint_blocks=settings.storage.checkpoint_blocks,
    )


class NodeProcess:
    """Everything that lives between start and stop, for one event loop."""

    def __init__(
        self, settings: NodeSettings, opened: Opened, application: Application, router_factory: RouterFactory
    ) -> None:
        chain, genesis, limits = opened.chain, opened.chain.genesis, settings.limits
        key = load_identity(settings, chain)
        self._settings = settings
        self._chain = chain
        self.service = NodeService(chain, application)
        self._bodies: BodyKeeper | None = None
        if isinstance(application, SealedBodies):
            room = BodyRoom(settings.storage.bodies, settings.storage.bodies_mib << 20)
            store = BodyStore(settings.data_dir / BODIES_DIRECTORY, genesis.suite, room)
            self._bodies = BodyKeeper(store, application, self.service, wall_clock_ms)
        checkpoints = CheckpointFiles(settings.data_dir / CHECKPOINTS_DIRECTORY, genesis.suite)
        node = Node(
            genesis=genesis,
            application=application,
            chain=chain,
            seed=key.seed,
            recovered=opened.votes.recovered,
            limits=_node_limits(settings),
            stopwatch=time.thread_time_ns,
            may_vote=opened.may_vote,
            abstain_through_height=opened.abstain_through_height,
            checkpoints=checkpoints,
        )
        self._maker = CheckpointMaker(checkpoints)
        self.runtime = Runtime(
            node,
            opened.store,
            opened.votes,
            self.service,
            wall_clock_ms,
            lambda: members(chain),
            self._maker.make,
        )
        self._exchange = None if self._bodies is None else self._exchange_over(self._bodies, genesis.suite)
        self.transport = PeerTransport(
            ChannelIdentity(genesis.suite, genesis.id, genesis.network, key.seed, key.public_key),
            settings.peer,
            settings.peers,
            limits,
            PeerTls(settings.peer.certificate_file, settings.peer.private_key_file, settings.peer.ca_file),
            self._exchange or self.runtime,
            wall_clock_ms,
            random.Random(),
        )
        numbers = dict if self._bodies is None else self._bodies.numbers
        self.service.attach(node, self.runtime, self.transport, SelfCheck(settings, wall_clock_ms), numbers)
        app = create_app(
            self.service,
            tokens=TokenStore(settings.api.tokens_file),
            routers=[*router_factory(self.service), *([] if self._bodies is None else [body_router(self._bodies)])],
            limits=HttpLimits(
                body_timeout_ms=limits.http_body_timeout_ms,
                bodies_bytes=limits.http_bodies_bytes,
                answers_bytes=limits.http_answers_bytes,
            ),
        )
        self.http = HttpServer(
            app,
            bind(settings.api.host, settings.api.port),
            ApiTls(settings.api.certificate_file, settings.api.private_key_file),
            limits,
            app.edge.at_once,
        )
        self._told_to_stop = asyncio.Event()

    def _exchange_over(self, bodies: BodyKeeper, suite: Suite) -> BodyExchange:
        return BodyExchange(
            self.runtime, suite, bodies.size_of, bodies.part, bodies.in_thread, wall_clock_ms, self.service.warned
        )

    async def start(self) -> None:
        """Take part."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._told_to_stop.set)
        self.runtime.start(self.transport)
        self.transport.start()
        if self._bodies is not None and self._exchange is not None:
            self._exchange.start(self.transport.send)
            self._bodies.start(self._exchange.fetch)
        await self.http.start()
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        genesis = self._chain.genesis
        _log.info(
            "node started",
            extra={
                "node": self._settings.name,
                "network": genesis.network,
                "genesis": genesis.id.hex(),
                "height": self._chain.tip().height,
                "api_port": self.http.listener.port,
                "peer_port": self.transport.listener.port,
            },
        )

    async def until_stopped(self) -> str | None:
        """Wait for a signal (None) or for a failure (its reason)."""
        told = asyncio.ensure_future(self._told_to_stop.wait())
        await asyncio.wait((told, self.runtime.failed), return_when=asyncio.FIRST_COMPLETED)
        told.cancel()
        return self.runtime.failed.result() if self.runtime.failed.done() else None

    async def stop(self) -> None:
        """Answer who waits, say goodbye to peers, finish what the disk is doing."""
        began = time.monotonic()
        self.service.close()
        await self.runtime.stop()
        await asyncio.gather(self.http.close(), self.transport.close())
        if self._bodies is not None and self._exchange is not None:
            self._exchange.stop()
            await self._bodies.stop()
        self._maker.close()
        _log.info(
            "node stopped",
            extra={
                "node": self._settings.name,
                "height": self._chain.tip().height,
                "stopping_ms": int((time.monotonic() - began) * 1000),
            },
        )
