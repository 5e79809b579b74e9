"""Attack E5, nonce reuse in authenticated encryption after a restart or a restore: what there is of encryption, and
that there is no more.

The suite has no AEAD of its own. What it encrypts is key files, with a password-based scheme whose salt and IV are
drawn anew for each file; and channels, with TLS 1.3, whose nonces come from keys of one handshake that nothing
outlives: no session tickets, no resumption, no early data. The last test keeps it so."""

from __future__ import annotations

import ast
import base64
import re
from pathlib import Path

import pytest

from common.node.keys import encode_key, load_key, write_private_file
from common.node.peer import tls
from common.node.peer.certificates import create_authority, issue_certificate

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("common", "business_chain", "custody_chain", "crosslink", "cli")
SEED, PASSPHRASE = bytes(range(32)), b"correct horse battery staple"
OCTET_STRING, SEQUENCE = 0x04, 0x30


def octet_strings(data: bytes) -> list[bytes]:
    """All OCTET STRINGs of a DER structure, in order (lengths up to 64 KiB)."""
    found, at = [], 0
    while at < len(data):
        tag, length, at = data[at], data[at + 1], at + 2
        if length & 0x80:
            size = length & 0x7F
            length, at = int.from_bytes(data[at : at + size], "big"), at + size
        content, at = data[at : at + length], at + length
        found += [content] if tag == OCTET_STRING else octet_strings(content) if tag == SEQUENCE else []
    return found


def parts(pem: bytes) -> tuple[bytes, bytes, bytes]:
    """Salt, IV and ciphertext of an encrypted key file (PKCS#8 with PBES2, RFC 8018)."""
    label = "ENCRYPTED PRIVATE KEY-----"
    _, begin, rest = pem.decode("ascii").partition(f"-----BEGIN {label}")
    body, end, _ = rest.partition(f"-----END {label}")
    assert begin
    assert end
    salt, iv, ciphertext = octet_strings(base64.b64decode(body))
    return salt, iv, ciphertext


def test_e5_no_two_encrypted_key_files_share_salt_or_iv() -> None:
    """The same key under the same passphrase, again and again, as a restored machine would write it."""
    files = [parts(encode_key(SEED, PASSPHRASE)) for _ in range(6)]
    for salt, iv, ciphertext in files:
        assert len(salt) >= 8
        assert len(iv) == 16
        assert SEED not in ciphertext
    for kind in zip(*files, strict=True):
        assert len(set(kind)) == len(files)


def test_e5_a_restored_key_file_still_opens_and_is_not_written_again(tmp_path: Path) -> None:
    """A node reads its key file and never encrypts: a restart or a restore repeats no encryption at all."""
    path = tmp_path / "node.key"
    write_private_file(path, encode_key(SEED, PASSPHRASE))
    before = path.read_bytes()
    for _ in range(2):
        assert load_key(path, passphrase=PASSPHRASE).seed == SEED
    assert path.read_bytes() == before


def test_e5_every_channel_is_a_full_handshake_of_tls_1_3(tmp_path: Path) -> None:
    """No ticket outlives a handshake, so no key, and no nonce under it, comes back after a restart."""
    authority = create_authority(tmp_path / "ca.crt", tmp_path / "ca.key", name="x", organisation="x", now_ms=10**12)
    files = (tmp_path / "tls.crt", tmp_path / "tls.key")
    issue_certificate(authority, *files, name="a", organisation="x", hosts=["127.0.0.1"], now_ms=10**12)
    contexts = tls.PeerTls(*files, tmp_path / "ca.crt").current()
    assert contexts.listener.num_tickets == 0
    for context in (contexts.listener, contexts.dialler):
        assert context.minimum_version == context.maximum_version == tls.ssl.TLSVersion.TLSv1_3  # type: ignore[attr-defined]


CIPHERS = re.compile(r"(ciphers|aead|fernet|secretbox|nacl\.(secret|public|box)|Crypto\b)", re.I)


@pytest.mark.parametrize("package", PACKAGES)
def test_e5_nothing_else_encrypts(package: str) -> None:
    """No module of the product imports a cipher: whoever adds one brings tests of its nonces, and changes this one."""
    found = []
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Attribute):
                names = [node.attr]
            else:
                continue
            found += [f"{path.name}: {name}" for name in names if CIPHERS.search(name) and name != "set_ciphers"]
    assert found == []
