"""Key files: format, modes, encryption."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import pytest

from common.core.errors import Conflict, Forbidden, Malformed, NotFound, Rejected
from common.core.suite import ED25519_SHA256
from common.node.keys import encode_key, generate_key, load_key, load_key_file, read_passphrase, write_private_file
from tests.support.refusals import refused


def test_a_generated_key_is_private_and_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "node.key"
    made = generate_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    read = load_key(path)
    assert read == made
    assert read.text == ED25519_SHA256.format_key(read.public_key)
    assert read.seed.hex() not in repr(read)


def test_the_public_key_is_the_one_of_the_seed(tmp_path: Path) -> None:
    """RFC 8032, 7.1, test 1."""
    path = tmp_path / "vector.key"
    write_private_file(
        path, encode_key(bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"))
    )
    assert load_key(path).text == "ed25519:d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"


def test_a_key_is_never_written_over(tmp_path: Path) -> None:
    generate_key(tmp_path / "node.key")
    with refused("key_file_exists", Conflict):
        generate_key(tmp_path / "node.key")


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o602, 0o620, 0o660])
def test_a_key_that_others_may_touch_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "node.key"
    generate_key(path)
    path.chmod(mode)
    with pytest.raises(Forbidden) as caught:
        load_key(path)
    assert caught.value.code == "key_file_permissions"
    assert f"chmod 600 {path}" in caught.value.detail


def test_a_group_readable_key_is_warned_about(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "node.key"
    generate_key(path)
    path.chmod(0o640)
    load_key(path)
    assert "readable by its group" in caplog.text


def test_an_encrypted_key_needs_its_passphrase(tmp_path: Path) -> None:
    path = tmp_path / "node.key"
    secret = tmp_path / "passphrase"
    write_private_file(secret, b"correct horse\n")
    made = generate_key(path, passphrase=read_passphrase(secret))
    assert b"ENCRYPTED PRIVATE KEY" in path.read_bytes()
    assert load_key_file(path, secret) == made
    for passphrase, code in ((None, "key_file_encrypted"), (b"wrong", "key_file_passphrase")):
        with refused(code, Malformed):
            load_key(path, passphrase=passphrase)


def test_a_passphrase_for_a_plain_key_is_refused(tmp_path: Path) -> None:
    generate_key(tmp_path / "node.key")
    with refused("key_file_not_encrypted", Malformed):
        load_key(tmp_path / "node.key", passphrase=b"x")


def test_a_readable_passphrase_file_is_refused(tmp_path: Path) -> None:
    secret = tmp_path / "passphrase"
    secret.write_text("x")
    secret.chmod(0o644)
    with pytest.raises(Forbidden):
        read_passphrase(secret)
    secret.chmod(0o600)
    secret.write_text("\n")
    with pytest.raises(Malformed, match="empty"):
        read_passphrase(secret)


def test_what_is_no_key_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        load_key(tmp_path / "absent")
    for data in (b"", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", b"x" * 20_000):
        path = tmp_path / "bad.key"
        path.unlink(missing_ok=True)
        write_private_file(path, data)
        with refused("key_file_unreadable", Malformed):
            load_key(path)


def test_openssl_reads_and_makes_the_same_files(tmp_path: Path) -> None:
    made = generate_key(tmp_path / "node.key")
    command = ["openssl", "pkey", "-in", str(tmp_path / "node.key"), "-noout", "-text"]
    try:
        printed = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    except FileNotFoundError:
        pytest.skip("no openssl command on this machine")
    digits = "".join(character for character in printed if character in "0123456789abcdef")
    assert made.public_key.hex() in digits


@pytest.mark.parametrize("passphrase", [None, b"secret"])
def test_s2_a_damaged_bit_never_makes_another_key(tmp_path: Path, passphrase: bytes | None) -> None:
    """A flipped bit in the base64 of a seed is another valid key: the line above the block tells."""
    seed = bytes(range(32))
    content = encode_key(seed, passphrase)
    codes = set()
    path = tmp_path / "node.key"
    step = 7 if passphrase is None else 97
    for bit in range(0, 8 * len(content), step):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        path.unlink(missing_ok=True)
        write_private_file(path, bytes(changed))
        codes.add(outcome(path, passphrase, seed))
    assert codes <= {"same", "key_file_unreadable", "key_file_damaged", "key_file_passphrase"}
    assert "key_file_damaged" in codes


def outcome(path: Path, passphrase: bytes | None, seed: bytes) -> str:
    """'same' if the file gives the seed that was written, or the code of the refusal."""
    try:
        return "same" if load_key(path, passphrase=passphrase).seed == seed else "another key"
    except Rejected as refusal:
        return refusal.code
