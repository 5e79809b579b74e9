"""Which node is asked: stays with one that works, leaves one that lies, is behind or is down (attack R10)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from crosslink.relay.node_pool import MAX_PAUSE_MS, NodeFault, NodePool


def test_r10_a_failing_node_is_left_for_the_next_and_tried_again_later() -> None:
    pool = NodePool(["a", "b"])
    assert pool.choose(0) == 0
    pause_ms = pool.failed(0, NodeFault.DOWN, 0)
    assert pool.choose(0) == 1
    assert pool.choose(pause_ms + 1) == 1, "the one that works stays in use"
    pool.failed(1, NodeFault.DOWN, pause_ms + 1)
    assert pool.choose(pause_ms + 1) == 0


def test_r10_lies_are_not_forgotten_by_a_success() -> None:
    pool = NodePool(["a", "b"])
    first = pool.failed(0, NodeFault.LYING, 0)
    pool.succeeded(0)
    second = pool.failed(0, NodeFault.LYING, 0)
    assert second == 2 * first
    assert pool.failed(1, NodeFault.DOWN, 0) < first


def test_the_node_to_compare_with_is_a_free_one() -> None:
    pool = NodePool(["a", "b", "c"])
    assert pool.choose(0) == 0
    assert pool.other(0) == 1
    pool.failed(1, NodeFault.BEHIND, 0)
    assert pool.other(0) == 2
    pool.failed(2, NodeFault.LYING, 0)
    assert pool.other(0) is None


def test_there_is_always_a_node_to_ask() -> None:
    pool = NodePool(["a", "b", "c"])
    for node in range(3):
        pool.failed(node, NodeFault.LYING if node != 1 else NodeFault.BEHIND, 0)
    assert pool.choose(1) == 1
    assert pool.other(1) is None


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from([*NodeFault, None]), st.integers(0, 10**6)), max_size=60))
def test_whatever_happens_pauses_stay_bounded_and_a_free_node_is_preferred(
    history: list[tuple[int, NodeFault | None, int]],
) -> None:
    pool = NodePool(["a", "b", "c"])
    now_ms = 0
    for node, fault, step in history:
        now_ms += step
        if fault is None:
            pool.succeeded(node)
        else:
            assert 0 < pool.failed(node, fault, now_ms) <= MAX_PAUSE_MS
        chosen = pool.describe(now_ms)[pool.choose(now_ms)]["paused_ms"]
        assert chosen == min(int(entry["paused_ms"] or 0) for entry in pool.describe(now_ms))
        other = pool.other(now_ms)
        assert other is None or other != pool.current
