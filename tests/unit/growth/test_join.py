"""Joining by a checkpoint: what is taken over equals what the others have, whoever lies, whenever it is interrupted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from common.core.errors import Gone
from common.core.genesis import Genesis
from common.core.validators import ValidatorSet
from common.node.diagnosis.data_findings import DataReport
from common.node.logic.catchup import checkpoint_format
from common.node.logic.catchup.checkpoint_format import KINDS, Manifest, chunk_id, chunks_of
from common.node.logic.wire.checkpoint_messages import (
    MANIFEST_PART,
    AnswerCheckpoints,
    AnswerHeaders,
    AnswerPart,
    GetPart,
    Offer,
)
from common.node.store import schema
from common.node.store.chain_prune import prune
from common.node.store.chain_store import ChainStore
from common.node.store.storage import MemoryStore
from common.node.upkeep.audit import audit
from common.node.upkeep.chain_rebuild import no_progress
from common.node.upkeep.checkpoint_import import CheckpointFalse
from common.node.upkeep.checkpoint_store import CheckpointFiles
from common.node.upkeep.join import JoinPhase
from common.node.upkeep.join_headers import TrustedBlock
from tests.support.refusals import refused
from tests.unit.growth.world import GENESIS, NAMES, Joiner, Peer, grow, grown, make_checkpoint
from tests.unit.node.solo import Solo
from tests.unit.node.toy import SUITE, make_envelope, make_genesis


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dozen chunks instead of five."""
    monkeypatch.setattr(checkpoint_format, "CHUNK_BYTES", 1_000)


class Place:
    """A chain of 40 blocks with a checkpoint at 30."""

    def __init__(self, directory: Path, genesis: Genesis = GENESIS) -> None:
        self.directory = directory
        self.solo = grown(30, genesis)
        self.files = make_checkpoint(self.solo, directory / "checkpoints")
        self.entries = dict(self.solo.chain.store.scan(b""))
        grow(self.solo, 10)

    def peers(self, *names: str) -> list[Peer]:
        return [Peer(name, self.solo, self.files) for name in names or NAMES]

    def follower(self, chain: ChainStore) -> Solo:
        """Who goes on with a joined chain as the others would."""
        follower = Solo.__new__(Solo)
        follower.genesis, follower.application, follower.chain = self.solo.genesis, self.solo.application, chain
        follower.executor = type(self.solo.executor)(self.solo.genesis, self.solo.application, chain)
        return follower

    def check(self, chain: ChainStore) -> None:
        """The joined chain holds exactly what the others held at 30, and executes the same blocks from there on."""
        assert chain.tip().height == 30
        held = dict(chain.store.scan(b""))
        for kind in (*KINDS[1:], schema.TREE, schema.VALIDATORS, schema.HEADERS):
            mine = {key: value for key, value in held.items() if key[:1] == kind}
            assert mine == {key: value for key, value in self.entries.items() if key[:1] == kind}
            assert mine
        states = {key: value[8:] for key, value in held.items() if key[:1] == schema.STATE}
        assert states == {key: value[8:] for key, value in self.entries.items() if key[:1] == schema.STATE}
        with pytest.raises(Gone):
            chain.block(30)
        grow(self.follower(chain), 10)
        assert chain.tip().state_root == self.solo.chain.tip().state_root
        assert chain.tip().block_id == self.solo.chain.tip().block_id


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_node_joins_by_a_checkpoint_and_goes_on(place: Place) -> None:
    joiner = Joiner(place.directory)
    joiner.meet(*place.peers())
    assert joiner.run()
    place.check(joiner.finish())
    assert joiner.dropped == {}
    served = {name for name in NAMES for asked in joiner.peers_named(name).asked if isinstance(asked, GetPart)}
    assert len(served) > 1, "chunks come from several peers"


def test_a_joined_chain_is_sound_to_the_audit(place: Place) -> None:
    joiner = Joiner(place.directory)
    joiner.meet(*place.peers())
    assert joiner.run()
    chain = joiner.finish()
    for grown_by in (0, 10):
        grow(place.follower(chain), grown_by)
        report = DataReport()
        audit(chain.store.snapshot(), place.solo.genesis, place.solo.application, MemoryStore(), report, no_progress)
        assert (report.findings, report.height) == ([], 30 + grown_by)


def changed_header(answer: object) -> object:
    if isinstance(answer, AnswerHeaders) and answer.entries:
        header, certificate, next_set = answer.entries[7]
        entries = (*answer.entries[:7], (header[:-1] + bytes((header[-1] ^ 1,)), certificate, next_set))
        return replace(answer, entries=entries)
    return answer


def forged_certificate(answer: object) -> object:
    if isinstance(answer, AnswerHeaders) and answer.entries:
        header, certificate, next_set = answer.entries[0]
        return replace(answer, entries=((header, certificate[:-1] + bytes((certificate[-1] ^ 1,)), next_set),))
    return answer


def skipped_header(answer: object) -> object:
    return replace(answer, entries=answer.entries[1:]) if isinstance(answer, AnswerHeaders) else answer


def set_unasked(answer: object) -> object:
    if isinstance(answer, AnswerHeaders) and answer.entries:
        header, certificate, _ = answer.entries[0]
        return replace(answer, entries=((header, certificate, GENESIS.validators.encode()),))
    return answer


def offer_of_another_block(answer: object) -> object:
    if isinstance(answer, AnswerCheckpoints):
        return replace(answer, offers=(Offer(29, bytes(32), bytes(32)), *answer.offers))
    return answer


def changed_part(answer: object) -> object:
    if isinstance(answer, AnswerPart) and answer.part:
        middle = len(answer.part) // 2
        part = answer.part[:middle] + bytes((answer.part[middle] ^ 1,)) + answer.part[middle + 1 :]
        return replace(answer, part=part)
    return answer


LIES = {
    "changed header": (changed_header, "certificate_wrong_block"),
    "forged certificate": (forged_certificate, "certificate_bad_signature"),
    "skipped header": (skipped_header, "sync_wrong_height"),
    "set unasked": (set_unasked, "join_set_unasked"),
    "offer of another block": (offer_of_another_block, "join_offer_of_another_block"),
    "changed part": (changed_part, None),
}


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("first", [True, False])
def test_c17_lying_checkpoint_peer_is_dropped_and_another_is_used(place: Place, lie: str, first: bool) -> None:
    change, code = LIES[lie]
    peers = place.peers()
    peers[0].alter = change
    joiner = Joiner(place.directory)
    joiner.meet(*(peers if first else peers[::-1]))
    assert joiner.run()
    place.check(joiner.finish())
    if first or code is None:
        assert list(joiner.dropped) == [NAMES[0]]
        assert joiner.dropped[NAMES[0]] in ({code} if code else {"join_chunk", "join_manifest", "header_version"})


def test_c17_every_byte_of_every_part_counts(place: Place) -> None:
    """No chunk and no manifest is taken with any byte changed, cut or added."""
    offer = place.files.offers()[0]
    manifest = Manifest.decode(place.files.part(30, MANIFEST_PART) or b"")
    data = manifest.encode()
    for at in range(len(data)):
        altered = data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]
        assert SUITE.tagged_hash(checkpoint_format.MANIFEST_TAG, altered) != offer.manifest_id
    joiner = Joiner(place.directory)
    joiner.importing.begin(manifest)
    for number, info in enumerate(manifest.chunks):
        chunk = place.files.part(30, number) or b""
        assert joiner.importing.fits(number, chunk)
        assert chunk_id(SUITE, chunk) == info.id
        for at in range(0, len(chunk), 37):
            assert not joiner.importing.fits(number, chunk[:at] + bytes((chunk[at] ^ 1,)) + chunk[at + 1 :])
        assert not joiner.importing.fits(number, chunk[:-1])
        assert not joiner.importing.fits(number, chunk + b"\0")
    assert not joiner.importing.fits(len(manifest.chunks), chunk)


def test_c17_one_validators_word_is_not_enough(place: Place) -> None:
    """f+1 members must offer the same manifest; observers and strangers do not count, however many they are."""
    joiner = Joiner(place.directory)
    joiner.meet(*place.peers(NAMES[0], "stranger-1", "stranger-2", "stranger-3"))
    assert not joiner.run()
    assert joiner.join.phase in (JoinPhase.OFFERS, JoinPhase.HEADERS)
    assert joiner.importing.manifest is None
    joiner.meet(*place.peers(NAMES[1]))
    assert joiner.run()
    place.check(joiner.finish())


def false_checkpoint(place: Place, change: Callable[[dict[bytes, bytes]], None]) -> CheckpointFiles:
    """A checkpoint of altered entries, complete and consistent in itself."""
    entries = dict(place.entries)
    change(entries)
    solo = Solo(GENESIS)
    solo.chain.store.write([(key, None) for key, _ in solo.chain.store.scan(b"")], sync=True)
    solo.chain.store.write(list(entries.items()), sync=True)
    folder = place.directory / "false"
    solo.chain = ChainStore(solo.chain.store, GENESIS)
    return make_checkpoint(solo, folder)


def state_value(entries: dict[bytes, bytes]) -> None:
    entries[schema.state(b"balance/bank")] = entries[schema.state(b"balance/bank")] + b"0"


def state_missing(entries: dict[bytes, bytes]) -> None:
    del entries[schema.state(b"balance/a7")]


def state_added(entries: dict[bytes, bytes]) -> None:
    entries[schema.state(b"balance/zz")] = schema.u64(3) + b"1"


def nonce_missing(entries: dict[bytes, bytes]) -> None:
    del entries[next(key for key in sorted(entries) if key[:1] == schema.NONCES)]


def nonce_renamed(entries: dict[bytes, bytes]) -> None:
    key = next(key for key in sorted(entries) if key[:1] == schema.NONCES)
    entries[key + b"x"] = entries.pop(key)


def nonces_exchanged(entries: dict[bytes, bytes]) -> None:
    keys = [key for key in sorted(entries) if key[:1] == schema.NONCES]
    entries[keys[0]], entries[keys[-1]] = entries[keys[-1]], entries[keys[0]]


def transaction_missing(entries: dict[bytes, bytes]) -> None:
    del entries[next(key for key in sorted(entries) if key[:1] == schema.TRANSACTIONS)]


def both_missing(entries: dict[bytes, bytes]) -> None:
    nonce = next(key for key in sorted(entries) if key[:1] == schema.NONCES)
    place = entries.pop(nonce)
    del entries[next(key for key, value in entries.items() if key[:1] == schema.TRANSACTIONS and value == place)]


FALSE = {
    "state value": (state_value, "join_state_root"),
    "state missing": (state_missing, "join_state_root"),
    "state added": (state_added, "join_state_root"),
    "nonce missing": (nonce_missing, "join_nonces"),
    "nonce renamed": (nonce_renamed, "join_nonces"),
    "nonces exchanged": (nonces_exchanged, "join_nonces"),
    "transaction missing": (transaction_missing, "join_nonces"),
    "nonce and transaction missing": (both_missing, "join_nonces"),
}


@pytest.mark.parametrize("what", FALSE)
def test_c17_what_the_header_proves_is_proven_whoever_vouches(place: Place, what: str) -> None:
    """Even if all validators vouch for a false manifest, state and used nonces must be those of the header."""
    change, code = FALSE[what]
    false = false_checkpoint(place, change)
    joiner = Joiner(place.directory)
    joiner.meet(*[Peer(name, place.solo, false) for name in NAMES])
    assert joiner.run()
    with refused(code, CheckpointFalse):
        joiner.finish()
    assert joiner.store.get(schema.VERSION) is None, "nothing was sealed"


def test_s1_interrupted_at_every_message_it_goes_on_and_ends_the_same(place: Place) -> None:
    whole = Joiner(place.directory)
    whole.meet(*place.peers())
    steps = 0

    def count() -> bool:
        nonlocal steps
        steps += 1
        return False

    assert whole.run(until=count)
    reference = dict(whole.finish().store.scan(b""))
    for stop_at in range(1, steps, 3):
        joiner = Joiner(place.directory)
        joiner.meet(*place.peers())
        left = iter(range(stop_at))
        assert not joiner.run(until=lambda left=left: next(left, None) is None)
        taken = joiner.importing.taken
        survive = joiner.store.unsynced_batches if stop_at % 2 else stop_at % (joiner.store.unsynced_batches + 1)  # type: ignore[attr-defined]
        joiner.store.crash(survive)  # type: ignore[attr-defined]
        joiner.peers.clear()
        joiner.begin()
        assert joiner.importing.taken <= taken
        joiner.meet(*place.peers())
        assert joiner.run()
        assert dict(joiner.finish().store.scan(b"")) == reference


def test_s1_interrupted_while_proving_it_goes_on(place: Place) -> None:
    joiner = Joiner(place.directory)
    joiner.meet(*place.peers())
    assert joiner.run()
    steps = len(list(checkpoint_steps(joiner)))
    for stop_at in range(steps):
        joiner = Joiner(place.directory)
        joiner.meet(*place.peers())
        assert joiner.run()
        proving = checkpoint_steps(joiner)
        for _ in range(stop_at):
            next(proving)
        proving.close()
        joiner.begin()
        assert joiner.importing.complete
        place.check(joiner.finish())


def checkpoint_steps(joiner: Joiner) -> Any:
    return joiner.importing.finish(may_have_voted=True)


def test_the_trusted_block_must_be_on_the_chain(place: Place) -> None:
    right = TrustedBlock(20, place.solo.chain.block_id(20))
    joiner = Joiner(place.directory, trusted=right)
    joiner.meet(*place.peers())
    assert joiner.run()
    for wrong in (TrustedBlock(20, bytes(32)), TrustedBlock(41, bytes(32))):
        joiner = Joiner(place.directory, trusted=wrong)
        joiner.meet(*place.peers())
        assert not joiner.run()
        assert joiner.importing.manifest is None
        if wrong.height == 20:
            assert set(joiner.dropped.values()) == {"join_trusted_block"}


def test_c9_set_changes_are_followed_and_only_the_certified_set_vouches(tmp_path: Path) -> None:
    """The set is replaced one by one; at the checkpoint only one of the founders is left."""
    place = Place.__new__(Place)
    place.directory = tmp_path
    place.solo = Solo(GENESIS)
    names = list(NAMES)
    for at in range(3):
        names = [*names[1:], f"new-{at}"]
        envelope = make_envelope(GENESIS, f"set-{at}", [{"type": "toy.validators", "names": names}])
        place.solo.extend([envelope])
        grow(place.solo, 8)
    place.files = make_checkpoint(place.solo, tmp_path / "checkpoints")
    assert [member.name for member in place.solo.chain.validators(place.solo.chain.tip().height).members] == names
    joiner = Joiner(tmp_path)
    joiner.meet(*place.peers(*NAMES[:3]))
    assert not joiner.run(), "validators that have left cannot vouch"
    joiner.meet(*place.peers("new-0", "new-1"))
    assert joiner.run()
    chain = joiner.finish()
    assert [member.name for member in chain.validators(chain.tip().height + 1).members] == names


def test_n3_headers_cost_what_is_given_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the sets of all later changes, of a chain that has lived for long."""
    solo, names = Solo(GENESIS), list(NAMES)
    for at in range(20):
        names = [*names[1:], f"new-{at}"]
        solo.extend([make_envelope(GENESIS, f"set-{at}", [{"type": "toy.validators", "names": names}])])
    view, read = solo.chain.view, []
    scan = view.scan

    def counted(*where: Any) -> Iterator[tuple[bytes, bytes]]:
        for key, value in scan(*where):
            read.append(key)
            yield key, value

    monkeypatch.setattr(view, "scan", counted)
    entries = list(islice(solo.chain.wire_headers(3), 4))
    assert [ValidatorSet.decode(following) for _, _, following in entries] == [
        solo.chain.validators(height + 1) for height in range(3, 7)
    ]
    assert sum(key[:1] == schema.VALIDATORS for key in read) <= 5
    assert list(solo.chain.wire_headers(21)) == list(solo.chain.wire_headers(2**64 - 1)) == []


def test_c9_who_has_left_vouches_for_no_checkpoint_of_its_time_either(place: Place) -> None:
    """At 30 they were members. Now nothing binds them, and the index is what no header proves."""

    def index_changed(entries: dict[bytes, bytes]) -> None:
        entries[schema.index(b"opened/a7")] = b"8"

    lie = false_checkpoint(place, index_changed)
    names = list(NAMES)
    for at in range(4):
        names = [*names[1:], f"new-{at}"]
        change = {"type": "toy.validators", "names": names}
        place.solo.extend([make_envelope(GENESIS, f"set-{at}", [change])])
        grow(place.solo, 2)
    joiner = Joiner(place.directory)
    joiner.meet(*[Peer(name, place.solo, lie) for name in NAMES])
    assert not joiner.run()
    assert joiner.importing.manifest is None
    joiner.meet(*place.peers("new-0", "new-1"))
    assert joiner.run(), "members of today vouch for it, whoever signed then"
    assert joiner.finish().view.get(schema.index(b"opened/a7")) == b"7"


def test_a_peer_that_has_made_room_is_passed_over(place: Place) -> None:
    """Between offer and question the checkpoint may be gone: an empty part is no lie."""
    peers = place.peers()
    peers[0].alter = lambda answer: replace(answer, part=b"") if isinstance(answer, AnswerPart) else answer
    joiner = Joiner(place.directory)
    joiner.meet(*peers)
    assert joiner.run()
    assert joiner.dropped == {}
    place.check(joiner.finish())


def test_a_newer_checkpoint_is_taken_when_the_old_one_is_gone_everywhere(place: Place) -> None:
    joiner = Joiner(place.directory)
    joiner.meet(*place.peers())
    assert not joiner.run(until=lambda: joiner.importing.taken == 3)
    newer = make_checkpoint(place.solo, place.directory / "newer")
    joiner.peers.clear()
    joiner.begin()
    joiner.meet(*[Peer(name, place.solo, newer) for name in NAMES])
    assert joiner.run()
    assert joiner.finish().tip().height == 40


def test_silent_peers_are_asked_last(place: Place) -> None:
    peers = place.peers()
    for silent in peers[:2]:
        silent.alter = lambda answer: None if isinstance(answer, AnswerPart) else answer
    joiner = Joiner(place.directory)
    joiner.meet(*peers)
    assert joiner.run()
    place.check(joiner.finish())


def test_manifests_are_the_same_on_every_node_whatever_was_pruned(place: Place, tmp_path: Path) -> None:
    store = place.peers(NAMES[0])[0].chain
    whole = [info for info, _ in chunks_of(store.moment())]
    prune(store, 35)
    assert [info for info, _ in chunks_of(ChainStore(store.store, GENESIS).moment())] == whole


def test_genesis_of_another_chain_is_refused(place: Place) -> None:
    joiner = Joiner(place.directory, genesis=make_genesis(NAMES, heartbeat_ms=999))
    joiner.meet(*place.peers())
    assert not joiner.run()
    assert set(joiner.dropped.values()) == {"sync_wrong_chain"}
