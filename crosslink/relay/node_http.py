"""Bounded HTTPS requests for the relay: TLS against the network's authority, a bearer token, a size and time for
every answer.

Invariants:
  H1  No answer is read beyond its bound, in bytes and in time (attacks N1, N2 with the roles reversed: the server is
      the attacker).
  H2  Failures are of two kinds: `Unavailable` (no usable answer: another node or later) and `NodeRefused` (the node
      understood and said no, with its stable code).

Left out: which node to ask (`node_pool`), what answers mean (`http_source`, `http_custody`).
"""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import httpx
import msgspec

from common.core.errors import Rejected, Unavailable
from common.node.keys import read_private_file

CONNECT_TIMEOUT_S = 5.0
MAX_PROBLEM_BYTES = 64 * 1024
MAX_TOKEN_BYTES = 4096
_TEXT_LIMIT = 300


class NodeRefused(Rejected):
    """A node answered with an error of its own: `code` is the node's, `http_status` and `retry_after_s` tell more."""

    def __init__(self, code: str, detail: str, *, http_status: int, retry_after_s: int = 0) -> None:
        super().__init__(code, detail, http_status=http_status)
        self.http_status = http_status
        self.retry_after_s = retry_after_s


def tls_context(ca_file: Path) -> ssl.SSLContext:
    """Trust the network's own authority only, TLS 1.3."""
    context = ssl.create_default_context(cafile=str(ca_file))
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


class Connection:
    """Requests to the nodes of one chain with one token. Close it when done."""

    def __init__(self, context: ssl.SSLContext | bool, token_file: Path | None) -> None:
        self._token_file = token_file
        limits = httpx.Limits(max_connections=16, max_keepalive_connections=8, keepalive_expiry=120)
        self._client = httpx.AsyncClient(verify=context, limits=limits, trust_env=False, follow_redirects=False)
        self._load_token()

    def _load_token(self) -> None:
        if self._token_file is None:
            return
        token = read_private_file(self._token_file, "token file", MAX_TOKEN_BYTES).decode("ascii").strip()
        self._client.headers["Authorization"] = f"Bearer {token}"

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def get(self, url: str, parameters: dict[str, str | int], *, timeout_s: float, max_bytes: int) -> bytes:
        """GET. Raises `Unavailable` or `NodeRefused`."""
        return (await self._request("GET", url, timeout_s, max_bytes, params=parameters))[1]

    async def post(
        self, url: str, content: bytes, headers: dict[str, str], *, timeout_s: float, max_bytes: int
    ) -> tuple[int, bytes]:
        """POST; (status, body). Raises `Unavailable` or `NodeRefused`."""
        headers = {"Content-Type": "application/json", **headers}
        return await self._request("POST", url, timeout_s, max_bytes, content=content, headers=headers)

    async def _request(
        self, method: str, url: str, timeout_s: float, max_bytes: int, **options: Any
    ) -> tuple[int, bytes]:
        try:
            async with asyncio.timeout(timeout_s):
                status, headers, body = await self._exchange(method, url, timeout_s, max_bytes, options)
        except TimeoutError:
            raise Unavailable("node_timeout", f"{url} did not answer within {timeout_s:.0f} s.") from None
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError) as error:
            reason = str(error) or type(error).__name__
            raise Unavailable("node_down", f"{url}: {reason[:_TEXT_LIMIT]}") from None
        if status >= 400:
            if status == 401:
                self._load_token()
            raise _problem(status, headers, body)
        return status, body

    async def _exchange(
        self, method: str, url: str, timeout_s: float, max_bytes: int, options: dict[str, Any]
    ) -> tuple[int, httpx.Headers, bytes]:
        timeout = httpx.Timeout(timeout_s, connect=min(CONNECT_TIMEOUT_S, timeout_s))
        async with self._client.stream(method, url, timeout=timeout, **options) as response:
            bound = max_bytes if response.status_code < 400 else MAX_PROBLEM_BYTES
            body = bytearray()
            async for part in response.aiter_bytes():
                body += part
                if len(body) > bound:
                    raise Unavailable("answer_too_large", f"{url} sent more than {bound} bytes.")
            return response.status_code, response.headers, bytes(body)


class _Problem(msgspec.Struct):
    code: str = "unexpected_answer"
    detail: str = ""


def _problem(status: int, headers: httpx.Headers, body: bytes) -> Rejected:
    try:
        problem = msgspec.json.decode(body, type=_Problem)
    except (msgspec.DecodeError, ValueError):
        problem = _Problem(detail=f"HTTP status {status}")
    retry_after = headers.get("retry-after", "")
    wait_s = int(retry_after) if retry_after.isdecimal() and len(retry_after) < 6 else 0
    return NodeRefused(problem.code[:64], problem.detail[:_TEXT_LIMIT], http_status=status, retry_after_s=wait_s)
