"""One short run in the suite; `make perturb` runs all manifests. And the harness's own parts: a checker that cannot
fail shows nothing."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from tests.perturbation import invariants
from tests.perturbation.load import Journal, Sent
from tests.perturbation.manifest import MANIFESTS, Step, read_manifest
from tests.perturbation.proxy import Forwarder
from tests.perturbation.run import run


def test_s1_s3_s4_a_disturbed_network_keeps_every_promise() -> None:
    """A killed leader, a paused leader, two halves; judged through the public API only."""
    report = run(read_manifest(MANIFESTS / "short.toml"), print)
    assert report.violations == []
    assert report.figures["beijing"]["receipts"] > 20


@pytest.mark.parametrize("path", sorted(MANIFESTS.glob("*.toml")), ids=lambda path: path.stem)
def test_manifests_are_sound(path: Path) -> None:
    manifest = read_manifest(path)
    assert manifest.name == path.stem
    assert manifest.steps


def test_a_misspelt_manifest_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"do": "kill", "target": ["x"]}, Step)


class Told:
    """Stands in for a reader of four nodes: `answers[(node, path)]`, for every node if node is empty."""

    def __init__(self, answers: dict[tuple[str, str], Any]) -> None:
        self._answers = answers

    def get(self, node: str, path: str, **_: Any) -> Any:
        return self._answers.get((node, path), self._answers.get(("", path)))


def final(height: int, index: int) -> dict[str, Any]:
    return {"status": "applied", "height": height, "index": index, "receipt": {}}


def judge(sent: list[Sent], blocks: list[list[str]], answers: dict[tuple[str, str], Any] | None = None) -> list[str]:
    """What `receipts_stand` finds wrong with these submissions and blocks."""
    load: Any = SimpleNamespace(journal=Journal("b", {one.tx_id: one for one in sent}), open=list)
    told = {("", f"/v1/networks/b/blocks/{at}"): {"tx_ids": ids} for at, ids in enumerate(blocks, 1)}
    told |= {("", f"/v1/transactions/{one.tx_id}"): one.final for one in sent}
    fleet: Any = SimpleNamespace(names=lambda chain: ["b-1", "b-2"])
    return invariants.receipts_stand(load, fleet, Told(told | (answers or {})), len(blocks))  # type: ignore[arg-type]


def test_receipts_that_do_not_stand_are_found() -> None:
    one, two = Sent("t1", "n1", 0.0, final=final(1, 0)), Sent("t2", "n2", 0.0, final=final(2, 0))
    assert judge([one, two], [["t1"], ["t2"]]) == []
    assert "block says otherwise" in judge([one, two], [["t1"], []])[0], "acknowledged and lost"
    assert "nobody submitted t3" in judge([one, two], [["t1", "t3"], ["t2"]])[0]
    assert "committed twice" in judge([one, two], [["t1"], ["t2", "t1"]])[0]
    again = Sent("t3", "n1", 0.0)
    assert "nonce n1 committed 2 times" in judge([one, two, again], [["t1", "t3"], ["t2"]])[0]
    (wrong,) = judge([one], [["t1"]], {("b-2", "/v1/transactions/t1"): final(1, 1)})
    assert wrong.startswith("b-2 answers")


def test_a_fork_and_a_node_that_lags_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invariants, "LEVEL_PATIENCE_S", 0.0)
    nodes = [SimpleNamespace(name=name) for name in ("b-1", "b-2")]
    fleet: Any = SimpleNamespace(chains=[SimpleNamespace(network_id="b", nodes=nodes)])
    watch = SimpleNamespace(tip=lambda chain: 2)

    def found(heights: dict[str, int], ids: dict[str, list[str]]) -> list[str]:
        reader: Any = SimpleNamespace(status=lambda n: {"height": heights[n]}, header_ids=lambda n, tip: ids[n])
        return invariants.blocks_agree(fleet, reader, watch)[0]  # type: ignore[arg-type]

    level, same = {"b-1": 2, "b-2": 2}, {"b-1": ["x", "y"], "b-2": ["x", "y"]}
    assert found(level, same) == []
    assert "another block 2" in found(level, same | {"b-2": ["x", "z"]})[0]
    assert "has not reached 2" in found(level | {"b-2": 1}, same)[0]


class Echo:
    """A server that sends back what it gets."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._listening.accept()
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            while data := connection.recv(4096):
                connection.sendall(data)


def round_trip_s(connection: socket.socket, data: bytes = b"hello") -> float:
    began = time.monotonic()
    connection.sendall(data)
    assert connection.recv(4096) == data
    return time.monotonic() - began


def test_s4_the_forwarder_cuts_stops_delays_and_heals() -> None:
    forwarder = Forwarder(seed=1)
    try:
        port = forwarder.link("a", "b", Echo().port)
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            assert round_trip_s(connection) < 0.2
            forwarder.slow([("a", "b")], 150, 0, 0.0)
            assert round_trip_s(connection) >= 0.15
            forwarder.heal()
            time.sleep(0.05)
            forwarder.stop([("b", "a")])
            connection.settimeout(0.3)
            connection.sendall(b"late")
            with pytest.raises(TimeoutError):
                connection.recv(10)
            forwarder.heal()
            connection.settimeout(5)
            assert connection.recv(10) == b"late", "what was held up arrives"
            forwarder.disconnect([("b", "a")])
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(10) == b""
        with socket.create_connection(("127.0.0.1", port), timeout=5) as refused:
            assert not _answers(refused)
        forwarder.heal()
        time.sleep(0.05)
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            assert round_trip_s(connection) < 0.2
    finally:
        forwarder.close()


def _answers(connection: socket.socket) -> bool:
    try:
        connection.sendall(b"x")
        return connection.recv(10) == b"x"
    except ConnectionError:
        return False
