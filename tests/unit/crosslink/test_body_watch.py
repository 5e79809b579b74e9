"""The relay says which of the bodies that delivered snapshots commit to no node of the region hands out (ADR 0078)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from common.core.errors import Unavailable
from common.core.suite import ED25519_SHA256
from common.model.sealed import MAX_SEALED_BODIES, SealedBody, sealed_metadata
from crosslink.lightclient.client_state import ClientState
from crosslink.relay import body_watch
from crosslink.relay.body_watch import BodyWatch, bodies_of
from crosslink.relay.progress import SHOWN_MISSING, Board, RelayMetrics
from tests.support.chains import START_MS, ChainBuilder
from tests.support.custody import person
from tests.support.relay_world import WarpClock
from tests.unit.runtime.network import until

STATE = ChainBuilder("beijing").client_state(established_ms=START_MS)


def sealed(number: int) -> SealedBody:
    data = b"body %d" % number
    return SealedBody(digest=ED25519_SHA256.hash(data).hex(), media_type="text/plain", size_bytes=len(data))


def snapshot(*numbers: int) -> bytes:
    return person("p1", "Q000000001", metadata=sealed_metadata(map(sealed, numbers)))


@dataclass
class Source:
    """A region's nodes that hand out what they have, from a time on."""

    clock: WarpClock
    have: dict[str, int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    answer: Callable[[], bool | None] | None = None

    async def hands_out(self, state: ClientState, body: SealedBody) -> bool | None:
        assert state is STATE
        self.asked.append(body.digest)
        await asyncio.sleep(0)
        if self.answer is not None:
            return self.answer()
        return self.have.get(body.digest, 10**18) <= self.clock.elapsed_ms()


class Watched:
    """A watch over one region, which runs until a number of bodies has an outcome."""

    def __init__(self) -> None:
        self.clock = WarpClock(START_MS)
        self.source = Source(self.clock)
        self.board, self.metrics = Board(), RelayMetrics()
        self.watch = BodyWatch({"beijing": self.source}, self.clock, self.board, self.metrics)

    def count(self, outcome: str) -> int:
        return int(self.metrics.bodies.labels("beijing", outcome)._value.get())

    async def until(self, bodies: int) -> None:
        task = asyncio.create_task(self.watch.run())
        await until(lambda: sum(map(self.count, ("found", "missing", "skipped"))) >= bodies, 20)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def run(bodies: int, *delivered: bytes, prepare: Callable[[Watched], None] = lambda watched: None) -> Watched:
    async def case() -> Watched:
        watched = Watched()
        prepare(watched)
        watched.watch.delivered(STATE, delivered)
        await watched.until(bodies)
        return watched

    return asyncio.run(case())


def test_a_body_that_a_node_hands_out_is_found_at_once() -> None:
    def have(watched: Watched) -> None:
        watched.source.have = {sealed(number).digest: 0 for number in (1, 2)}

    watched = run(2, snapshot(1, 2), snapshot(2, 1), snapshot(), prepare=have)
    assert (watched.count("found"), watched.count("missing")) == (2, 0)
    assert sorted(watched.source.asked) == sorted(sealed(number).digest for number in (1, 2)), "each once"
    assert watched.board.of("beijing").to_json()["missing_bodies"] == []


def test_a_body_that_comes_late_is_found_and_one_that_never_comes_is_told() -> None:
    def late(watched: Watched) -> None:
        watched.source.have[sealed(1).digest] = watched.clock.elapsed_ms() + 600_000

    watched = run(2, snapshot(1, 2), prepare=late)
    assert (watched.count("found"), watched.count("missing")) == (1, 1)
    assert watched.board.of("beijing").to_json()["missing_bodies"] == [sealed(2).digest]
    assert watched.source.asked.count(sealed(2).digest) == len(body_watch.LOOKS_AFTER_MS)


def test_a_source_that_fails_ends_nothing() -> None:
    def fails(watched: Watched) -> None:
        failures = iter([Unavailable("no_node_serves", "all down"), RuntimeError("a defect")])

        def answer() -> bool:
            failure = next(failures, None)
            if failure is not None:
                raise failure
            return True

        watched.source.answer = answer

    watched = run(2, snapshot(1, 2), prepare=fails)
    assert watched.count("found") == 2


def test_chains_that_hand_out_no_bodies_are_not_accused() -> None:
    def none(watched: Watched) -> None:
        watched.source.answer = lambda: None

    watched = run(1, snapshot(1), prepare=none)
    assert (watched.count("skipped"), watched.count("missing")) == (1, 0)


def test_n1_what_waits_and_what_is_shown_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body_watch, "MAX_WAITING", 2 * SHOWN_MISSING)
    each = MAX_SEALED_BODIES
    blocks = [snapshot(*range(first, first + each)) for first in range(0, 4 * SHOWN_MISSING, each)]
    watched = run(4 * SHOWN_MISSING, *blocks)
    assert (watched.count("skipped"), watched.count("missing")) == (2 * SHOWN_MISSING, 2 * SHOWN_MISSING)
    assert len(watched.board.of("beijing").missing_bodies) == SHOWN_MISSING
    assert watched.board.of("beijing").to_json()["skipped_bodies"] == 2 * SHOWN_MISSING


async def test_n1_a_flood_delays_neither_other_regions_nor_what_is_newer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body_watch, "MAX_WAITING", MAX_SEALED_BODIES)
    other = ChainBuilder("shanghai").client_state(established_ms=START_MS)
    watched = Watched()
    asked = watched.source.asked

    class Other:
        async def hands_out(self, state: ClientState, body: SealedBody) -> bool | None:
            asked.append(body.digest)
            return True

    watched.watch = BodyWatch(
        {"beijing": watched.source, "shanghai": Other()}, watched.clock, watched.board, watched.metrics
    )
    watched.source.have[sealed(99).digest] = 0
    for first in (0, 16, 32):
        watched.watch.delivered(STATE, [snapshot(*range(first, first + MAX_SEALED_BODIES))])
    watched.watch.delivered(STATE, [snapshot(99)])
    watched.watch.delivered(other, [snapshot(7)])
    assert watched.board.of("shanghai").skipped_bodies == 0
    assert watched.board.of("beijing").skipped_bodies == 2 * MAX_SEALED_BODIES + 1
    task = asyncio.create_task(watched.watch.run())
    await until(lambda: len(asked) >= 2, 20)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert set(asked[:2]) == {sealed(99).digest, sealed(7).digest}


@pytest.mark.parametrize(
    "data",
    [
        b'{"sealed_bodies"',
        b'{"header":{"metadata":{"sealed_bodies":7}}}',
        b'{"header":"sealed_bodies","x":{"sealed_bodies":[]}}',
        b'{"header":{},"body":{"sealed_bodies":[]}}',
        b"[" * 100_000 + b'"sealed_bodies"',
        b'\xff"sealed_bodies"',
    ],
    ids=range(6),
)
def test_e2_a_snapshot_of_another_form_commits_to_nothing(data: bytes) -> None:
    assert bodies_of(data) == ()
