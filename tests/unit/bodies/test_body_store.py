"""Bodies on disk: found by their digest, bounded, whole or absent, and never handed out damaged (ADR 0078)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from common.core.errors import Rejected
from common.core.suite import ED25519_SHA256
from common.node.bodies.body_store import LOOSE_MS, BodyRoom, BodyStore
from common.node.logic.wire.body_messages import MAX_BODY_PART_BYTES
from common.node.store import fault_points

ROOM = BodyRoom(bodies=16, size_bytes=64_000)
"""Twelve kept bodies and 48,000 bytes of them; four loose ones and 16,000 bytes; two and 8,000 for an organisation."""


def opened(directory: Path, room: BodyRoom = ROOM) -> BodyStore:
    return BodyStore(directory, ED25519_SHA256, room)


def digest_of(data: bytes) -> str:
    return ED25519_SHA256.hash(data).hex()


def put(store: BodyStore, data: bytes, organisation: str = "market") -> bool:
    return store.put(digest_of(data), data, organisation)


def code_of(action: Callable[[], object]) -> str:
    with pytest.raises(Rejected) as refusal:
        action()
    return refusal.value.code


def test_a_body_is_read_as_it_was_put_also_after_a_restart(tmp_path: Path) -> None:
    store = opened(tmp_path)
    assert put(store, b"court order") is True
    assert put(store, b"court order", "another") is False
    store.keep(digest_of(b"contract"), b"contract")
    store = opened(tmp_path)
    for data, kept in ((b"court order", False), (b"contract", True)):
        assert store.read(digest_of(data)) == data
        assert store.size_of(digest_of(data)) == len(data)
        assert store.is_kept(digest_of(data)) is kept
    assert store.numbers() == {"bodies_kept": 1, "bodies_loose": 1, "bodies_bytes": 19}


def test_a_loose_body_is_kept_once_it_is_committed(tmp_path: Path) -> None:
    store = opened(tmp_path)
    put(store, b"court order")
    for _ in range(2):
        store.keep(digest_of(b"court order"))
        assert store.is_kept(digest_of(b"court order"))
    assert opened(tmp_path).numbers() == {"bodies_kept": 1, "bodies_loose": 0, "bodies_bytes": 11}


def test_what_is_no_body_is_refused(tmp_path: Path) -> None:
    store = opened(tmp_path)
    assert code_of(lambda: store.put(digest_of(b"one"), b"another", "market")) == "body_mismatch"
    assert code_of(lambda: store.put(digest_of(b""), b"", "market")) == "body_empty"
    assert code_of(lambda: store.read(digest_of(b"one"))) == "body_unknown"
    assert code_of(lambda: store.part(digest_of(b"one"), 1)) == "body_unknown"
    store.keep(digest_of(b"one"))
    assert not store.is_kept(digest_of(b"one"))


def test_n2_loose_bodies_are_bounded_in_number_for_an_organisation_and_in_all(tmp_path: Path) -> None:
    store = opened(tmp_path)
    put(store, b"1"), put(store, b"2")
    assert code_of(lambda: put(store, b"3")) == "bodies_share"
    put(store, b"3", "other"), put(store, b"4", "other")
    assert code_of(lambda: put(store, b"5", "third")) == "bodies_full"
    store.keep(digest_of(b"1"))
    assert put(store, b"5")


def test_n2_loose_bodies_are_bounded_in_bytes(tmp_path: Path) -> None:
    store = opened(tmp_path)
    put(store, bytes(8_000))
    assert code_of(lambda: put(store, b"1")) == "bodies_share"
    put(store, bytes(7_000), "other")
    assert code_of(lambda: put(store, bytes(2_000), "third")) == "bodies_full"
    assert put(opened(tmp_path), bytes(1_000), "third")


def test_n2_kept_bodies_are_bounded_and_loose_ones_take_none_of_their_room(tmp_path: Path) -> None:
    store = opened(tmp_path)
    put(store, b"loose")
    for number in range(12):
        data = b"%d" % number
        store.keep(digest_of(data), data)
    assert code_of(lambda: store.keep(digest_of(b"12"), b"12")) == "bodies_full"
    store = opened(tmp_path / "other")
    store.keep(digest_of(bytes(47_999)), bytes(47_999))
    assert store.free_bytes == 1
    assert code_of(lambda: store.keep(digest_of(b"12"), b"12")) == "bodies_full"


def test_s2_a_damaged_body_is_never_handed_out_and_can_come_anew(tmp_path: Path) -> None:
    digest = digest_of(b"contract")
    for damage in (b"", b"c0ntract", b"contract "):
        store = opened(tmp_path)
        store.keep(digest, b"contract")
        (tmp_path / "kept" / digest).write_bytes(damage)
        assert code_of(lambda store=store: store.part(digest, 0)) == "body_damaged"
        assert (tmp_path / "damaged" / digest).read_bytes() == damage
        assert store.size_of(digest) is None
        assert code_of(lambda store=store: store.read(digest)) == "body_unknown"
        store.keep(digest, b"contract")
        assert opened(tmp_path).read(digest) == b"contract"


def test_s2_a_body_that_is_gone_is_told_and_forgotten(tmp_path: Path) -> None:
    store, digest = opened(tmp_path), digest_of(b"contract")
    store.keep(digest, b"contract")
    (tmp_path / "kept" / digest).unlink()
    assert code_of(lambda: store.part(digest, 1)) == "body_missing"
    assert code_of(lambda: store.read(digest)) == "body_unknown"
    assert store.numbers() == {"bodies_kept": 0, "bodies_loose": 0, "bodies_bytes": 0}


@pytest.mark.parametrize("kind", ["pipe", "link", "directory"])
def test_s2_what_is_no_file_in_a_bodys_place_is_set_aside_and_never_waited_for(tmp_path: Path, kind: str) -> None:
    store, digest = opened(tmp_path), digest_of(b"contract")
    place, other = tmp_path / "kept" / digest, tmp_path / "other"
    other.write_bytes(b"contract")
    makers: dict[str, Callable[[Path], None]] = {
        "pipe": os.mkfifo,
        "link": lambda path: path.symlink_to(other),
        "directory": os.mkdir,
    }
    for number in (0, 1):
        store.keep(digest, b"contract")
        place.unlink()
        makers[kind](place)
        assert opened(tmp_path).size_of(digest) is None, "nor is it taken for a body at the start"
        assert code_of(lambda number=number: store.part(digest, number)) == "body_damaged"
        assert not os.path.lexists(place)
        if kind == "directory":
            (tmp_path / "damaged" / digest).rmdir()


def test_a_loose_body_that_is_gone_can_come_anew(tmp_path: Path) -> None:
    store = opened(tmp_path)
    put(store, b"loose")
    (file,) = (tmp_path / "loose").iterdir()
    file.unlink()
    assert code_of(lambda: store.keep(digest_of(b"loose"))) == "body_missing"
    assert store.size_of(digest_of(b"loose")) is None
    store.keep(digest_of(b"loose"), b"loose")
    assert store.read(digest_of(b"loose")) == b"loose"


def test_parts_are_those_of_the_body(tmp_path: Path) -> None:
    data = os.urandom(2 * MAX_BODY_PART_BYTES + 5)
    store = opened(tmp_path, BodyRoom(16, 1 << 26))
    store.keep(digest_of(data), data)
    parts = [store.part(digest_of(data), number) for number in range(4)]
    assert b"".join(part for _, part in parts) == data
    assert [len(part) for _, part in parts] == [MAX_BODY_PART_BYTES, MAX_BODY_PART_BYTES, 5, 0]
    assert {size for size, _ in parts} == {len(data)}


def test_what_nothing_commits_to_is_removed_after_a_day(tmp_path: Path) -> None:
    store = opened(tmp_path)
    put(store, b"loose")
    store.keep(digest_of(b"kept"), b"kept")
    (file,) = (tmp_path / "loose").iterdir()
    since_ms = file.stat().st_mtime_ns // 1_000_000
    store.drop_forgotten(since_ms + LOOSE_MS)
    assert store.size_of(digest_of(b"loose"))
    store.drop_forgotten(since_ms + LOOSE_MS + 1)
    assert store.size_of(digest_of(b"loose")) is None
    assert store.is_kept(digest_of(b"kept"))
    assert not list((tmp_path / "loose").iterdir())


def test_s1_what_a_crash_left_unfinished_is_removed_and_foreign_files_are_left_alone(tmp_path: Path) -> None:
    opened(tmp_path)
    unfinished = tmp_path / "kept" / f"{digest_of(b'x')}.partial"
    foreign = tmp_path / "kept" / "notes.txt"
    for file in (unfinished, foreign):
        file.write_bytes(b"x")
    store = opened(tmp_path)
    assert not unfinished.exists()
    assert foreign.exists()
    assert store.size_of(digest_of(b"x")) is None


@pytest.mark.parametrize("point", ["body.write", "body.sync", "body.rename", "body.directory_sync"])
def test_s5_a_disk_that_refuses_is_told_and_the_body_can_be_put_again(tmp_path: Path, point: str) -> None:
    store = opened(tmp_path)
    fault_points.arm(f"{point}:before:1:enospc")
    try:
        assert code_of(lambda: put(store, b"order")) == "body_unwritable"
    finally:
        fault_points.arm(None)
    assert put(store, b"order")
    assert opened(tmp_path).read(digest_of(b"order")) == b"order"
