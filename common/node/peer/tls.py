"""TLS contexts of a node, read again when a certificate is rotated.

Invariants:
  X1  TLS 1.3 only. Peers show certificates of the configured authorities, in both directions.
  X2  No session tickets: every channel is a full handshake, so that both certificates are always known (the hello binds
      them).
  X3  New files take effect with the next connection, without a restart; files that do not fit together (read in the
      middle of a rotation) leave the old ones in force.

Leaves out: host names. A peer's identity is its validator key, proven in the hello, not a name in a certificate.
Reference: RFC 8446; protocol rule 7; contract.md, "`cert list / rotate` — reloaded live".
"""

from __future__ import annotations

import logging
import os
import ssl
from dataclasses import dataclass
from pathlib import Path

from common.core.errors import Malformed, Rejected
from common.node.peer.certificates import certificate_der

_log = logging.getLogger("tongjian.tls")

_Stamp = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class PeerContexts:
    """One generation of the peer channel's TLS material."""

    listener: ssl.SSLContext
    dialler: ssl.SSLContext
    certificate: bytes
    """Our certificate, DER: what the hello binds."""


def _stamp(paths: tuple[Path, ...]) -> _Stamp:
    facts = [os.stat(path) for path in paths]
    return tuple((fact.st_ino, fact.st_mtime_ns, fact.st_size) for fact in facts)


def _strict(protocol: int, certificate_file: Path, private_key_file: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.maximum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(certificate_file, private_key_file)
    return context


def _prove_key(server: ssl.SSLContext) -> None:
    """Shake hands with ourselves in memory: a damaged key may still hold the certificate's public part, which is all
    that loading compares, and then no signature of it holds (attack S2). Raises ssl.SSLError.
    """
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    while ends:
        for end in list(ends):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            ends.remove(end)


def _peer_contexts(certificate_file: Path, private_key_file: Path, ca_file: Path) -> PeerContexts:
    listener = _strict(ssl.PROTOCOL_TLS_SERVER, certificate_file, private_key_file)
    _prove_key(listener)
    listener.num_tickets = 0
    dialler = _strict(ssl.PROTOCOL_TLS_CLIENT, certificate_file, private_key_file)
    dialler.check_hostname = False
    for context in (listener, dialler):
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
        context.load_verify_locations(cafile=ca_file)
    return PeerContexts(listener, dialler, certificate_der(certificate_file))


class PeerTls:
    """The peer channel's contexts; `current()` looks whether the files have changed."""

    def __init__(self, certificate_file: Path, private_key_file: Path, ca_file: Path) -> None:
        """Raises Malformed('tls_unusable') if the files cannot be used at all."""
        self._paths = (certificate_file, private_key_file, ca_file)
        self._stamp = _stamp(self._paths)
        try:
            self._contexts = _peer_contexts(*self._paths)
        except (OSError, Rejected) as error:
            raise _unusable(certificate_file, error) from error

    def current(self) -> PeerContexts:
        """The contexts for the next connection."""
        try:
            stamp = _stamp(self._paths)
            if stamp != self._stamp:
                self._contexts = _peer_contexts(*self._paths)
                self._stamp = stamp
                _log.info("peer certificates read again", extra={"file": str(self._paths[0])})
        except (OSError, Rejected) as error:
            _log.warning("peer certificates not usable, the old ones stay", extra={"error": str(error)})
        return self._contexts


class ApiTls:
    """The HTTPS interface's context: TLS 1.3, no client certificates (bearer tokens do that)."""

    def __init__(self, certificate_file: Path, private_key_file: Path) -> None:
        """Raises Malformed('tls_unusable') if the files cannot be used at all."""
        self._paths = (certificate_file, private_key_file)
        self._stamp = _stamp(self._paths)
        try:
            self._context = self._load()
        except OSError as error:
            raise _unusable(certificate_file, error) from error

    def _load(self) -> ssl.SSLContext:
        context = _strict(ssl.PROTOCOL_TLS_SERVER, *self._paths)
        _prove_key(context)
        context.set_alpn_protocols(["http/1.1"])
        return context

    def current(self) -> ssl.SSLContext:
        """The context for the next connection."""
        try:
            stamp = _stamp(self._paths)
            if stamp != self._stamp:
                self._context = self._load()
                self._stamp = stamp
                _log.info("API certificate read again", extra={"file": str(self._paths[0])})
        except OSError as error:
            _log.warning("API certificate not usable, the old one stays", extra={"error": str(error)})
        return self._context


def _unusable(certificate_file: Path, error: Exception) -> Malformed:
    return Malformed(
        "tls_unusable",
        f"certificate {certificate_file}, its key or its authority cannot be used: {error}; "
        "check that they belong together, or issue new ones with `tongjian cert rotate`",
    )
