"""Serves the real HTTP application of a `Solo` node on a loopback port, in a thread with an event loop of its own."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx
import uvicorn
from fastapi import APIRouter

from common.node.access import SCOPED, Role, TokenStore, issue_token
from common.node.http.app import create_app
from common.node.http.edge import HttpLimits
from tests.api.solo import Solo

START_S = 20
Answer = TypeVar("Answer")


class LiveServer:
    """One node behind uvicorn. Use as a context manager."""

    def __init__(
        self,
        directory: Path,
        *,
        limits: HttpLimits | None = None,
        routers: tuple[APIRouter, ...] = (),
        max_streams: int = 5,
        **server: Any,
    ) -> None:
        self.tokens_file = directory / "tokens.json"
        self.tokens = {
            str(role): issue_token(
                self.tokens_file,
                subject=f"test-{role}",
                organisation="tests",
                role=role,
                regions=["nowhere"] if role in SCOPED else None,
            ).secret
            for role in Role
        }
        self._limits = limits
        self._routers = routers
        self._max_streams = max_streams
        self._options = {
            "http": "httptools",
            "log_config": None,
            "access_log": False,
            "server_header": False,
            "lifespan": "off",
        } | server
        # A socket that names its protocol: asyncio switches Nagle's algorithm off for such sockets only.
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.listen(512)
        self.port = int(self._socket.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    async def _serve(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.node = Solo()
        app = create_app(
            self.node,
            tokens=TokenStore(self.tokens_file),
            limits=self._limits,
            routers=self._routers,
            max_streams=self._max_streams,
        )
        self.app = app
        self._server = uvicorn.Server(uvicorn.Config(app, **self._options))
        self._started.set()
        await self._server.serve(sockets=[self._socket])
        self.node.close()

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._started.wait(START_S):
            raise TimeoutError("the server did not start")
        for _ in range(200):
            try:
                if httpx.get(self.url + "/healthz", trust_env=False, verify=False).status_code == 200:
                    return self
            except httpx.TransportError:
                threading.Event().wait(0.02)
        raise TimeoutError("the server does not answer")

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._server.force_exit = True
        self._thread.join(START_S)

    def call(self, action: Callable[[Solo], Answer]) -> Answer:
        """Run something on the node's event loop and wait for it."""

        async def run() -> Answer:
            return action(self.node)

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(START_S)

    def client(self, role: str | None = "operator", **headers: str) -> httpx.Client:
        """A client with the token of a role, or without any."""
        if role is not None:
            headers = {"Authorization": f"Bearer {self.tokens[role]}"} | headers
        return httpx.Client(base_url=self.url, headers=headers, timeout=15.0, trust_env=False, verify=False)

    def raw(self, data: bytes, *, until: bytes = b"", timeout_s: float = 10.0) -> bytes:
        """Send bytes on a fresh connection; everything that comes back until the server closes (or `until` is seen)."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout_s) as connection:
            connection.sendall(data)
            answer = b""
            while not (until and until in answer):
                part = connection.recv(65536)
                if not part:
                    break
                answer += part
            return answer
