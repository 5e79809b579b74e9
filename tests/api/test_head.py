"""HEAD: what GET would say, without its content (RFC 9110, section 9.3.2)."""

from __future__ import annotations

import pytest

from tests.api.server import LiveServer


@pytest.mark.parametrize("path", ["/healthz", "/v1/networks/toytown/blocks/1", "/v1/nothing"])
def test_head_is_answered_as_get_without_its_content(live: LiveServer, path: str) -> None:
    with live.client() as client:
        whole, head_alone = client.get(path), client.head(path)
        assert (head_alone.status_code, head_alone.content) == (whole.status_code, b"")
        kept = ["content-type", "cache-control", *(["content-length"] if whole.is_success else [])]
        assert [head_alone.headers[name] for name in kept] == [whole.headers[name] for name in kept]
        assert client.get(path).content[:40] == whole.content[:40], "the connection goes on"
        assert client.head("/v1/transactions").status_code == 405


def test_head_of_a_stream_ends(live: LiveServer) -> None:
    with live.client() as client:
        for _ in range(60):  # more than there are streams for one bearer
            answer = client.head("/v1/events")
            assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        assert client.get("/healthz").status_code == 200
