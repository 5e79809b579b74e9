"""The query log: every question of a regulator is in it before its answer leaves, and what is taken out of it shows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from common.core.errors import InvariantBroken, Unavailable
from common.node.store.store_errors import DamagedStore
from custody_chain.audit_log import AuditedQuery, AuditLog, follow_log
from custody_chain.queries import holdings
from tests.api.custody_server import ALERTS, INVESTOR, CustodyServer


def lines(custody: CustodyServer) -> list[dict[str, Any]]:
    return [json.loads(line) for line in custody.audit_file.read_text("ascii").splitlines()]


def test_every_question_is_in_the_query_log_with_its_outcome(custody: CustodyServer) -> None:
    before = len(lines(custody))
    custody.get(INVESTOR, role="provincial-beijing", limit=7)
    custody.ask(INVESTOR, "reader")
    custody.ask(ALERTS, since="x")
    custody.get("/v1/regions", role="relay")
    custody.ask("/v1/evidence/beijing/pledge")
    asked, refused, malformed, evidence = lines(custody)[before:]
    assert (asked["subject"], asked["role"], asked["path"], asked["query"], asked["status"]) == (
        "provincial-beijing",
        "provincial",
        INVESTOR,
        "limit=7",
        200,
    )
    assert asked["custody_height"] == 4
    assert (refused["role"], refused["code"]) == ("reader", "role_not_allowed")
    assert malformed["code"] == "request_invalid"
    assert evidence["custody_height"] == 4
    assert follow_log(custody.audit_file).lines == len(lines(custody))


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        (DamagedStore("a value is damaged", remedy="none"), 503, "database_damaged"),
        (InvariantBroken("the index names a transaction that the chain does not have"), 500, "internal_error"),
        (KeyError("name"), 500, "internal_error"),
    ],
)
def test_a_question_at_which_the_node_fails_is_in_the_query_log(
    custody: CustodyServer, monkeypatch: pytest.MonkeyPatch, failure: Exception, status: int, code: str
) -> None:
    def fail(*arguments: Any) -> None:
        raise failure

    monkeypatch.setattr(holdings, "investor", fail)
    before = len(lines(custody))
    answer = custody.ask(INVESTOR, "provincial-beijing")
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    (line,) = lines(custody)[before:]
    assert (line["subject"], line["path"], line["code"], line["status"]) == ("provincial-beijing", INVESTOR, code, None)


def test_n6_a_client_cannot_write_a_line_of_the_query_log(custody: CustodyServer) -> None:
    before = len(lines(custody))
    path = "/v1/supervision/investors/Q1%0A%7B%22sequence%22%3A0%7D%E2%80%AE"
    custody.ask(path, cursor='a\n{"sequence":0}\r\x1b[31m\u202e')
    text = custody.audit_file.read_bytes()
    assert len(lines(custody)) == before + 1
    assert text.isascii()
    assert not set(text) & {*range(32)} - {10}


def test_nothing_is_answered_that_cannot_be_logged(custody: CustodyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: AuditLog, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(AuditLog, "_append", fail)
    answer = custody.ask(INVESTOR)
    assert (answer.status_code, answer.json()["code"]) == (503, "audit_unavailable")
    assert "positions" not in answer.text


def query(path: str) -> AuditedQuery:
    return AuditedQuery(request_id="1", method="GET", path=path, query="", status=200, code=None, custody_height=1)


def written(directory: Path, questions: int) -> Path:
    """A log of so many questions, closed."""
    path = directory / "queries.jsonl"
    log = AuditLog(path)
    for number in range(questions):
        log.record(None, query(f"/{number}"))
    log.close()
    return path


def test_the_query_log_goes_on_after_a_restart_a_torn_line_and_rotation(tmp_path: Path) -> None:
    path = tmp_path / "log" / "queries.jsonl"
    log = AuditLog(path, now_ms=lambda: 7)
    log.record(None, query("/1"))
    log.close()
    with path.open("ab") as file:
        file.write(b'{"sequence":1,"time_ms":7')
    log = AuditLog(path)
    log.record(None, query("/2"))
    assert (follow_log(path).lines, follow_log(path).torn) == (2, 1)
    path.rename(tmp_path / "old.jsonl")
    log.record(None, query("/3"))
    log.close()
    newest = json.loads(path.read_text())
    assert (newest["sequence"], newest["path"]) == (2, "/3")
    joined = tmp_path / "joined.jsonl"
    joined.write_bytes((tmp_path / "old.jsonl").read_bytes() + path.read_bytes())
    assert follow_log(joined).lines == 3


def test_the_query_log_goes_on_when_its_folder_comes_back(tmp_path: Path) -> None:
    folder = tmp_path / "mounted"
    path = folder / "queries.jsonl"
    log = AuditLog(path)
    log.record(None, query("/1"))
    folder.rename(tmp_path / "gone")
    for _ in range(2):
        with pytest.raises(Unavailable, match="query log"):
            log.record(None, query("/unanswered"))
    (tmp_path / "gone").rename(folder)
    log.record(None, query("/2"))
    log.close()
    assert follow_log(path).lines == 2


def test_a_line_taken_out_of_the_query_log_shows(tmp_path: Path) -> None:
    path = written(tmp_path, 4)
    kept = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(kept[:1] + kept[2:]))
    with pytest.raises(ValueError, match="line 2"):
        follow_log(path)


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_lines_cut_off_the_start_of_the_query_log_show(tmp_path: Path, cut: int) -> None:
    path = written(tmp_path, 4)
    kept = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(kept[cut:]))
    with pytest.raises(ValueError, match="line 1"):
        follow_log(path)
    last = hashlib.sha256(kept[cut - 1].rstrip(b"\n")).hexdigest()
    assert follow_log(path, last).lines == 4 - cut, "a rotated file is checked against the one before"


def test_the_query_log_must_be_writable_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        AuditLog(tmp_path)


def spoil(kept: list[bytes], number: int, line: bytes) -> list[bytes]:
    return [*kept[:number], line, *kept[number + 1 :]]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda kept: [kept[0], *(b"#" + line for line in kept[1:])], 2),
        (lambda kept: spoil(kept, 3, b"x\n"), 4),
        (lambda kept: spoil(kept, 1, b"\n" + kept[1]), 2),
        (lambda kept: [*kept, b"null\n"], 5),
        (lambda kept: [*kept, b"[" * 50_000], 5),
        (lambda kept: [*kept[:2], kept[1][:20] + b"\n", *kept[2:]], 3),
        (lambda kept: spoil(kept, 2, kept[2].replace(b'"sequence":2', b'"sequence":7')), 3),
        (lambda kept: [b"name = 'a settings file'\n"], 1),
        (lambda kept: [b'{"sequence":0,"note":"nothing asked"}\n', *kept], 1),
        (lambda kept: [*kept, b'{"sequence":4,"note":"nothing asked"\n'], 5),
        (lambda kept: spoil(kept, 2, b"\0\0" + kept[2]), 3),
        (lambda kept: [*kept, b'{"sequence":40'], 5),
    ],
)
def test_a_spoilt_line_of_the_query_log_shows(
    tmp_path: Path, change: Callable[[list[bytes]], list[bytes]], line: int
) -> None:
    path = written(tmp_path, 4)
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))
    with pytest.raises(ValueError, match=f"line {line} "):
        follow_log(path)


def test_an_entry_that_lost_its_line_end_to_a_power_cut_is_a_torn_one(tmp_path: Path) -> None:
    """The writer goes on with the same number: zeros behind an entry do not say that it was whole."""
    path = written(tmp_path, 3)
    path.write_bytes(path.read_bytes()[:-1] + bytes(40))
    log = AuditLog(path)
    log.record(None, query("/3"))
    log.close()
    assert follow_log(path) == replace(follow_log(path), lines=3, torn=1)


@pytest.mark.parametrize("left", [b'{"sequence":4', b'{"sequence":4,"time_', b"\0" * 300, b'{"seq\0\0'])
def test_what_a_crash_leaves_of_a_line_is_counted_and_the_log_goes_on(tmp_path: Path, left: bytes) -> None:
    path = tmp_path / "queries.jsonl"
    for number in (0, 4):
        log = AuditLog(path)
        for at in range(number, number + 4):
            log.record(None, query(f"/{at}"))
        log.close()
        with path.open("ab") as file:
            file.write(left.replace(b":4", b":%d" % (number + 4)))
    assert follow_log(path) == replace(follow_log(path), lines=8, torn=2)
