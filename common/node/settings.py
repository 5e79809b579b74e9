"""The settings of one node: what `node.toml` may say, checked once before anything is opened.

Purpose: turn a TOML file into frozen values, with relative paths taken from the file's own directory, and refuse what
cannot work with a sentence that names the field and the remedy.

Invariants:
  S1  A loaded `NodeSettings` names only absolute paths, and every file that must exist before a start exists.
  S2  Nothing here is part of consensus: two validators may differ in every value and still agree on every block.
      What they must agree on stands in the genesis document.

Leaves out: reading key material (`keys`), certificates (`certificates`) and the genesis document itself.
Reference: contract.md, "Command line"; style rule 16 (every bound says why it is what it is).
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo

from common.core.errors import Malformed

MAX_SETTINGS_BYTES = 256 * 1024
"""A settings file is a page long; a hundred peers take 10 KiB. Anything larger is the wrong file."""


class SettingsError(Malformed):
    """A settings file that cannot be used; `detail` names each field and what to do about it."""

    def __init__(self, path: Path, problems: list[str]) -> None:
        super().__init__("settings_invalid", f"{path}: " + "; ".join(problems))
        self.path = path
        self.problems = tuple(problems)


def _resolved(value: Path, info: ValidationInfo) -> Path:
    base = (info.context or {}).get("directory", Path.cwd())
    return (Path(base) / value.expanduser()).resolve()


ConfiguredPath = Annotated[Path, Field(strict=False), AfterValidator(_resolved)]
"""A path; relative ones are taken from the directory of the settings file, so that a directory can be moved."""

Port = Annotated[int, Field(ge=0, le=65535)]
"""A TCP port; 0 asks the system for a free one (tests)."""


def _resolvable(host: str) -> str:
    """Refuse what no resolver takes: an empty label, or one above 63 characters."""
    try:
        host.encode("idna")
    except UnicodeError as error:
        raise ValueError("is neither a DNS name nor an address: a label is empty or too long") from error
    return host


Host = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[A-Za-z0-9.:_-]+$"), AfterValidator(_resolvable)]
"""A DNS name or an IP address, without brackets, scheme or port."""

NodeName = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")]
"""A validator's name as the genesis document or a later set change spells it."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class ApiSettings(_Section):
    """`[api]`: the HTTPS interface for clients, relays and regulators."""

    host: Host = "127.0.0.1"
    """Address to listen on; `0.0.0.0` inside a container. Loopback by default: nothing is exposed by accident."""
    port: Port
    """TCP port to listen on."""
    certificate_file: ConfiguredPath
    """TLS certificate of this interface, PEM, leaf first, then any intermediates."""
    private_key_file: ConfiguredPath
    """Private key of that certificate, PEM, mode 0600."""
    tokens_file: ConfiguredPath
    """Bearer tokens (`tongjian/tokens/v1`), hashed at rest and read again when the file changes."""


class PeerSettings(_Section):
    """`[peer]`: the channel between validators (protocol rule 7)."""

    host: Host = "127.0.0.1"
    """Address to listen on for other validators."""
    port: Port
    """TCP port to listen on for other validators."""
    certificate_file: ConfiguredPath
    """TLS certificate shown to other validators, PEM. The hello binds it to the validator key."""
    private_key_file: ConfiguredPath
    """Private key of that certificate, PEM, mode 0600."""
    ca_file: ConfiguredPath
    """Bundle of the authorities whose certificates may open a channel; two entries while an authority is replaced."""


class PeerAddress(_Section):
    """`[[peers]]`: where another validator listens. Its identity comes from its hello, never from this entry."""

    name: NodeName
    """The validator's name in the validator set; also the name in logs."""
    host: Host
    """DNS name or address of its `[peer]` listener."""
    port: Annotated[int, Field(ge=1, le=65535)]
    """Port of its `[peer]` listener."""


class LimitSettings(_Section):
    """`[limits]`: bounds on what peers and clients can make this node hold. Local: never a reason to vote against."""

    mempool_transactions: Annotated[int, Field(ge=100, le=1_000_000)] = 20_000
    """Transactions held in memory: ten full blocks of 2,000 operations."""
    mempool_bytes: Annotated[int, Field(ge=16 << 20, le=4 << 30)] = 64 << 20
    """Memory that pending transactions take, parsed: 13,000 of one operation, or 490 of a hundred. The largest
    transaction takes 14 MiB."""
    mempool_signer_transactions: Annotated[int, Field(ge=10, le=1_000_000)] = 2_000
    """Pending transactions of one first signer: a tenth of the pool, so that no client shuts out the others (N3)."""
    peer_queue_bytes: Annotated[int, Field(ge=1 << 20, le=1 << 30)] = 16 << 20
    """Bytes waiting to be sent to one peer before gossip is dropped; eight blocks, about a second of a slow link."""
    observers: Annotated[int, Field(ge=0, le=1_000)] = 8
    """Peers outside the validator set that may read blocks at once; they cost bandwidth, never votes."""
    handshakes: Annotated[int, Field(ge=4, le=10_000)] = 64
    """Incoming peer connections that have not shown their identity yet (N3): a set of 32 dialling twice at once."""
    handshake_timeout_ms: Annotated[int, Field(ge=200, le=60_000)] = 5_000
    """Time for TCP, TLS and the hello together (N2, N5): many round trips even on a slow line."""
    keepalive_ms: Annotated[int, Field(ge=100, le=60_000)] = 2_000
    """Silence on a channel after which a ping is sent; while a chain is busy there is none to send."""
    idle_timeout_ms: Annotated[int, Field(ge=300, le=600_000)] = 8_000
    """Silence after which a channel counts as half-open and is closed and dialled again (N5): three missed pings. A
    machine that falls silent is so noticed within idle_timeout_ms + keepalive_ms, 10 s."""
    low_space_mib: Annotated[int, Field(ge=0, le=1 << 30)] = 1_024
    """Free space in the data directory, in MiB, below which the node warns: a day of a busy chain. It goes on until a
    write fails, and then stops (S5)."""
    http_connections: Annotated[int, Field(ge=16, le=100_000)] = 1_600
    """HTTPS connections open at once; 500 slow ones (N2) leave room for honest clients. One can be made to take up to
    350 KiB of memory, all of them 560 MiB."""
    http_connections_address: Annotated[int, Field(ge=4, le=100_000)] = 800
    """HTTPS connections open at once from one address: half of all, so that one machine cannot take every place."""
    http_header_timeout_ms: Annotated[int, Field(ge=500, le=120_000)] = 10_000
    """Time for TLS and a request's head, and again between requests on a kept connection (N2)."""
    http_body_timeout_ms: Annotated[int, Field(ge=500, le=600_000)] = 30_000
    """Time for a request's body once its head is read: 2 MiB at 70 kB/s (N2). A large answer has as long and 5 s."""
    http_bodies_bytes: Annotated[int, Field(ge=8 << 20, le=16 << 30)] = 64 << 20
    """Bodies of all requests under way; half for one organisation, a quarter for one token (N2): 16 MiB are 8 of the
    largest transactions, or 300 of a hundred operations, that one client sends at the same time."""
    http_answers_bytes: Annotated[int, Field(ge=32 << 20, le=16 << 30)] = 128 << 20
    """Answers above 64 KiB under way, shared alike (N2): 32 MiB for one token are four of the largest, of 8 MiB."""


class StorageSettings(_Section):
    """`[storage]`: what is kept for how long, and what is made for nodes that join."""

    checkpoint_blocks: Annotated[int, Field(ge=0, le=10_000_000)] = 10_000
    """A checkpoint is made after every block whose height is a multiple of this; 0 makes none. Joining takes the same
    checkpoint from f+1 validators, so the validators of a chain should agree on it. 10,000 blocks are what a node
    catches up in a minute, and a day of an idle chain."""
    keep_blocks: Annotated[int, Field(ge=100, le=1_000_000_000)] = 100_000
    """`tongjian node prune` never touches the newest blocks, this many: relays and nodes that were down for a while
    still find them. The longest life of a transaction by default."""
    keep_receipts: bool = True
    """Whether `tongjian node prune` leaves the receipts of pruned blocks: what became of a transaction stays
    answerable, at about 100 bytes each."""
    past_proofs: bool | None = None
    """Whether state trees of the past are kept, so that a value or absence is proven at any kept height and not at the
    newest alone. Absent: true on a custody chain, false on a business chain. What is switched on later holds from then
    on; what is switched off is removed at the next start. About 400 bytes for each value that a block changes."""
    bodies: Annotated[int, Field(ge=8, le=10_000_000)] = 20_000
    """Bodies off the chain that a node of a business chain keeps; a quarter is for those that nothing commits to yet.
    About 250 bytes of memory each."""
    bodies_mib: Annotated[int, Field(ge=128, le=1 << 30)] = 4_096
    """The same in MiB: 250 of the largest, 16 MiB each, or 20,000 of 200 KiB. The disk is taken as they come."""
    archive: bool = False
    """True for an observer that keeps every block for ever: it is never pruned, and does not join by a checkpoint."""


class LogSettings(_Section):
    """`[log]`: one JSON object a line."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Lowest level that is written; `info` says what changed, not what happened on every block."""
    file: ConfiguredPath | None = None
    """File to append to; standard error when absent (containers)."""


class NodeSettings(_Section):
    """One node of either tier, as `node.toml` describes it."""

    name: NodeName
    """This node's name; for a validator the name in the validator set."""
    genesis_file: ConfiguredPath
    """The chain's genesis document; its hash is the genesis id that every signed message carries."""
    key_file: ConfiguredPath
    """The validator key, PKCS#8 PEM, mode 0600. A key outside the validator set makes the node an observer."""
    passphrase_file: ConfiguredPath | None = None
    """File whose first line unlocks an encrypted key file; absent for an unencrypted one."""
    data_dir: ConfiguredPath
    """Directory of the database and the vote log; created if absent. One process at a time."""
    api: ApiSettings
    """The HTTPS interface."""
    peer: PeerSettings
    """The channel between validators."""
    peers: Annotated[tuple[PeerAddress, ...], Field(strict=False, max_length=200)] = ()
    """The other validators; at most 200: the current and next set of 100 each."""
    limits: LimitSettings = LimitSettings()
    """Bounds; the defaults suit a validator with 1 GiB of memory."""
    storage: StorageSettings = StorageSettings()
    """Checkpoints and pruning."""
    log: LogSettings = LogSettings()
    """Logging."""


_REMEDIES = {
    "missing": "add it",
    "extra_forbidden": "remove it or correct its spelling; the known names stand in docs/operators.md",
    "int_type": "write a whole number without quotes",
    "int_parsing": "write a whole number without quotes",
    "string_type": "write it in quotes",
    "path_type": "write a path in quotes",
    "string_pattern_mismatch": "use letters, digits, '.', '_' and '-' only",
}


def _problem(error: Any) -> str:
    field = ".".join(str(part) for part in error["loc"]) or "the file"
    remedy = _REMEDIES.get(error["type"], "correct the value")
    return f"{field}: {error['msg'].lower()} ({remedy})"


_REQUIRED_FILES = (
    ("genesis_file", "copy the chain's genesis document there"),
    ("key_file", "make one with `tongjian key generate`"),
    ("passphrase_file", "create it, or remove the setting if the key file is not encrypted"),
    ("api.certificate_file", "issue one with `tongjian cert rotate`"),
    ("api.private_key_file", "issue one with `tongjian cert rotate`"),
    ("api.tokens_file", "make a token with `tongjian token issue`"),
    ("peer.certificate_file", "issue one with `tongjian cert rotate`"),
    ("peer.private_key_file", "issue one with `tongjian cert rotate`"),
    ("peer.ca_file", "copy the bundle of the network's authorities there"),
)


def _missing_files(settings: NodeSettings) -> list[str]:
    problems = []
    for field, remedy in _REQUIRED_FILES:
        value: Any = settings
        for part in field.split("."):
            value = getattr(value, part)
        if value is not None and not value.is_file():
            problems.append(f"{field}: there is no file {value} ({remedy})")
    return problems


def _contradictions(settings: NodeSettings) -> list[str]:
    problems = []
    names = [peer.name for peer in settings.peers]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        problems.append(f"peers: {', '.join(repeated)} stands there more than once (keep one entry a validator)")
    if settings.name in names:
        problems.append(f"peers: {settings.name} is this node itself (remove its entry)")
    if settings.api.port and settings.api.port == settings.peer.port and settings.api.host == settings.peer.host:
        problems.append("peer.port: the same as api.port (give each listener a port of its own)")
    limits = settings.limits
    if limits.idle_timeout_ms < 2 * limits.keepalive_ms:
        problems.append(
            "limits.idle_timeout_ms: below twice limits.keepalive_ms (raise it, or every quiet link breaks)"
        )
    if limits.mempool_signer_transactions > limits.mempool_transactions:
        problems.append("limits.mempool_signer_transactions: above limits.mempool_transactions (lower it)")
    return problems


def load_settings(path: Path) -> NodeSettings:
    """Read, check and resolve one settings file.

    Raises SettingsError, whose detail lists every problem found at once, each with its remedy.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SettingsError(path, [f"cannot be read: {error.strerror} (name an existing file)"]) from error
    if len(data) > MAX_SETTINGS_BYTES:
        raise SettingsError(path, [f"larger than {MAX_SETTINGS_BYTES} bytes (is this the settings file?)"])
    try:
        document = tomllib.loads(data.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(path, [f"not valid TOML: {error} (correct that line)"]) from error
    try:
        settings = NodeSettings.model_validate(document, context={"directory": path.resolve().parent})
    except ValidationError as error:
        raise SettingsError(path, [_problem(item) for item in error.errors()]) from error
    problems = _contradictions(settings) + _missing_files(settings)
    if problems:
        raise SettingsError(path, problems)
    return settings
