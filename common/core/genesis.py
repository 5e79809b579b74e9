"""Genesis: the document from which a chain follows.

Invariants: the id hashes the canonical document, so any difference is another chain. It follows from the document
alone, whatever software reads it: parameters that it leaves out have the defaults of its protocol version, and what
that version does not know is refused. File format: docs/protocol.md, tag `tongjian/genesis/v1`.
Left out: parameters (`common.core.parameters`), what `application` means (each tier) and how organisations assemble the
document (command line).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

from common.core.codec import MAX_SAFE_INTEGER, canonical_json, parse_json_canonically
from common.core.errors import Malformed
from common.core.names import check_network
from common.core.parameters import ChainParameters
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


@dataclass(frozen=True, kw_only=True)
class Genesis:
    """A parsed genesis document. `document` holds its canonical bytes, `id` its 32-byte identity."""

    network: str
    tier: Tier
    suite: Suite
    time_ms: int
    protocol_version: int
    validators: ValidatorSet
    chosen_parameters: Mapping[str, int]
    """What the document chooses."""
    parameters: ChainParameters
    """What holds at height 0; later heights: `common.chain.governed_parameters`."""
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
        "parameters": (parameters or ChainParameters()).to_json(),
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
    chosen = value["parameters"]
    if not isinstance(chosen, dict):
        raise Malformed("genesis_parameter", "The parameters are an object.")
    return Genesis(
        network=check_network(value["network"]),
        tier=cast(Tier, value["tier"]),
        suite=suite,
        time_ms=time_ms,
        protocol_version=protocol_version,
        validators=ValidatorSet.from_json(value["validators"], suite),
        chosen_parameters=chosen,
        parameters=ChainParameters.of(chosen, protocol_version),
        application=application,
        document=document,
        id=suite.tagged_hash(GENESIS_TAG, document),
    )
