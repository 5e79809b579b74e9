"""Key files: PKCS#8 PEM, readable by their owner alone, optionally encrypted under a passphrase.

Purpose: make, read and show the keys of validators and signers. Any PKCS#8 tool can make or read the same files
(`openssl genpkey -algorithm ed25519`).

Invariants:
  K1  A key file is created with mode 0600 in one step and never written over.
  K2  A key or passphrase file that other users of the machine may touch is refused; group-readable is warned about
      only, because container platforms hand secrets over that way.
  K3  A key file names its public key above the PEM block (RFC 7468 allows text there), and is refused if it holds
      another: one damaged bit of a seed makes another valid key (attack S2). Files of other tools lack the line.
  K4  The seed never appears in `repr`, in an error or in a log.

Leaves out: hardware modules; signing (`common.core.suite`).
Reference: RFC 5958 (PKCS#8), RFC 8410 (Ed25519 in it); contract.md, "Production key files are encrypted".
"""

from __future__ import annotations

import logging
import os
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from common.core.errors import Conflict, Forbidden, Malformed, NotFound
from common.core.suite import ED25519_SHA256, Suite
from common.node.store import disk

MAX_KEY_FILE_BYTES = 16 * 1024
"""An encrypted PKCS#8 key takes under 1 KiB."""

SEED_BYTES = 32
_OWNER = b"public key: "

_log = logging.getLogger("tongjian.keys")


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A signing key: `text` is the public key as transactions spell it (`ed25519:<64 hex>`)."""

    seed: bytes = field(repr=False)
    public_key: bytes
    text: str
    suite: Suite
    """What it signs with."""


def _key_pair(seed: bytes, suite: Suite) -> KeyPair:
    public_key = suite.public_key(seed)
    return KeyPair(seed=seed, public_key=public_key, text=suite.format_key(public_key), suite=suite)


def _require_supported(suite: Suite) -> None:
    if suite.key_prefix != ED25519_SHA256.key_prefix:
        raise Malformed("key_file_suite", f"no key file format is known for keys of the suite {suite.name}")


def read_private_file(path: Path, what: str, max_size: int = MAX_KEY_FILE_BYTES) -> bytes:
    """Read a secret file. Raises NotFound, Malformed (too large) or Forbidden('key_file_permissions') (rule K2)."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise Malformed("key_file_unreadable", f"{what} {path} is not a regular file")
            _check_mode(path, what, stat.S_IMODE(mode))
            data = file.read(max_size + 1)
    except FileNotFoundError as error:
        raise NotFound("key_file_missing", f"{what} {path} does not exist") from error
    except OSError as error:
        raise Malformed("key_file_unreadable", f"{what} {path} cannot be read: {error.strerror}") from error
    if len(data) > max_size:
        raise Malformed("key_file_unreadable", f"{what} {path} is larger than {max_size} bytes")
    return data


def _check_mode(path: Path, what: str, mode: int) -> None:
    if mode & (stat.S_IRWXO | stat.S_IWGRP):
        raise Forbidden(
            "key_file_permissions",
            f"{what} {path} has mode {mode:04o}, so other users of this machine could read or change it; "
            f"run: chmod 600 {path}",
        )
    if mode & stat.S_IRGRP:
        _log.warning("key file is readable by its group", extra={"file": str(path), "mode": f"{mode:04o}"})


def read_passphrase(path: Path) -> bytes:
    """The passphrase in a file: its first line. Raises as `read_private_file`, and Malformed if it is empty."""
    lines = read_private_file(path, "passphrase file").splitlines()
    if not lines or not lines[0]:
        raise Malformed("passphrase_empty", f"the first line of passphrase file {path} is empty")
    return lines[0]


def write_private_file(path: Path, data: bytes) -> None:
    """Create a file of mode 0600 and fsync it. Raises Conflict('key_file_exists') rather than write over one (K1)."""
    try:
        disk.create_file(path, data, 0o600, "private_file")
    except FileExistsError as error:
        raise Conflict("key_file_exists", f"{path} exists already; keys are never written over") from error


def encode_key(seed: bytes, passphrase: bytes | None = None) -> bytes:
    """PKCS#8 PEM of a seed, encrypted if a passphrase is given (scrypt or PBKDF2 with AES-256, the library's best)."""
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase is not None:
        encryption = serialization.BestAvailableEncryption(passphrase)
    key = Ed25519PrivateKey.from_private_bytes(seed)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    return _OWNER + _key_pair(seed, ED25519_SHA256).text.encode("ascii") + b"\n" + pem


def generate_key(path: Path, *, passphrase: bytes | None = None, suite: Suite = ED25519_SHA256) -> KeyPair:
    """Make a new key and its file. Raises Conflict if the file exists."""
    _require_supported(suite)
    seed = secrets.token_bytes(SEED_BYTES)
    write_private_file(path, encode_key(seed, passphrase))
    return _key_pair(seed, suite)


def load_key(path: Path, *, passphrase: bytes | None = None, suite: Suite = ED25519_SHA256) -> KeyPair:
    """Read a key file.

    Raises NotFound, Forbidden('key_file_permissions'), or Malformed with code key_file_encrypted (a passphrase is
    needed), key_file_passphrase (it is wrong, or the file is damaged), key_file_not_encrypted (a passphrase was given
    for a file without one), key_file_damaged (K3) or key_file_unreadable.
    """
    _require_supported(suite)
    data = read_private_file(path, "key file")
    try:
        key = serialization.load_pem_private_key(data, password=passphrase)
    except TypeError as error:
        if passphrase is None:
            raise Malformed("key_file_encrypted", f"key file {path} is encrypted; give --passphrase-file") from error
        raise Malformed("key_file_not_encrypted", f"key file {path} is not encrypted; give no passphrase") from error
    except (ValueError, UnsupportedAlgorithm, InternalError) as error:
        code = "key_file_unreadable" if passphrase is None else "key_file_passphrase"
        why = "is not a PKCS#8 PEM key" if passphrase is None else "does not open with this passphrase"
        raise Malformed(code, f"key file {path} {why}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise Malformed("key_file_unreadable", f"key file {path} does not hold a key of the suite {suite.name}")
    seed = key.private_bytes(serialization.Encoding.Raw, serialization.PrivateFormat.Raw, serialization.NoEncryption())
    pair = _key_pair(seed, suite)
    owner = next((line for line in data.splitlines() if line.startswith(_OWNER)), None)
    if owner is not None and owner != _OWNER + pair.text.encode("ascii"):
        raise Malformed(
            "key_file_damaged",
            f"key file {path} holds another key than the one that it names: it is damaged; restore it from its backup",
        )
    return pair


def load_key_file(path: Path, passphrase_file: Path | None, suite: Suite = ED25519_SHA256) -> KeyPair:
    """`load_key` with the passphrase in a file, as settings and the command line name it."""
    return load_key(path, passphrase=read_passphrase(passphrase_file) if passphrase_file else None, suite=suite)
