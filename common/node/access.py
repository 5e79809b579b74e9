"""Who may use the HTTP interface: bearer tokens, their roles, and the file that holds them.

Invariants
  T1  The file holds SHA-256 hashes only; a token's text is shown once, when it is issued. Tokens carry 256 bits of
      randomness, so a plain hash is enough and a look-up by hash leaks nothing by its timing.
  T2  A change of the file counts from the next request on: its identity (inode, size, times of modification and
      change) is compared on every look-up, which costs two microseconds. Writers replace the file in one step.
  T3  A file that disappears admits nobody. A file that cannot be understood leaves the tokens of the last good one in
      force and says so in the log: a slip of an editor does not lock out a market.
  T4  A token opens routes; it never replaces the signatures of a transaction.
  T5  Organisations are principals (ADR 0071), here and on chain spelt alike: shares of room count them.

File: {"format": "tongjian/tokens/v1", "tokens": [{"id", "hash", "subject", "organisation", "role", "regions": [..] |
null, "expires_ms": int | null}]}. Left out: which role may do what on a route (`http.context`, and each tier's routes).
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from common.core.codec import canonical_json, parse_json
from common.core.errors import Malformed, NotFound, Rejected, Unauthorised, Unavailable
from common.core.genesis import Tier
from common.core.names import check_label, check_network, check_principal
from common.core.suite import parse_hex
from common.node.store import disk

TOKENS_FORMAT: Final = "tongjian/tokens/v1"
MAX_TOKENS_FILE_BYTES: Final = 16 * 1024 * 1024
"""Some 50,000 tokens."""
MAX_REGIONS: Final = 100
_TOKEN_BYTES: Final = 32
_ID_BYTES: Final = 6
_FIELDS: Final = frozenset({"expires_ms", "hash", "id", "organisation", "regions", "role", "subject"})
_log = logging.getLogger("tongjian.access")


class Role(StrEnum):
    """What a token's bearer is (contract, "Transactions")."""

    OPERATOR = "operator"
    MEMBER = "member"
    READER = "reader"
    RELAY = "relay"
    FEEDBACK = "feedback"
    SUPERVISOR = "supervisor"
    ANALYST = "analyst"
    PROVINCIAL = "provincial"
    AUDITOR = "auditor"
    GOVERNANCE = "governance"


WRITERS: Final = frozenset({Role.OPERATOR, Role.MEMBER, Role.RELAY, Role.GOVERNANCE})
"""May submit transactions, besides the signatures these need."""
BODY_WRITERS: Final = frozenset({Role.OPERATOR, Role.MEMBER})
"""May give a business chain's node a body off the chain."""
TRANSACTION_READERS: Final = WRITERS | {Role.SUPERVISOR, Role.AUDITOR}
"""May follow transactions and events."""
CHAIN_READERS: Final = frozenset(Role) - {Role.FEEDBACK, Role.PROVINCIAL}
"""May use the node interface for supervision, which knows no regions; a `reader` may use nothing else."""
BUSINESS_READERS: Final = frozenset({Role.OPERATOR, Role.MEMBER, Role.SUPERVISOR, Role.AUDITOR})
"""May query registers and holdings of a business chain."""
SUPERVISORS: Final = frozenset({Role.SUPERVISOR, Role.ANALYST, Role.PROVINCIAL, Role.AUDITOR})
"""May ask the custody chain's supervisory questions; a provincial token within its regions."""

SCOPED: Final = frozenset({Role.PROVINCIAL, Role.FEEDBACK})
"""See the regions that their token names, and none without."""


def chain_content_roles(roles: frozenset[Role], tier: Tier) -> frozenset[Role]:
    """Those of `roles` that may read a chain's content as it stands in its blocks.

    Blocks of the custody chain hold the data of all regions, and reading them leaves no line in the regulators' query
    log. So who asks as a regulator or as a market gets answers there from the supervisory routes alone.
    """
    return roles - SUPERVISORS - {Role.FEEDBACK} if tier == "custody" else roles


@dataclass(frozen=True, slots=True)
class Identity:
    """The bearer of a token. `regions` None means all of them; `expires_ms` None means never."""

    id: str
    subject: str
    organisation: str
    role: Role
    regions: tuple[str, ...] | None
    expires_ms: int | None

    def may_see_region(self, network: str) -> bool:
        """Whether answers may tell this bearer about a region."""
        return self.regions is None or network in self.regions


@dataclass(frozen=True, slots=True)
class IssuedToken(Identity):
    """A new token; `secret` is the bearer's text and exists nowhere else."""

    secret: str


@dataclass(frozen=True, slots=True)
class _Record:
    hash: str
    identity: Identity

    def to_json(self) -> dict[str, Any]:
        who = self.identity
        return {
            "id": who.id,
            "hash": self.hash,
            "subject": who.subject,
            "organisation": who.organisation,
            "role": str(who.role),
            "regions": None if who.regions is None else list(who.regions),
            "expires_ms": who.expires_ms,
        }


def hash_token(secret: str) -> str:
    """The hash under which a token is kept (T1)."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def parse_role(text: object) -> Role:
    """Raises `Malformed('role_unknown')`, naming the roles there are."""
    try:
        return Role(str(text))
    except ValueError:
        raise Malformed("role_unknown", f"A role is one of {', '.join(Role)}.", role=str(text)[:64]) from None


def _parse_regions(value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_REGIONS:
        raise Malformed("tokens_invalid", f"regions is null or a list of 1 to {MAX_REGIONS} network ids.")
    return tuple(check_network(item) for item in value)


def _parse_record(value: Any) -> _Record:
    if not isinstance(value, dict) or value.keys() != _FIELDS:
        raise Malformed("tokens_invalid", f"A token has the fields {', '.join(sorted(_FIELDS))}.")
    expires_ms, token_hash, token_id = value["expires_ms"], value["hash"], value["id"]
    if expires_ms is not None and type(expires_ms) is not int:
        raise Malformed("tokens_invalid", "expires_ms is null or milliseconds since the Unix epoch.")
    if not isinstance(token_hash, str) or not isinstance(token_id, str):
        raise Malformed("tokens_invalid", "id and hash are strings.")
    parse_hex(token_hash, "hash", 32)
    return _Record(
        token_hash,
        Identity(
            id=check_label(token_id, "id"),
            subject=check_label(value["subject"], "subject"),
            organisation=check_principal(value["organisation"], "organisation"),
            role=parse_role(value["role"]),
            regions=_parse_regions(value["regions"]),
            expires_ms=expires_ms,
        ),
    )


def _parse_tokens(data: bytes) -> list[_Record]:
    document = parse_json(data, max_size=MAX_TOKENS_FILE_BYTES)
    if not isinstance(document, dict) or document.keys() != {"format", "tokens"}:
        raise Malformed("tokens_invalid", "A tokens file has the fields format and tokens.")
    if document["format"] != TOKENS_FORMAT or not isinstance(document["tokens"], list):
        raise Malformed("tokens_invalid", f"This is not a tokens file of the format {TOKENS_FORMAT}.")
    return [_parse_record(item) for item in document["tokens"]]


def _read_tokens(path: Path) -> list[_Record]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Unavailable("tokens_unreadable", f"The tokens file {path} cannot be read: {error.strerror}.") from error
    try:
        return _parse_tokens(data)
    except Rejected as error:
        raise Malformed(
            "tokens_file_invalid",
            f"The tokens file {path} cannot be used ({error}). Restore a good copy, or move it away and issue its "
            "tokens again (tongjian token issue).",
        ) from error


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class TokenStore:
    """The tokens of one node, as its file says at this moment (T2, T3)."""

    def __init__(self, path: Path, now_ms: Callable[[], int] = _now_ms) -> None:
        """Raises `Malformed` or `Unavailable` if the file cannot be used at the start."""
        self._path, self._file = path, os.fspath(path)
        self._now_ms = now_ms
        self._stamp = self._refused_stamp = self._current_stamp()
        self._by_hash = {record.hash: record.identity for record in _read_tokens(path)}

    def _current_stamp(self) -> tuple[int, int, int, int] | None:
        try:
            found = os.stat(self._file)
        except OSError:
            return None
        # With the time of its last change of owner or mode: what could not be read may be readable since.
        return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns

    def _refresh(self) -> None:
        stamp = self._current_stamp()
        if stamp == self._stamp:
            return
        if stamp is None:
            self._stamp, self._by_hash = stamp, {}
            _log.error("the tokens file is gone; nobody is admitted", extra={"file": self._file})
            return
        try:
            self._by_hash = {record.hash: record.identity for record in _read_tokens(self._path)}
        except Rejected as error:
            if stamp != self._refused_stamp:
                self._refused_stamp = stamp
                _log.error("the tokens file is unusable; the last good one stays in force", extra={"error": str(error)})
            # What could not be read is tried again with every request, or a revoked token would live on after the
            # cause has gone; a content that could not be understood stays as it is until the file changes.
            if isinstance(error, Malformed):
                self._stamp = stamp
            return
        self._stamp = stamp
        _log.info("tokens read again", extra={"count": len(self._by_hash)})

    def identify(self, authorization: bytes | None) -> Identity:
        """The bearer of an `Authorization` header.

        Raises `Unauthorised` with `token_missing`, `token_unknown` (revoked ones included) or `token_expired`.
        """
        if authorization is None:
            raise Unauthorised("token_missing", "Send a bearer token in the Authorization header.")
        scheme, _, secret = authorization.partition(b" ")
        if scheme.lower() != b"bearer" or not secret:
            raise Unauthorised("token_missing", "The Authorization header holds no bearer token.")
        self._refresh()
        identity = self._by_hash.get(hashlib.sha256(secret.strip()).hexdigest())
        if identity is None:
            raise Unauthorised("token_unknown", "The token is not known here, or was revoked.")
        if identity.expires_ms is not None and identity.expires_ms <= self._now_ms():
            raise Unauthorised("token_expired", "The token has expired.", expires_ms=identity.expires_ms)
        return identity

    def knows(self, authorization: bytes) -> bool:
        """Whether the bearer of an `Authorization` header would be let in now."""
        try:
            self.identify(authorization)
        except Unauthorised:
            return False
        return True


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One writer at a time, by the directory: a lock file of one user's would shut out another.

    Raises `Unavailable('tokens_unwritable')`, also for what fails within.
    """
    try:
        handle = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)
    except OSError as error:
        raise Unavailable(
            "tokens_unwritable", f"The tokens file {path} cannot be written: {error.strerror}."
        ) from error


def _write_tokens(path: Path, records: Sequence[_Record]) -> None:
    document = {"format": TOKENS_FORMAT, "tokens": [record.to_json() for record in records]}
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        disk.replace_file(path, temporary, canonical_json(document) + b"\n", 0o600, "tokens")
    except OSError:
        disk.remove(temporary, "tokens.discard")
        raise


def issue_token(
    path: Path,
    *,
    subject: str,
    organisation: str,
    role: str,
    regions: Sequence[str] | None = None,
    expires_ms: int | None = None,
    now_ms: int | None = None,
    secret: str | None = None,
) -> IssuedToken:
    """Make a token and add it to the file, which is created if absent. Raises `Malformed`, or `Unavailable` on I/O.

    `secret` is that of a token of another program's file, which its bearer may use here too.

    A role of `SCOPED` needs `regions` (`token_regions_missing`): without them its bearer would see nothing. `now_ms` is
    compared with `expires_ms`, so that no token is issued that never works.
    """
    if expires_ms is not None and expires_ms <= (_now_ms() if now_ms is None else now_ms):
        raise Malformed("token_expiry_past", "The expiry lies in the past.", expires_ms=expires_ms)
    if regions is None and parse_role(role) in SCOPED:
        raise Malformed("token_regions_missing", "A token of this role names the regions that it may see.")
    secret = secret or "tj_" + secrets.token_urlsafe(_TOKEN_BYTES)
    issued = IssuedToken(
        id=secrets.token_hex(_ID_BYTES),
        subject=check_label(subject, "subject"),
        organisation=check_principal(organisation, "organisation"),
        role=parse_role(role),
        regions=_parse_regions(None if regions is None else list(regions)),
        expires_ms=expires_ms,
        secret=secret,
    )
    identity = Identity(issued.id, issued.subject, issued.organisation, issued.role, issued.regions, issued.expires_ms)
    with _locked(path):
        records = _read_tokens(path) if path.exists() else []
        _write_tokens(path, [*records, _Record(hash_token(secret), identity)])
    return issued


def revoke_token(path: Path, token_id: str) -> None:
    """Remove a token; a running node refuses it from its next request on. Raises `NotFound('token_not_found')`."""
    with _locked(path):
        records = _read_tokens(path)
        kept = [record for record in records if record.identity.id != token_id]
        if len(kept) == len(records):
            raise NotFound("token_not_found", "No token has this id.", id=token_id[:64])
        _write_tokens(path, kept)


def list_tokens(path: Path) -> list[Identity]:
    """All tokens of a file, without hashes, in the order of issue. Raises `Malformed` or `Unavailable`."""
    return [record.identity for record in _read_tokens(path)]
