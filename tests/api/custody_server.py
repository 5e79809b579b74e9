"""A custody chain behind real HTTP: two regions with holders, alerts and an anomaly, and tokens with a region scope."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
import uvicorn

from common.node.access import TokenStore, issue_token
from common.node.http.app import create_app
from custody_chain.audit_log import AuditLog
from custody_chain.routes import routers
from tests.api.server import LiveServer
from tests.support.chains import ChainBuilder
from tests.support.custody import account, holder, market_with_product, registration
from tests.support.custody_node import CustodyNode

Answer = TypeVar("Answer")
BEIJING = "BJ000001.ESVUFR2601"
SHANGHAI = "SH000001.ESVUFR2601"
INVESTOR = "/v1/supervision/investors/Q000000001"
ISSUER = "/v1/supervision/issuers/BJ000001"
ALERTS = "/v1/supervision/alerts"


MAX_PAGES = 1_000


def paged(answer: dict[str, Any]) -> dict[str, Any]:
    """The part of an answer that is paged; feedback has one a region."""
    data: dict[str, Any] = answer["data"]
    return data if "next_cursor" in data else data["regions"][0]


def sample_node() -> CustodyNode:
    """Two markets with one common investor; Beijing has a pledge, a broken registration and an unusable snapshot."""
    beijing, shanghai = ChainBuilder(), ChainBuilder(network="shanghai")
    node = CustodyNode([beijing, shanghai])
    node.deliver(beijing, *market_with_product(BEIJING), *holder(1, 100, BEIJING), *holder(2, 40, BEIJING))
    node.deliver(shanghai, *market_with_product(SHANGHAI), *holder(1, 30, SHANGHAI))
    node.deliver(
        beijing,
        registration("pledge", BEIJING, "A1", before=(100, 0, 0), change=(-20, 20, 0)),
        registration("freeze", BEIJING, "A2", before=(40, 0, 0), change=(-5, 0, 5)),
        registration("broken", BEIJING, "A2", before=(35, 0, 5), change=(-1, 0, 0), after=(33, 0, 5), report="r"),
        account("bad", "person-1").replace(b'"account_type":1', b'"account_type":7'),
    )
    node.commit()
    return node


class CustodyServer(LiveServer):
    """Serves a `CustodyNode`."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.audit_file = directory / "queries.jsonl"
        for role in ("provincial", "feedback"):
            for region in ("beijing", "shanghai"):
                issued = issue_token(
                    self.tokens_file, subject=f"{role}-{region}", organisation="tests", role=role, regions=[region]
                )
                self.tokens[f"{role}-{region}"] = issued.secret

    async def _serve(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.custody = sample_node()
        audit = AuditLog(self.audit_file)
        self.app = create_app(self.custody, tokens=TokenStore(self.tokens_file), routers=routers(audit))  # type: ignore[arg-type]
        self._server = uvicorn.Server(uvicorn.Config(self.app, **self._options))
        self._started.set()
        await self._server.serve(sockets=[self._socket])
        audit.close()

    def on_node(self, action: Callable[[CustodyNode], Answer]) -> Answer:
        """Run something on the node's event loop and wait for it."""

        async def run() -> Answer:
            return action(self.custody)

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(20)

    def get(self, path: str, role: str = "supervisor", **parameters: Any) -> dict[str, Any]:
        """The JSON of a GET that must succeed."""
        answer = self.ask(path, role, **parameters)
        assert answer.status_code == 200, answer.text
        document = answer.json()
        assert isinstance(document, dict)
        return document

    def pages(self, path: str, role: str = "supervisor", **parameters: Any) -> Iterator[dict[str, Any]]:
        """The answers page by page, to the last one; fails if a cursor comes again or the pages do not end."""
        cursors: list[str] = []
        while len(cursors) < MAX_PAGES:
            answer = self.get(path, role, **parameters, **({"cursor": cursors[-1]} if cursors else {}))
            yield answer
            following = paged(answer)["next_cursor"]
            if following is None:
                return
            assert following not in cursors
            cursors.append(following)
        raise AssertionError(f"more than {MAX_PAGES} pages")

    def ask(self, path: str, role: str = "supervisor", **parameters: Any) -> httpx.Response:
        """Any GET."""
        with self.client(role) as client:
            return client.get(path, params=parameters or None)
