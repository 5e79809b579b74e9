"""The local authority and what it issues."""

from __future__ import annotations

import socket
import ssl
import stat
import threading
import time
from pathlib import Path

import pytest

from common.core.errors import Malformed, NotFound
from common.node.peer.certificates import (
    LEAF_DAYS,
    certificate_der,
    create_authority,
    issue_certificate,
    load_authority,
    read_certificates,
)
from tests.support.refusals import refused

NOW_MS = 1_800_000_000_000
DAY_MS = 86_400_000


def test_a_leaf_carries_its_hosts_and_expiry(tmp_path: Path) -> None:
    authority = create_authority(
        tmp_path / "ca.crt", tmp_path / "ca.key", name="local CA", organisation="X", now_ms=NOW_MS
    )
    made = issue_certificate(
        authority,
        tmp_path / "tls.crt",
        tmp_path / "tls.key",
        name="beijing-1",
        organisation="Beijing Market",
        hosts=["localhost", "127.0.0.1", "::1"],
        now_ms=NOW_MS,
    )
    (read,) = read_certificates(tmp_path / "tls.crt")
    assert read == made
    assert read.hosts == ("localhost", "127.0.0.1", "::1")
    assert read.not_after_ms == NOW_MS + LEAF_DAYS * DAY_MS
    assert read.days_left(NOW_MS) == LEAF_DAYS
    assert read.days_left(read.not_after_ms + 1) == -1
    assert not read.is_authority
    assert read_certificates(tmp_path / "ca.crt")[0].is_authority
    assert stat.S_IMODE((tmp_path / "tls.key").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "ca.key").stat().st_mode) == 0o600
    assert len(certificate_der(tmp_path / "tls.crt")) > 300


def test_rotation_replaces_the_files_and_a_leaf_never_outlives_its_authority(tmp_path: Path) -> None:
    create_authority(tmp_path / "ca.crt", tmp_path / "ca.key", name="CA", organisation="X", now_ms=NOW_MS, days=40)
    authority = load_authority(tmp_path / "ca.crt", tmp_path / "ca.key")
    fingerprints = set()
    for _ in range(2):
        info = issue_certificate(
            authority,
            tmp_path / "tls.crt",
            tmp_path / "tls.key",
            name="n",
            organisation="X",
            hosts=["h"],
            now_ms=NOW_MS,
        )
        fingerprints.add(info.fingerprint)
        assert info.not_after_ms == NOW_MS + 40 * DAY_MS
    assert len(fingerprints) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ca.crt", "ca.key", "tls.crt", "tls.key"]


def test_refusals_are_named(tmp_path: Path) -> None:
    authority = create_authority(tmp_path / "ca.crt", tmp_path / "ca.key", name="CA", organisation="X", now_ms=NOW_MS)
    create_authority(tmp_path / "other.crt", tmp_path / "other.key", name="CA", organisation="X", now_ms=NOW_MS)
    with refused("certificate_no_host", Malformed):
        issue_certificate(
            authority, tmp_path / "c", tmp_path / "k", name="n", organisation="X", hosts=[], now_ms=NOW_MS
        )
    with refused("certificate_key_mismatch", Malformed):
        load_authority(tmp_path / "ca.crt", tmp_path / "other.key")
    with pytest.raises(NotFound):
        read_certificates(tmp_path / "absent")
    (tmp_path / "bad.crt").write_text("not a certificate")
    with refused("certificate_unreadable", Malformed):
        read_certificates(tmp_path / "bad.crt")


def test_python_tls_accepts_them_at_both_ends(tmp_path: Path) -> None:
    now_ms = int(time.time() * 1000)
    authority = create_authority(tmp_path / "ca.crt", tmp_path / "ca.key", name="CA", organisation="X", now_ms=now_ms)
    issue_certificate(
        authority,
        tmp_path / "tls.crt",
        tmp_path / "tls.key",
        name="n",
        organisation="X",
        hosts=["localhost"],
        now_ms=now_ms,
    )
    server_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(tmp_path / "ca.crt"))
    client_context = ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))
    for context in (server_context, client_context):
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
        context.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")
    left, right = socket.socketpair()
    left.settimeout(60)
    right.settimeout(60)
    seen: list[bytes | None] = []

    def serve() -> None:
        with server_context.wrap_socket(left, server_side=True) as connection:
            seen.append(connection.getpeercert(binary_form=True))
            connection.sendall(b"ok")

    thread = threading.Thread(target=serve)
    thread.start()
    with client_context.wrap_socket(right, server_hostname="localhost") as connection:
        assert connection.recv(2) == b"ok"
    thread.join()
    assert seen == [certificate_der(tmp_path / "tls.crt")]
