"""The overlay that a transaction writes to, against a naive twin that copies dicts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from common.chain.application import REMEMBERED_BYTES, OverlayView
from tests.support.dict_state import DictState

KEYS = st.sampled_from([b"a/1", b"a/2", b"a/3", b"b/1", b"a"])
ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), KEYS, st.binary(max_size=2)),
        st.tuples(st.just("delete"), KEYS, st.just(b"")),
        st.tuples(st.just("checkpoint"), st.just(b""), st.just(b"")),
        st.tuples(st.just("rollback"), st.just(b""), st.just(b"")),
    ),
    max_size=30,
)


@given(st.dictionaries(KEYS, st.binary(max_size=2)), ACTIONS, st.integers(1, 4))
def test_overlay_agrees_with_a_copied_dict(
    base: dict[bytes, bytes], actions: list[tuple[str, bytes, bytes]], limit: int
) -> None:
    view = OverlayView(DictState(base, base))
    twin, saved = dict(base), dict(base)
    for action, key, value in actions:
        match action:
            case "put":
                view.put(key, value)
                view.put_index(key, value)
                twin[key] = value
            case "delete":
                view.delete(key)
                view.delete_index(key)
                twin.pop(key, None)
            case "checkpoint":
                view.checkpoint()
                saved = dict(twin)
            case "rollback":
                view.rollback()
                twin = dict(saved)
    for key in (b"a/1", b"a/2", b"a/3", b"b/1", b"a", b"none"):
        assert view.get(key) == twin.get(key)
        assert view.get_index(key) == twin.get(key)
    for prefix in (b"", b"a", b"a/", b"b/"):
        below = sorted(item for item in twin.items() if item[0].startswith(prefix))
        assert view.scan(prefix, limit) == view.scan_index(prefix, limit) == below[:limit]
        for after in (b"a", b"a/1", b"a/2", b"b/"):
            expected = [item for item in below if item[0] > after][:limit]
            assert view.scan(prefix, limit, after) == view.scan_index(prefix, limit, after) == expected
    applied = {key: value for key, value in {**base, **view.state_changes}.items() if value is not None}
    assert applied == twin


def test_overlay_asks_its_base_once_but_for_large_values() -> None:
    asked: list[bytes] = []

    class Base(DictState):
        def get(self, key: bytes) -> bytes | None:
            asked.append(key)
            return super().get(key)

        def get_index(self, key: bytes) -> bytes | None:
            return self.get(key)

    large = bytes(REMEMBERED_BYTES + 1)
    for read in (OverlayView.get, OverlayView.get_index):
        view = OverlayView(Base({b"small": b"1", b"large": large}))
        asked.clear()
        for _ in range(3):
            assert [read(view, key) for key in (b"small", b"large", b"none")] == [b"1", large, None]
        assert sorted(asked) == [b"large"] * 3 + [b"none", b"small"]
