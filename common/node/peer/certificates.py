"""TLS certificates of a network: a local authority, the certificates it issues, and reading their expiry.

Purpose: `localnet init`, `node init` and `cert list|rotate` make EC P-256 certificates here; `doctor` and the node's
start-up checks read expiry here. A production network may use any other authority: the node reads plain PEM files.

Invariants:
  T1  The authority signs only end-entity certificates (path length 0); a leaf cannot issue.
  T2  A leaf serves as server and as client, because both ends of a peer channel show one.
  T3  Files appear complete or not at all: written aside, synced, renamed.

Leaves out: revocation (a channel is bound to a validator key by the hello, protocol rule 7, and validator keys leave
through the validator set) and renewal through a public authority.
Reference: RFC 5280; RFC 8446 (TLS 1.3).
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from common.core.errors import Conflict, Malformed, NotFound
from common.node.keys import read_private_file, write_private_file
from common.node.store import disk

AUTHORITY_DAYS = 3650
"""Ten years: the life of a deployment; replaced by listing old and new in `peer.ca_file`."""
LEAF_DAYS = 825
"""The longest that common TLS clients accept for a private authority's server certificate."""
CLOCK_SLACK = datetime.timedelta(hours=1)
"""Certificates begin an hour in the past, so that a machine whose clock is behind accepts a fresh one."""


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority: its certificate and key."""

    certificate: x509.Certificate
    private_key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        """The certificate as PEM."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)


@dataclass(frozen=True, slots=True)
class CertificateInfo:
    """What `cert list` and `doctor` print of one certificate; times in milliseconds since the Unix epoch."""

    subject: str
    issuer: str
    serial_number: int
    not_before_ms: int
    not_after_ms: int
    hosts: tuple[str, ...]
    fingerprint: str
    is_authority: bool

    def days_left(self, now_ms: int) -> int:
        """Whole days until expiry; negative once expired."""
        return (self.not_after_ms - now_ms) // 86_400_000


def _time(now_ms: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(now_ms / 1000, tz=datetime.UTC)


def _name(common_name: str, organisation: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _replace_file(path: Path, data: bytes, mode: int) -> None:
    disk.replace_file(path, path.with_name(f".{path.name}.new"), data, mode, "certificate")


def create_authority(
    certificate_file: Path, key_file: Path, *, name: str, organisation: str, now_ms: int, days: int = AUTHORITY_DAYS
) -> Authority:
    """Make an authority and write its certificate (0644) and key (0600).

    Raises Conflict('key_file_exists') if there is a key already: it is never written over.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name(name, organisation)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_time(now_ms) - CLOCK_SLACK)
        .not_valid_after(_time(now_ms) + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(sign_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    authority = Authority(certificate, key)
    write_private_file(key_file, _private_pem(key))
    _replace_file(certificate_file, authority.pem, 0o644)
    return authority


def load_authority(certificate_file: Path, key_file: Path) -> Authority:
    """Read an authority back. Raises NotFound, Forbidden (mode) or Malformed."""
    certificate = load_certificates(certificate_file)[0]
    try:
        key = serialization.load_pem_private_key(read_private_file(key_file, "authority key"), password=None)
    except (ValueError, TypeError) as error:
        raise Malformed("certificate_key_unreadable", f"{key_file} does not hold an unencrypted PEM key") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise Malformed("certificate_key_mismatch", f"{key_file} is not the key of {certificate_file}")
    return Authority(certificate, key)


def issue_certificate(
    authority: Authority,
    certificate_file: Path,
    key_file: Path,
    *,
    name: str,
    organisation: str,
    hosts: Sequence[str],
    now_ms: int,
    days: int = LEAF_DAYS,
) -> CertificateInfo:
    """Make a key and a certificate for `hosts` (DNS names and IP addresses), writing over older ones (rotation).

    A leaf never outlives its authority. Raises Malformed('certificate_no_host') without a host, and
    Malformed('certificate_authority_expired').
    """
    if not hosts:
        raise Malformed("certificate_no_host", f"the certificate of {name} needs at least one host name or address")
    issuer = authority.certificate
    if issuer.not_valid_after_utc <= _time(now_ms):
        raise Malformed(
            "certificate_authority_expired", "this authority has expired; make a new one and spread its ca.crt"
        )
    until = min(_time(now_ms) + datetime.timedelta(days=days), issuer.not_valid_after_utc)
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(_name(name, organisation))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_time(now_ms) - CLOCK_SLACK)
        .not_valid_after(until)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(sign_certificates=False), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .add_extension(x509.SubjectAlternativeName([_general_name(host) for host in hosts]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.private_key.public_key()), critical=False
        )
        .sign(authority.private_key, hashes.SHA256())
    )
    _replace_file(key_file, _private_pem(key), 0o600)
    _replace_file(certificate_file, certificate.public_bytes(serialization.Encoding.PEM), 0o644)
    return describe_certificate(certificate)


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def load_certificates(path: Path) -> list[x509.Certificate]:
    """Every certificate of a PEM file, in order. Raises NotFound or Malformed('certificate_unreadable')."""
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except FileNotFoundError as error:
        raise NotFound("certificate_missing", f"certificate file {path} does not exist") from error
    except (OSError, ValueError) as error:
        raise Malformed("certificate_unreadable", f"{path} does not hold a PEM certificate") from error


def describe_certificate(certificate: x509.Certificate) -> CertificateInfo:
    """The facts that people and checks need of a certificate."""
    hosts: tuple[str, ...] = ()
    is_authority = False
    for extension in certificate.extensions:
        if isinstance(extension.value, x509.SubjectAlternativeName):
            hosts = tuple(str(name.value) for name in extension.value)
        elif isinstance(extension.value, x509.BasicConstraints):
            is_authority = extension.value.ca
    return CertificateInfo(
        subject=certificate.subject.rfc4514_string(),
        issuer=certificate.issuer.rfc4514_string(),
        serial_number=certificate.serial_number,
        not_before_ms=int(certificate.not_valid_before_utc.timestamp()) * 1000,
        not_after_ms=int(certificate.not_valid_after_utc.timestamp()) * 1000,
        hosts=hosts,
        fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
        is_authority=is_authority,
    )


def read_certificates(path: Path) -> list[CertificateInfo]:
    """Describe every certificate of a PEM file. Raises NotFound or Malformed('certificate_unreadable')."""
    certificates = load_certificates(path)
    try:
        return [describe_certificate(certificate) for certificate in certificates]
    except (ValueError, TypeError, x509.DuplicateExtension, UnsupportedAlgorithm) as error:
        raise Malformed("certificate_unreadable", f"{path} holds a damaged certificate: {error}") from error


def check_authorities(ca_file: Path) -> None:
    """Every certificate of `ca_file` must carry the signature of one that stands there: its own, or its issuer's.

    Raises Malformed('certificate_damaged'): with a damaged authority no peer would be let in, for no reason that is
    seen (attack S2).
    """
    authorities = load_certificates(ca_file)
    for authority in authorities:
        if not _is_signed(authority, authorities):
            raise Malformed(
                "certificate_damaged",
                f"{ca_file} holds an authority without the signature of its issuer: the file is damaged; restore it, "
                "or put the organisations' ca.crt files together again",
            )


def check_issued(certificate_file: Path, ca_file: Path) -> None:
    """A certificate whose issuer stands in `ca_file` must carry that authority's signature; others are not judged.

    Raises Malformed('certificate_damaged'): peers would close every channel, and say no more than that (attack S2).
    """
    certificate = load_certificates(certificate_file)[0]
    authorities = load_certificates(ca_file)
    known = any(authority.subject == certificate.issuer for authority in authorities)
    if known and not _is_signed(certificate, authorities):
        raise Malformed(
            "certificate_damaged",
            f"{certificate_file} does not carry the signature of the authority that it names, which stands in "
            f"{ca_file}: one of the files is damaged or out of date; restore it, or run `tongjian cert rotate`",
        )


def check_trusted(authority: Authority, ca_file: Path) -> None:
    """The authority must be one of those in `ca_file`, by name and key: who trusts these accepts what it issues.

    Raises Conflict('authority_not_trusted').
    """
    own = authority.certificate
    for known in load_certificates(ca_file):
        if known.subject == own.subject and known.public_key() == own.public_key():
            return
    raise Conflict(
        "authority_not_trusted",
        f"{own.subject.rfc4514_string()} does not stand in {ca_file}, so peers would refuse its certificates; add its "
        "ca.crt to the bundle of every node first",
    )


def _is_signed(certificate: x509.Certificate, authorities: Sequence[x509.Certificate]) -> bool:
    """Whether one of the authorities has signed this certificate."""
    for authority in authorities:
        try:
            certificate.verify_directly_issued_by(authority)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
            continue
        return True
    return False


def certificate_der(path: Path) -> bytes:
    """The DER bytes of a file's first certificate: what the hello binds (protocol rule 7). Raises as above."""
    return load_certificates(path)[0].public_bytes(serialization.Encoding.DER)
