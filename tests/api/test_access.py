"""Tokens: hashed at rest, revocable and reloaded live, expiring, and what each role opens."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from common.core.errors import Malformed, NotFound, Unauthorised, Unavailable
from common.node import access
from common.node.access import Role, TokenStore, issue_token, list_tokens, revoke_token
from common.node.store import disk
from custody_chain.routes import sees
from tests.support.refusals import refused


def bearer(secret: str) -> bytes:
    return b"Bearer " + secret.encode()


def issue(path: Path, role: str = "operator", **options: Any) -> access.IssuedToken:
    return issue_token(path, subject="somebody", organisation="somewhere", role=role, **options)


def refusal(store: TokenStore, header: bytes | None) -> str:
    with pytest.raises(Unauthorised) as caught:
        store.identify(header)
    return caught.value.code


def test_a_token_is_kept_as_a_hash_only_in_a_private_file(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    token = issue(path, regions=["beijing"], expires_ms=2_000_000_000_000, now_ms=0)
    text = path.read_text()
    assert token.secret not in text
    assert hashlib.sha256(token.secret.encode()).hexdigest() in text
    assert path.stat().st_mode & 0o777 == 0o600
    document = json.loads(text)
    assert document["format"] == "tongjian/tokens/v1"
    assert document["tokens"][0] | {"hash": "", "id": ""} == {
        "id": "",
        "hash": "",
        "subject": "somebody",
        "organisation": "somewhere",
        "role": "operator",
        "regions": ["beijing"],
        "expires_ms": 2_000_000_000_000,
    }
    assert len(token.secret) > 40


def test_the_bearer_is_identified_and_its_regions_limit_it(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    limited, free = issue(path, "provincial", regions=["beijing"]), issue(path, "supervisor")
    store = TokenStore(path)
    who = store.identify(bearer(limited.secret))
    assert (who.id, who.role, who.subject) == (limited.id, Role.PROVINCIAL, "somebody")
    assert (who.may_see_region("beijing"), who.may_see_region("shanghai")) == (True, False)
    assert store.identify(b"bearer  " + free.secret.encode()).may_see_region("shanghai")


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, "token_missing"),
        (b"", "token_missing"),
        (b"Bearer", "token_missing"),
        (b"Basic dXNlcjpwYXNz", "token_missing"),
        (b"Bearer wrong", "token_unknown"),
        (b"Bearer \xff\x00", "token_unknown"),
    ],
)
def test_other_authorization_headers_are_refused(tmp_path: Path, header: bytes | None, code: str) -> None:
    path = tmp_path / "tokens.json"
    issue(path)
    assert refusal(TokenStore(path), header) == code


def test_the_stored_hash_is_no_token(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    issue(path)
    stored = json.loads(path.read_text())["tokens"][0]["hash"]
    assert refusal(TokenStore(path), bearer(stored)) == "token_unknown"


def test_revocation_and_issue_count_from_the_next_request_on(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    first = issue(path)
    store = TokenStore(path)
    second = issue(path)
    assert store.identify(bearer(second.secret)).id == second.id
    revoke_token(path, first.id)
    assert refusal(store, bearer(first.secret)) == "token_unknown"
    assert store.identify(bearer(second.secret)).id == second.id
    assert [token.id for token in list_tokens(path)] == [second.id]
    with pytest.raises(NotFound):
        revoke_token(path, first.id)


def test_a_token_expires_at_its_time(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    now = 1_000
    token = issue(path, expires_ms=2_000, now_ms=now)
    store = TokenStore(path, lambda: now)
    assert store.identify(bearer(token.secret)).expires_ms == 2_000
    now = 1_999
    store.identify(bearer(token.secret))
    now = 2_000
    assert refusal(store, bearer(token.secret)) == "token_expired"
    with pytest.raises(Malformed):
        issue(path, expires_ms=2_000, now_ms=2_000)


def test_a_file_that_disappears_admits_nobody(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    token = issue(path)
    store = TokenStore(path)
    path.unlink()
    assert refusal(store, bearer(token.secret)) == "token_unknown"
    with pytest.raises(Unavailable):
        TokenStore(path)


def test_a_damaged_file_leaves_the_last_good_tokens_in_force(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "tokens.json"
    token = issue(path)
    store = TokenStore(path)
    good = path.read_bytes()
    parsed: list[Path] = []
    read_tokens = access._read_tokens

    def counted(file: Path) -> list[access._Record]:
        parsed.append(file)
        return read_tokens(file)

    misspelt = (good.replace(b"operator", b"emperor"), good.replace(b"somewhere", b"Somewhere"))
    for text in (b"", b"{", b'{"format":"tongjian/tokens/v2","tokens":[]}', *misspelt):
        path.write_bytes(text)
        caplog.clear()
        with monkeypatch.context() as patch:
            patch.setattr(access, "_read_tokens", counted)
            for _ in range(3):
                assert store.identify(bearer(token.secret)).id == token.id
        assert len(parsed) == 1, "a damaged file is parsed once, however many ask"
        parsed.clear()
        assert [record.levelname for record in caplog.records] == ["ERROR"], "once, not with every request"
        with pytest.raises(Malformed):
            TokenStore(path)
    path.write_bytes(b'{"format":"tongjian/tokens/v1","tokens":[]}')
    assert refusal(store, bearer(token.secret)) == "token_unknown"


def test_a_token_that_was_revoked_while_the_file_could_not_be_read_is_refused_once_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither content nor time of change tell that the cause has gone: an owner, a descriptor, a disk."""
    path = tmp_path / "tokens.json"
    token = issue(path)
    store = TokenStore(path)
    revoke_token(path, token.id)

    def unreadable(file: Path) -> list[access._Record]:
        raise Unavailable("tokens_unreadable", f"{file}: too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(access, "_read_tokens", unreadable)
        assert store.knows(bearer(token.secret)), "the last good tokens stay in force"
    assert not store.knows(bearer(token.secret))


def test_a_file_of_the_same_size_and_time_is_read_again(tmp_path: Path) -> None:
    """A copy that keeps times, or an editor: the file system tells of it all the same."""
    path = tmp_path / "tokens.json"
    token, other = issue(path), issue(path)
    store = TokenStore(path)
    found, good = path.stat(), path.read_bytes()
    path.write_bytes(good.replace(token.id.encode(), other.id.encode()))
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert path.stat().st_size == found.st_size
    assert store.identify(bearer(token.secret)).id == other.id


@pytest.mark.skipif(os.getuid() != 0, reason="gives files to another user")
def test_an_administrators_command_leaves_the_file_to_the_node(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    token = issue(path)
    os.chown(path, 10_001, 10_002)
    revoke_token(path, token.id)
    found = path.stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (10_001, 10_002, 0o600)


@pytest.mark.skipif(os.getuid() != 0, reason="gives files to another user")
def test_a_replaced_file_has_its_owner_before_it_has_a_name_that_others_could_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node's user may write the directory: by name, another file could be put under an administrator's hands."""
    path, foreign = tmp_path / "tokens.json", tmp_path / "foreign"
    issue(path)
    foreign.write_text("root's")
    os.chown(path, 10_001, 10_002)

    def turned(aside: Path, *content: object, **options: Any) -> None:
        create_file(aside, *content, **options)  # type: ignore[arg-type]
        aside.rename(tmp_path / "away")
        aside.symlink_to(foreign)

    create_file = disk.create_file
    monkeypatch.setattr(disk, "create_file", turned)
    issue(path)
    assert (foreign.stat().st_uid, (tmp_path / "away").stat().st_uid) == (os.getuid(), 10_001)


def test_the_file_is_replaced_in_one_step_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    issue(path)
    inode = path.stat().st_ino
    issue(path)
    assert path.stat().st_ino != inode
    assert os.listdir(tmp_path) == ["tokens.json"]


def test_a_file_that_cannot_be_written_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text("no directory")
    for path in (tmp_path / "absent" / "tokens.json", tmp_path / "tokens" / "tokens.json"):
        with refused("tokens_unwritable", Unavailable):
            issue(path)


@pytest.mark.parametrize(
    "options",
    [
        {"role": "emperor"},
        {"subject": "a\nb"},
        {"organisation": ""},
        {"organisation": "Beijing"},
        {"organisation": "北京股权交易中心"},
        {"regions": ["Beijing"]},
        {"regions": []},
    ],
)
def test_n6_names_that_a_log_would_have_to_escape_are_not_issued(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        issue_token(tmp_path / "tokens.json", **({"subject": "a", "organisation": "b", "role": "reader"} | options))


def test_a_reader_reads_the_chain_and_nothing_else() -> None:
    others = (access.WRITERS, access.TRANSACTION_READERS, access.BUSINESS_READERS, access.SUPERVISORS)
    assert Role.READER in access.CHAIN_READERS
    assert all(Role.READER not in roles for roles in others)
    assert all(Role.FEEDBACK not in roles for roles in (*others, access.CHAIN_READERS))


def test_nobody_reads_the_custody_chains_blocks_past_the_query_log() -> None:
    asking = access.SUPERVISORS | {Role.FEEDBACK}
    for roles in (access.CHAIN_READERS, access.TRANSACTION_READERS):
        assert not access.chain_content_roles(roles, "custody") & asking
        assert access.chain_content_roles(roles, "custody") == roles - asking
        assert access.chain_content_roles(roles, "business") == roles
    assert Role.READER in access.chain_content_roles(access.CHAIN_READERS, "custody")


@pytest.mark.parametrize("role", ["provincial", "feedback"])
def test_a_token_that_is_limited_to_regions_names_them(tmp_path: Path, role: str) -> None:
    path = tmp_path / "tokens.json"
    with refused("token_regions_missing", Malformed):
        issue(path, role)
    assert not path.exists()
    assert issue(path, role, regions=["beijing"]).regions == ("beijing",)


def test_a_scoped_token_without_regions_that_an_editor_wrote_sees_none() -> None:
    for role in access.SCOPED:
        assert not sees(access.Identity("id", "somebody", "somewhere", role, None, None), "beijing")
    assert sees(access.Identity("id", "somebody", "somewhere", Role.SUPERVISOR, None, None), "beijing")
