"""Genesis: the document from which a chain follows, and its parameters.

Invariants: the id hashes the canonical document, so any difference is another chain; nothing has a default in the
document (a later change of a default must not change an old chain); every parameter is bounded. File format:
docs/protocol.md, tag `tongjian/genesis/v1`.
Left out: what `application` means (each tier) and how organisations assemble the document (command line).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Final, Literal, Self, cast

from common.core.codec import MAX_SAFE_INTEGER, canonical_json, parse_json_canonically
from common.core.errors import Malformed
from common.core.names import check_network
from common.core.suite import Suite, suite_named
from common.core.validators import ValidatorSet

GENESIS_FORMAT: Final = "tongjian/genesis/v1"
GENESIS_TAG: Final = "tongjian/genesis/v1"
MAX_GENESIS_BYTES: Final = 8 * 1024 * 1024
PROTOCOL_VERSION: Final = 1
Tier = Literal["business", "custody"]
_FIELDS: Final = frozenset(
    {"application", "format", "network", "parameters", "protocol_version", "suite", "tier", "time_ms", "validators"}
)
_DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainParameters:
    """Numbers on which all validators must agree.

    The defaults are those of a new chain, never of an existing document.
    """

    heartbeat_ms: int = 10_000
    """An idle chain makes an empty block this long after the last one (architecture decision 14)."""
    min_block_interval_ms: int = 25
    """Least distance of two non-empty blocks (protocol rule 14)."""
    max_block_bytes: int = 2_000_000
    """Envelope bytes in a block (protocol rule 14)."""
    max_block_operations: int = 2000
    """Operations in a block, which bounds execution to about 50 ms (protocol rule 14)."""
    view_timeout_ms: int = 2000
    """First timeout of a height; doubles with every view (protocol rule 4)."""
    max_view_timeout_ms: int = 60_000
    """Cap of the doubling (attack C13)."""
    max_clock_ahead_ms: int = 15_000
    """How far a fresh proposal's time may be ahead of the local clock (protocol rule 5)."""
    max_expiry_blocks: int = 100_000
    """How far `expires_at_height` may lie ahead; bounds the nonces to remember (protocol rule 12)."""

    def __post_init__(self) -> None:
        """Raises `Malformed('genesis_parameter')` naming the first parameter out of bounds."""
        for name, (low, high) in _PARAMETER_BOUNDS.items():
            value = getattr(self, name)
            if type(value) is not int or not low <= value <= high:
                raise Malformed("genesis_parameter", f"{name} must be an integer in {low}..{high}.", parameter=name)
        if self.max_view_timeout_ms < self.view_timeout_ms:
            raise Malformed("genesis_parameter", "The cap is below the first timeout.", parameter="max_view_timeout_ms")

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """All parameters, none missing, none unknown. Raises `Malformed`."""
        if not isinstance(value, dict) or value.keys() != {item.name for item in fields(cls)}:
            raise Malformed("genesis_parameter", "The parameters are not exactly those of the format.")
        return cls(**value)


_PARAMETER_BOUNDS: Final[dict[str, tuple[int, int]]] = {
    "heartbeat_ms": (50, _DAY_MS),
    "min_block_interval_ms": (0, 60_000),
    "max_block_bytes": (1024, 16_000_000),
    "max_block_operations": (1, 100_000),
    "view_timeout_ms": (10, 600_000),
    "max_view_timeout_ms": (10, 3_600_000),
    "max_clock_ahead_ms": (0, _DAY_MS),
    "max_expiry_blocks": (1, 10_000_000),
}


@dataclass(frozen=True, kw_only=True)
class Genesis:
    """A parsed genesis document. `document` holds its canonical bytes, `id` its 32-byte identity."""

    network: str
    tier: Tier
    suite: Suite
    time_ms: int
    protocol_version: int
    validators: ValidatorSet
    parameters: ChainParameters
    application: dict[str, Any]
    document: bytes
    id: bytes


def build_genesis(
    *,
    network: str,
    tier: Tier,
    suite: Suite,
    time_ms: int,
    validators: ValidatorSet,
    application: dict[str, Any],
    parameters: ChainParameters | None = None,
    protocol_version: int = PROTOCOL_VERSION,
) -> Genesis:
    """Make a document out of its parts and parse it again, so that what is built is what others will read.

    Raises `Malformed`.
    """
    document = {
        "format": GENESIS_FORMAT,
        "network": network,
        "tier": tier,
        "suite": suite.name,
        "time_ms": time_ms,
        "protocol_version": protocol_version,
        "validators": validators.to_json(suite),
        "parameters": asdict(parameters or ChainParameters()),
        "application": application,
    }
    return parse_genesis(canonical_json(document))


def parse_genesis(data: bytes) -> Genesis:
    """Parse a genesis document in any JSON formatting. Raises `Malformed` or `TooLarge`."""
    value, document = parse_json_canonically(data, max_size=MAX_GENESIS_BYTES)
    if not isinstance(value, dict) or value.keys() != _FIELDS:
        raise Malformed("genesis_fields", "The fields are not exactly those of a genesis document.")
    if value["format"] != GENESIS_FORMAT:
        raise Malformed("genesis_format", "Not a genesis document of a known format.")
    if value["tier"] not in ("business", "custody"):
        raise Malformed("genesis_tier", "The tier is business or custody.")
    if not isinstance(value["suite"], str):
        raise Malformed("unknown_suite", "The suite is named by a string.")
    suite = suite_named(value["suite"])
    time_ms, protocol_version, application = value["time_ms"], value["protocol_version"], value["application"]
    if type(time_ms) is not int or not 0 <= time_ms <= MAX_SAFE_INTEGER:
        raise Malformed("genesis_time", "time_ms is milliseconds since the Unix epoch.")
    if type(protocol_version) is not int or not 1 <= protocol_version <= 65535:
        raise Malformed("genesis_protocol_version", "protocol_version is an integer in 1..65535.")
    if not isinstance(application, dict):
        raise Malformed("genesis_application", "application is an object.")
    return Genesis(
        network=check_network(value["network"]),
        tier=cast(Tier, value["tier"]),
        suite=suite,
        time_ms=time_ms,
        protocol_version=protocol_version,
        validators=ValidatorSet.from_json(value["validators"], suite),
        parameters=ChainParameters.from_json(value["parameters"]),
        application=application,
        document=document,
        id=suite.tagged_hash(GENESIS_TAG, document),
    )
