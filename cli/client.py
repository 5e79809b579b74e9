"""A client of the suite's REST interface: what the command line, the demonstration and the acceptance tests talk
through.

A submission is final only with its receipt (protocol rule 25), so `submit` resends the same bytes, to one node after
the other, until the receipt or the expiry; resending is harmless, since a transaction's id is a hash of its content.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from common.core.codec import canonical_json
from common.core.errors import Malformed, Rejected, Unavailable

WAIT_S = 10
TOO_MANY_REQUESTS = 429
FINAL = ("applied", "rejected", "expired")


class ApiError(Rejected):
    """A node refused: its stable code, the detail it gave, and the HTTP status as a parameter."""


class Api:
    """One chain (or relay) behind one or more base URLs that all give the same answers."""

    def __init__(
        self, urls: Sequence[str], token: str | None, ca_file: Path | None, *, timeout_s: float = 40.0
    ) -> None:
        if not urls:
            raise Malformed("no_node", "no node URL was given")
        self.urls = list(urls)
        verify: ssl.SSLContext | bool = ssl.create_default_context(cafile=str(ca_file)) if ca_file else True
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.Client(verify=verify, headers=headers, timeout=timeout_s, trust_env=False)
        self._next = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def get(self, path: str, **query: str | int | None) -> Any:
        """GET a JSON answer from the first node that gives one. Raises ApiError, or Unavailable if no node answers."""
        parameters = {name: value for name, value in query.items() if value is not None}
        return self._request("GET", path, params=parameters).json()

    def text(self, path: str) -> str:
        """GET a plain-text answer."""
        return self._request("GET", path).text

    def _request(self, method: str, path: str, **options: Any) -> httpx.Response:
        failures = []
        for attempt in range(len(self.urls)):
            url = self.urls[(self._next + attempt) % len(self.urls)]
            try:
                response = self._http.request(method, url + path, **options)
            except httpx.TransportError as error:
                failures.append(f"{url}: {error or type(error).__name__}")
                continue
            if response.status_code in (502, 503, 504):
                failures.append(f"{url}: {response.status_code} {response.text[:200]}")
                continue
            self._next = (self._next + attempt) % len(self.urls)
            if response.is_error:
                raise _problem(response)
            return response
        self._next += 1
        raise Unavailable("no_node_answers", "; ".join(failures)[:1000])

    def submit(
        self, envelope: bytes, *, patience_s: float = 60.0, progress: Callable[[str], None] | None = None
    ) -> dict[str, Any]:
        """Send an envelope until its fate is final; the transaction's status document with its receipt.

        Raises ApiError if a node refuses it, Unavailable if no node takes it or no receipt comes within `patience_s`.
        """
        deadline = time.monotonic() + patience_s
        trouble = "no receipt yet"
        while True:
            try:
                headers = {"Prefer": f"wait={WAIT_S}", "Content-Type": "application/json"}
                answer = self._request("POST", "/v1/transactions", content=envelope, headers=headers).json()
                if answer.get("status") in FINAL:
                    return dict(answer)
                trouble = f"status {answer.get('status')}"
            except ApiError as error:
                # A full share or quota says nothing of the transaction: another node may hold it already.
                if error.parameters.get("http_status") != TOO_MANY_REQUESTS:
                    raise
                trouble = error.detail
            except Unavailable as error:
                trouble = error.detail
            if time.monotonic() > deadline:
                raise Unavailable("no_receipt", f"no final receipt within {patience_s:.0f} s: {trouble}")
            self._next += 1
            if progress:
                progress(trouble)
            time.sleep(0.2)


_OF_EVERY_PROBLEM = frozenset({"type", "title", "status", "code", "detail", "request_id", "http_status"})


def _problem(response: httpx.Response) -> ApiError:
    """The error that a problem+json answer (or any other failure) stands for."""
    try:
        document = response.json()
        code, detail = str(document["code"]), str(document.get("detail", ""))
        extra = {
            key: value
            for key, value in document.items()
            if key not in _OF_EVERY_PROBLEM and key.isidentifier() and isinstance(value, int | str)
        }
        if extra:
            told = ", ".join(f"{key} {str(value)[:100]}" for key, value in extra.items())
            detail = f"{detail} ({told[:500]})"
    except (ValueError, KeyError, TypeError):
        code, detail, extra = "unexpected_answer", f"{response.status_code}: {response.text[:300]}", {}
    return ApiError(code, detail, http_status=response.status_code, **extra)


def transaction_document(
    *,
    network: str,
    genesis_id: str,
    signers: Sequence[str],
    nonce: str,
    expires_at_height: int,
    operations: Sequence[dict[str, Any]],
) -> dict[str, Any]:
    """The `transaction` member of an envelope (contract, "Transactions"), checked to have a canonical form."""
    document = {
        "network": network,
        "genesis": genesis_id,
        "signers": list(signers),
        "nonce": nonce,
        "expires_at_height": expires_at_height,
        "operations": list(operations),
    }
    canonical_json(document)
    return document
