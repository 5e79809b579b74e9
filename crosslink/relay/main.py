"""The relay's process: settings, one worker a region, the status interface, an orderly end.

Invariants:
  * Workers share the custody connection and the board, nothing else; one that fails waits and goes on by itself.
  * SIGTERM or SIGINT ends within seconds, whatever is under way: nothing needs to be saved (attack R9).
  * Idle, the process wakes only for answers to its long polls.

Left out: what workers do (`worker`).
"""

from __future__ import annotations

import asyncio
import logging
import random
import signal
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import uvloop

from common.core.errors import Malformed
from common.node import allocator
from common.node.access import TokenStore
from common.node.http.server import HttpServer
from common.node.keys import load_key_file
from common.node.logs import configure_logging
from common.node.peer.listener import bind
from common.node.peer.tls import ApiTls
from common.node.settings import LimitSettings
from crosslink.relay.api import create_relay_app, status_document
from crosslink.relay.body_watch import BodyWatch
from crosslink.relay.http_custody import HttpCustody
from crosslink.relay.http_source import HttpRegionSource
from crosslink.relay.node_http import Connection, tls_context
from crosslink.relay.progress import Board, RelayMetrics
from crosslink.relay.settings import RelaySettings, load_relay_settings
from crosslink.relay.worker import Pace, RegionWorker

_log = logging.getLogger("tongjian.relay")


class SystemClock:
    """Implements `ports.Clock` with the machine's clock."""

    def now_ms(self) -> int:
        """Milliseconds since the Unix epoch."""
        return time.time_ns() // 1_000_000

    def elapsed_ms(self) -> int:
        """Milliseconds since the machine's start, whatever the clock is set to."""
        return time.monotonic_ns() // 1_000_000

    async def sleep(self, delay_ms: int) -> None:
        """Wait."""
        await asyncio.sleep(delay_ms / 1000)


class Relay:
    """All parts of one relay. `start`, then `stop`. `address` is where the status interface listens."""

    def __init__(self, settings: RelaySettings) -> None:
        """Raises `Rejected` kinds for unusable keys, tokens and certificates, or a port that cannot be bound."""
        clock, context = SystemClock(), tls_context(settings.ca_file)
        key = load_key_file(settings.key_file, settings.passphrase_file)
        custody_connection = Connection(context, settings.custody.token_file)
        self._connections = [custody_connection]
        self._custody = HttpCustody(
            settings.custody.network, list(settings.custody.nodes), custody_connection, key, clock
        )
        self._board, self._metrics = Board(), RelayMetrics()
        self._sources: dict[str, HttpRegionSource] = {}
        self._watch = BodyWatch(self._sources, clock, self._board, self._metrics)
        self._workers: list[RegionWorker] = []
        pace = Pace(**settings.pace.model_dump())
        # Not for secrets: it only spreads the retries of several relays.
        jitter = random.Random().random
        for region in settings.regions:
            connection = Connection(context, region.token_file)
            self._connections.append(connection)
            source = HttpRegionSource(list(region.nodes), connection, clock)
            self._sources[region.network] = source
            self._workers.append(
                RegionWorker(
                    region.network,
                    source,
                    self._custody,
                    clock,
                    self._board,
                    self._metrics,
                    jitter,
                    pace,
                    self._watch.delivered,
                )
            )
        tokens = TokenStore(settings.api.tokens_file) if settings.api.tokens_file else None
        app = create_relay_app(self._status, self._metrics, tokens)
        tls = ApiTls(settings.api.certificate_file, settings.api.private_key_file)
        listening = bind(settings.api.host, settings.api.port)
        self.address: tuple[str, int] = listening.getsockname()[:2]
        self._server = HttpServer(app, listening, tls, LimitSettings())
        self._tasks: list[asyncio.Task[None]] = []

    def _status(self) -> dict[str, Any]:
        return status_document(self._board, lambda name: self._sources[name].describe(), self._custody.describe())

    async def start(self) -> None:
        """Serve the status and set the workers to work."""
        await self._server.start()
        self._tasks = [asyncio.create_task(worker.run()) for worker in self._workers]
        self._tasks.append(asyncio.create_task(self._watch.run()))
        _log.info("relay started", extra={"regions": sorted(self._sources)})

    async def stop(self) -> None:
        """End everything; what was under way is taken up again by whichever relay comes next."""
        for task in self._tasks:
            task.cancel()
        async with AsyncExitStack() as stack:
            for connection in self._connections:
                stack.push_async_callback(connection.close)
            stack.push_async_callback(self._server.close)
            await asyncio.gather(*self._tasks, return_exceptions=True)
        _log.info("relay stopped")


async def _serve(settings: RelaySettings) -> None:
    relay = Relay(settings)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    await relay.start()
    try:
        await ended.wait()
    finally:
        await relay.stop()


def run_relay(config: Path) -> None:
    """Run the relay that a settings file describes until SIGTERM or SIGINT.

    Raises `SettingsError` or another `Rejected` kind before anything is started (`port_in_use` if the status port is
    taken), `Malformed('relay_cannot_start')` if the log file cannot be opened.
    """
    settings = load_relay_settings(Path(config))
    allocator.limit_free_memory()
    try:
        configure_logging(settings.log.level, settings.log.file)
        uvloop.run(_serve(settings))
    except OSError as error:
        raise Malformed("relay_cannot_start", str(error)) from error
