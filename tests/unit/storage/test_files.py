"""Files beside database and vote log: whenever the process dies, the old one or the new one is there, whole."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from common.core.errors import NotFound, Rejected
from common.node.access import issue_token, list_tokens
from common.node.keys import generate_key, load_key
from common.node.logic.catchup.checkpoint_format import Manifest
from common.node.logic.wire.checkpoint_messages import MANIFEST_PART
from common.node.peer.certificates import create_authority, issue_certificate, read_certificates
from common.node.store import fault_points
from common.node.store.chain_store import ChainStore
from common.node.store.fault_points import AFTER, BEFORE, POINTS
from common.node.store.storage import LevelDBStore, MemoryStore
from common.node.upkeep.backup import back_up, read_backup, restore
from common.node.upkeep.checkpoint_store import CheckpointFiles
from tests.support.executed_chain import ExecutedChain

NOW_MS = 1_700_000_000_000


def in_a_process(work: Callable[[], object], fault: str) -> int:
    """Do something in a process of its own with a fault armed; its exit code, negative if it was killed."""
    child = os.fork()
    if child == 0:
        fault_points.arm(fault)
        code = 0
        try:
            work()
        except (Rejected, OSError):
            code = 1
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def faults(kind: str, leave_out: tuple[str, ...] = ()) -> list[tuple[str, int]]:
    """Every fault of a group of points, and the exit code that it leads to."""
    chosen = [point for point in POINTS if point.partition(".")[0] == kind and point not in leave_out]
    assert len(chosen) >= 2
    found = [(f"{point}:{moment}:1:kill", -9) for point in chosen for moment in (BEFORE, AFTER)]
    found += [(f"{point}:before:1:{action}", 1) for point in chosen for action in ("eio", "enospc")]
    return [*found, (f"{kind}.write:before:1:torn", -9)]


@pytest.mark.parametrize(("fault", "code"), faults("tokens"))
def test_s1_s2_a_tokens_file_is_the_old_one_or_the_new_one(tmp_path: Path, fault: str, code: int) -> None:
    path = tmp_path / "tokens.json"
    issue_token(path, subject="a", organisation="o", role="reader")

    def work() -> None:
        issue_token(path, subject="b", organisation="o", role="reader")

    assert in_a_process(work, fault) == code
    assert [identity.subject for identity in list_tokens(path)] in (["a"], ["a", "b"])
    issue_token(path, subject="c", organisation="o", role="reader")
    assert list_tokens(path)[-1].subject == "c"


@pytest.mark.parametrize(("fault", "code"), faults("certificate"))
def test_s1_s2_a_certificate_is_the_old_one_or_the_new_one(tmp_path: Path, fault: str, code: int) -> None:
    authority = create_authority(tmp_path / "ca.crt", tmp_path / "ca.key", name="a", organisation="o", now_ms=NOW_MS)
    path, key = tmp_path / "tls.crt", tmp_path / "tls.key"

    def work() -> None:
        issue_certificate(authority, path, key, name="n", organisation="o", hosts=["h"], now_ms=NOW_MS)

    work()
    before = path.read_bytes()
    assert in_a_process(work, fault) == code
    for file in (path, key):
        assert file.read_bytes().strip().endswith(b"-----")
    read_certificates(path)
    work()
    assert path.read_bytes() != before


@pytest.mark.parametrize(("fault", "code"), faults("private_file"))
def test_s1_s2_a_key_file_is_whole_or_refused_never_another_key(tmp_path: Path, fault: str, code: int) -> None:
    path = tmp_path / "node.key"
    assert in_a_process(lambda: generate_key(path), fault) == code
    assert outcome(path) in ("whole", "key_file_unreadable", "key_file_missing")


def outcome(path: Path) -> str:
    """What reading a key file gives: 'whole', or the code of the refusal."""
    try:
        return "whole" if len(load_key(path).seed) == 32 else "wrong"
    except Rejected as refusal:
        return refusal.code


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> tuple[ExecutedChain, Path]:
    """A stopped node's data directory with a few blocks."""
    path = tmp_path_factory.mktemp("files")
    store = LevelDBStore(path / "chain")
    chain = ExecutedChain(store)
    chain.grow(3)
    store.close()
    return chain, path


@pytest.mark.parametrize(("fault", "code"), faults("backup"))
def test_s1_s2_a_backup_is_complete_or_none(
    executed: tuple[ExecutedChain, Path], tmp_path: Path, fault: str, code: int
) -> None:
    chain, path = executed
    genesis, target = chain.genesis, tmp_path / "backup"
    assert in_a_process(lambda: list(back_up(path, genesis, target)), fault) == code
    with pytest.raises(NotFound):
        read_backup(target, genesis)
    list(back_up(path, genesis, tmp_path / "again"))
    assert read_backup(tmp_path / "again", genesis).height == 3


@pytest.mark.parametrize("moment", [BEFORE, AFTER])
@pytest.mark.parametrize("point", ["staging.remove", "staging.rename", "staging.directory_sync"])
def test_s1_a_restored_chain_is_there_or_can_be_restored_again(
    executed: tuple[ExecutedChain, Path], tmp_path: Path, point: str, moment: str
) -> None:
    chain, path = executed
    genesis, data = chain.genesis, tmp_path / "data"
    list(back_up(path, genesis, tmp_path / "backup"))
    restored = in_a_process(lambda: list(restore(data, genesis, tmp_path / "backup")), f"{point}:{moment}:1:kill")
    assert restored == -9
    if not (data / "chain").exists():
        list(restore(data, genesis, tmp_path / "backup"))
    store = LevelDBStore(data / "chain")
    assert ChainStore(store, genesis).tip().height == 3
    store.close()


@pytest.mark.parametrize(
    "fault",
    [
        *[f"checkpoint.{what}:{moment}:1:kill" for what in ("write", "rename", "remove") for moment in (BEFORE, AFTER)],
        "checkpoint.write:before:1:torn",
        "checkpoint.write:before:2:eio",
    ],
)
def test_s1_s2_a_checkpoint_is_whole_or_not_offered(tmp_path: Path, fault: str) -> None:
    executed = ExecutedChain(MemoryStore())
    executed.grow(3)
    suite, moment = executed.genesis.suite, executed.chain.moment()
    directory = tmp_path / "checkpoints"
    directory.mkdir()

    def make() -> None:
        CheckpointFiles(directory, suite).make(moment, lambda seconds: None, lambda: False)

    assert in_a_process(make, fault) in (-9, 1)
    files = CheckpointFiles(directory, suite)
    assert [file.name for file in directory.iterdir() if file.name.endswith(".partial")] == []
    for offer in files.offers():
        manifest = Manifest.decode(files.part(offer.height, MANIFEST_PART) or b"")
        assert all(files.part(offer.height, number) is not None for number in range(len(manifest.chunks)))
    make()
    assert [offer.height for offer in CheckpointFiles(directory, suite).offers()] == [3]
