"""Peers give each other the bodies that their chain commits to, and whoever gives something else is left alone."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from common.core.errors import CodecError, Rejected
from common.model.sealed import SealedBody
from common.node.bodies import body_exchange, body_keeper
from common.node.logic.catchup.ration import BURST_BYTES
from common.node.logic.node_effects import Channel
from common.node.logic.wire.body_messages import (
    BODY_KINDS,
    MAX_BODY_PART_BYTES,
    AnswerBodyPart,
    GetBodyPart,
    decode_body_message,
)
from tests.unit.bodies.keeping import Keeping, Wire, keeping, sealed
from tests.unit.runtime.channels import MEMBERS
from tests.unit.runtime.network import key_of, until

ORDER = b"court order " * 100
LARGE = os.urandom(2 * MAX_BODY_PART_BYTES + 77)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body_keeper, "PAUSE_S", 0.01)
    monkeypatch.setattr(body_keeper, "FIRST_RETRY_S", 0.05)
    monkeypatch.setattr(body_exchange, "ANSWER_TIMEOUT_S", 0.2)


def nodes(directory: Path, count: int) -> tuple[Wire, list[Keeping]]:
    wire = Wire()
    return wire, [Keeping(directory / str(at), key_of(at), wire, MEMBERS) for at in range(1, count + 1)]


def digest(data: bytes) -> str:
    return sealed(data).digest


@pytest.mark.parametrize("data", [b"x", ORDER, LARGE, LARGE[: 2 * MAX_BODY_PART_BYTES]], ids=len)
async def test_a_body_put_at_one_node_is_kept_by_all_once_a_block_commits_to_it(tmp_path: Path, data: bytes) -> None:
    wire, all_nodes = nodes(tmp_path, 3)
    async with keeping(*all_nodes):
        await all_nodes[0].keeper.put(digest(data), data, "market")
        await asyncio.sleep(0.05)
        assert wire.sent == [], "what nothing commits to is nobody's to fetch"
        for node in all_nodes:
            node.ledger.commit(sealed(data))
        await until(lambda: all(node.store.is_kept(digest(data)) for node in all_nodes))
        assert [await node.keeper.read(digest(data)) for node in all_nodes] == [data] * 3
        assert all(node.keeper.numbers()["bodies_missing"] == 0 for node in all_nodes)
        assert not any(node.warnings or node.node.payloads() for node in all_nodes)


async def test_a_body_that_comes_after_its_block_is_found_by_the_other_nodes_too(tmp_path: Path) -> None:
    _, (first, second) = nodes(tmp_path, 2)
    async with keeping(first, second):
        for node in (first, second):
            node.ledger.commit(sealed(ORDER))
        await until(lambda: bool(second.keeper.numbers()["bodies_missing"]))
        await first.keeper.put(digest(ORDER), ORDER, "market")
        await until(lambda: first.store.is_kept(digest(ORDER)) and second.store.is_kept(digest(ORDER)))


async def test_a_restarted_node_keeps_what_it_has_and_fetches_what_was_committed_meanwhile(tmp_path: Path) -> None:
    wire, (first, second) = nodes(tmp_path, 2)
    async with keeping(first, second):
        for node in (first, second):
            node.ledger.commit(sealed(ORDER))
        await first.keeper.put(digest(ORDER), ORDER, "market")
        await until(lambda: second.store.is_kept(digest(ORDER)))
        await second.stop()
        again = Keeping(tmp_path / "2", key_of(2), wire, MEMBERS)
        again.ledger.commit(sealed(ORDER), sealed(LARGE))
        first.ledger.commit(sealed(LARGE))
        await first.keeper.put(digest(LARGE), LARGE, "market")
        wire.sent.clear()
        async with keeping(again):
            again.meet(first.key)
            await until(lambda: again.store.is_kept(digest(LARGE)))
        asked = [decode_body_message(payload) for sender, payload in wire.sent if sender == again.key]
        assert {message.digest.hex() for message in asked if isinstance(message, GetBodyPart)} == {digest(LARGE)}


@pytest.mark.parametrize(
    ("spoil", "code"),
    [(lambda copy: copy.write_bytes(b"rotten"), "body_damaged"), (Path.unlink, "body_missing")],
    ids=["damaged", "deleted"],
)
async def test_s2_a_spoilt_copy_is_fetched_anew(tmp_path: Path, spoil: Callable[[Path], Any], code: str) -> None:
    _, (first, second) = nodes(tmp_path, 2)
    async with keeping(first, second):
        for node in (first, second):
            node.ledger.commit(sealed(ORDER))
        await first.keeper.put(digest(ORDER), ORDER, "market")
        await until(lambda: first.store.is_kept(digest(ORDER)) and second.store.is_kept(digest(ORDER)))
        spoil(tmp_path / "1" / "kept" / digest(ORDER))
        with pytest.raises(Rejected, match=code):
            await first.keeper.read(digest(ORDER))
        await until(lambda: first.store.is_kept(digest(ORDER)))
        assert await first.keeper.read(digest(ORDER)) == ORDER


Lie = Callable[[GetBodyPart], AnswerBodyPart | None]
LIES: dict[str, tuple[Lie, bool]] = {
    "other bytes": (lambda asked: AnswerBodyPart(asked.request, len(ORDER), b"x" * len(ORDER)), True),
    "a short part": (lambda asked: AnswerBodyPart(asked.request, len(ORDER), ORDER[:-1]), True),
    "no part": (lambda asked: AnswerBodyPart(asked.request, len(ORDER), b""), True),
    "a long part": (lambda asked: AnswerBodyPart(asked.request, len(ORDER), ORDER + b"x"), True),
    "a size that no body has": (lambda asked: AnswerBodyPart(asked.request, 2**32 - 1, ORDER), True),
    "a smaller size": (lambda asked: AnswerBodyPart(asked.request, 5, ORDER[:5]), True),
    "nothing here": (lambda asked: AnswerBodyPart(asked.request, 0, b""), False),
    "another question's answer": (lambda asked: AnswerBodyPart(asked.request + 1, len(ORDER), ORDER), False),
    "silence": (lambda asked: None, False),
}


@pytest.mark.parametrize("lie", LIES)
async def test_what_a_peer_gives_is_judged_and_the_next_is_asked(tmp_path: Path, lie: str) -> None:
    answer, blamed = LIES[lie]
    _, (asking, liar, honest) = nodes(tmp_path, 3)
    questions = 0

    def lied(peer: bytes, payload: bytes, member: bool) -> None:
        nonlocal questions
        asked = decode_body_message(payload)
        if isinstance(asked, GetBodyPart):
            questions += 1
            told = answer(asked)
            if told is not None:
                liar.send(peer, Channel.SYNC, told.encode())

    liar.exchange.peer_message = lied
    async with keeping(asking, liar, honest):
        for data in (ORDER, ORDER + b"2"):
            await honest.keeper.put(digest(data), data, "market")
            asking.ledger.commit(sealed(data))
            await until(lambda data=data: asking.store.is_kept(digest(data)))
        assert questions == (1 if blamed else 2), "who has lied is not asked again for a while"
        assert [(warned.code, warned.peer) for warned in asking.warnings] == [("body_refused", liar.key)] * blamed


async def test_c9_observers_are_answered_and_never_asked(tmp_path: Path) -> None:
    wire = Wire()
    validator = Keeping(tmp_path / "1", key_of(1), wire, MEMBERS)
    observer = Keeping(tmp_path / "9", key_of(9), wire, MEMBERS)
    async with keeping(validator, observer):
        for node in (validator, observer):
            node.ledger.commit(sealed(ORDER), sealed(LARGE))
        await validator.keeper.put(digest(ORDER), ORDER, "market")
        await observer.keeper.put(digest(LARGE), LARGE, "reader")
        await until(lambda: observer.store.is_kept(digest(ORDER)))
        asked = [sender for sender, payload in wire.sent if payload[0] == 18]
        assert set(asked) == {observer.key}
        assert not validator.store.is_kept(digest(LARGE))


async def test_n3_a_peer_that_asks_without_end_is_rationed_and_answered_one_question_at_a_time(tmp_path: Path) -> None:
    wire, (node, other) = nodes(tmp_path, 2)
    async with keeping(node):
        await node.keeper.put(digest(LARGE), LARGE, "market")
        node.exchange._now_ms = lambda: 0
        ask = GetBodyPart(1, bytes.fromhex(digest(LARGE)), 0).encode()
        for _ in range(50):
            node.exchange.peer_message(other.key, ask, True)
        await until(lambda: bool(wire.sent))
        await asyncio.sleep(0.05)
        assert len(wire.sent) == 1
        for _ in range(2 * BURST_BYTES // len(LARGE)):
            node.exchange.peer_message(other.key, ask, True)
            await until(lambda: not node.exchange._serving)
        assert len(wire.sent) == BURST_BYTES // len(LARGE) + 1, "each first part costs the whole body"
        unknown = GetBodyPart(2, bytes(32), 0).encode()
        node.exchange.peer_message(key_of(3), unknown, True)
        assert wire.sent[-1] == (node.key, AnswerBodyPart(2, 0, b"").encode())
    await other.stop()


async def test_what_is_not_about_bodies_goes_on_to_the_node_as_it_came(tmp_path: Path) -> None:
    _, (node,) = nodes(tmp_path, 1)
    for payload in (b"", b"\x01vote", bytes([max(BODY_KINDS) + 1])):
        node.exchange.peer_message(key_of(2), payload, True)
    assert node.node.payloads() == [b"", b"\x01vote", bytes([max(BODY_KINDS) + 1])]
    for kind in BODY_KINDS:
        node.exchange.peer_message(key_of(2), bytes([kind]), True)
    assert len(node.node.payloads()) == 3
    assert [warned.code for warned in node.warnings] == ["body_refused"] * 2
    await node.stop()


async def test_a_peer_that_goes_while_it_is_asked_costs_no_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body_exchange, "ANSWER_TIMEOUT_S", 60.0)
    wire, (asking, silent) = nodes(tmp_path, 2)
    del wire.nodes[silent.key]
    async with keeping(asking):
        asking.meet(silent.key)
        fetch = asyncio.ensure_future(asking.exchange.fetch(digest(ORDER), len(ORDER)))
        await until(lambda: bool(wire.sent))
        asking.exchange.peer_disconnected(silent.key)
        assert await asyncio.wait_for(fetch, 1) is None
    await silent.stop()


async def test_k3_a_body_that_nobody_has_makes_room_and_is_looked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body_keeper, "FIRST_RETRY_S", 0.001)
    monkeypatch.setattr(body_keeper, "MAX_WANTED", 8)
    monkeypatch.setattr(body_keeper, "MAX_LATE", body_keeper.BATCH)
    monkeypatch.setattr(body_keeper, "ROUND_S", 0.05)
    _, (node,) = nodes(tmp_path, 1)
    lost = [sealed(b"lost %d" % number) for number in range(3 * body_keeper.BATCH)]
    async with keeping(node):
        node.ledger.commit(*lost, sealed(ORDER))
        largest = 0.0

        def all_looked_at() -> bool:
            nonlocal largest
            largest = max(largest, node.keeper.numbers()["bodies_missing"])
            return node.store.is_kept(digest(ORDER))

        await node.keeper.put(digest(ORDER), ORDER, "market")
        await until(all_looked_at, 20)
        assert largest <= 8 + body_keeper.MAX_LATE + body_keeper.BATCH
        late = b"lost 0"
        await node.keeper.put(digest(late), late, "market")
        await until(lambda: node.store.is_kept(digest(late)), 20)


async def test_k3_k4_a_flood_of_commitments_shuts_nobody_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body_keeper, "MAX_WANTED", 8)
    _, (first, second) = nodes(tmp_path, 2)
    flood = [sealed(b"lost %d" % number) for number in range(100)]
    within, after, late = ORDER, ORDER + b"2", b"lost 3"
    async with keeping(first, second):
        for data in (within, after):
            await first.keeper.put(digest(data), data, "market")
        for node in (first, second):
            node.ledger.commit(*flood[:50], sealed(within), *flood[50:])
        await until(lambda: first.store.is_kept(digest(within)) and second.store.is_kept(digest(within)))
        await until(lambda: second.keeper.numbers()["bodies_missing"] == len(flood))
        for node in (first, second):
            node.ledger.commit(sealed(after))
        await until(lambda: first.store.is_kept(digest(after)) and second.store.is_kept(digest(after)))
        await second.keeper.put(digest(late), late, "market")
        await until(lambda: second.store.is_kept(digest(late)))
        await until(lambda: second.keeper.numbers()["bodies_missing"] == len(flood) - 1)


async def test_k5_a_wrong_size_is_the_commitments_fault_and_keeps_no_node_from_the_body(tmp_path: Path) -> None:
    _, (first, second) = nodes(tmp_path, 2)
    async with keeping(first, second):
        for data, stated in ((ORDER, 3), (LARGE, 999), (ORDER + b"2", 1 << 20)):
            await first.keeper.put(digest(data), data, "market")
            wrong = SealedBody(digest=digest(data), media_type="application/pdf", size_bytes=stated)
            for node in (first, second):
                node.ledger.commit(wrong)
            await until(lambda data=data: second.store.is_kept(digest(data)))
            assert await second.keeper.read(digest(data)) == data
        await until(lambda: first.keeper.numbers()["bodies_misstated"] == 3)
        assert second.keeper.numbers()["bodies_misstated"] == 3
        assert not first.warnings + second.warnings, "nobody is blamed"


@pytest.mark.parametrize("message", [GetBodyPart(7, bytes(range(32)), 3), AnswerBodyPart(7, 9, b"part")], ids=repr)
def test_e2_payloads_are_decoded_strictly(message: GetBodyPart | AnswerBodyPart) -> None:
    data = message.encode()
    assert decode_body_message(data) == message
    for spoilt in (data[:-1], data + b"\x00", bytes([20]) + data[1:], b""):
        with pytest.raises(CodecError):
            decode_body_message(spoilt)
