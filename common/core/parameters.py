"""Parameters of a chain: numbers on which all validators must agree, with bounds, defaults and the version they are
of.

A genesis document names those that it chooses; what it leaves out has the default, which is applied when the values are
read and never stored. Governance changes them at a height (`common.chain.governed_parameters`).

Invariants
  * Which names are known, their bounds and defaults are given by the protocol version of the block in question
    (`PARAMETERS`): a document that names a parameter of a later version is refused by old and new software alike.
  * A default never changes within a version.

Left out: what each parameter does (rules that read them), when a change holds (`common.chain.governed_parameters`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final, NamedTuple, Self

from common.core.errors import Malformed
from common.core.protocol import FIRST_VERSION, VersionedTable

_DAY_MS: Final = 86_400_000


class Parameter(NamedTuple):
    """Bounds of an integer, and its value where nobody has chosen one."""

    default: int
    low: int
    high: int


PARAMETERS: Final = VersionedTable[Parameter]("parameter")
"""By name. One that is no field of `ChainParameters` is found in its `more`."""
for _name, _parameter in {
    "heartbeat_ms": Parameter(10_000, 50, _DAY_MS),
    "min_block_interval_ms": Parameter(25, 0, 60_000),
    "max_block_bytes": Parameter(2_000_000, 1024, 16_000_000),
    "max_block_operations": Parameter(2000, 1, 100_000),
    "view_timeout_ms": Parameter(2000, 10, 600_000),
    "max_view_timeout_ms": Parameter(60_000, 10, 3_600_000),
    "max_clock_ahead_ms": Parameter(15_000, 0, _DAY_MS),
    "max_expiry_blocks": Parameter(100_000, 1, 10_000_000),
    "work_interval_ms": Parameter(500, 25, _DAY_MS),
}.items():
    PARAMETERS.add(_name, _parameter, since=1)


def _default(name: str) -> int:
    return PARAMETERS.at(FIRST_VERSION)[name].default


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainParameters:
    """The parameters of one block. Raises `Malformed('genesis_parameter')` for a value out of bounds."""

    heartbeat_ms: int = _default("heartbeat_ms")
    """An idle chain makes an empty block this long after the last one (architecture decision 14)."""
    min_block_interval_ms: int = _default("min_block_interval_ms")
    """Least distance of two non-empty blocks (protocol rule 14)."""
    max_block_bytes: int = _default("max_block_bytes")
    """Envelope bytes in a block (protocol rule 14)."""
    max_block_operations: int = _default("max_block_operations")
    """Operations in a block, which bounds execution to about 50 ms (protocol rule 14)."""
    view_timeout_ms: int = _default("view_timeout_ms")
    """First timeout of a height; doubles with every view (protocol rule 4)."""
    max_view_timeout_ms: int = _default("max_view_timeout_ms")
    """Cap of the doubling (attack C13)."""
    max_clock_ahead_ms: int = _default("max_clock_ahead_ms")
    """How far a fresh proposal's time may be ahead of the local clock (protocol rule 5)."""
    max_expiry_blocks: int = _default("max_expiry_blocks")
    """How far `expires_at_height` may lie ahead; bounds the nonces to remember (protocol rule 12)."""
    work_interval_ms: int = _default("work_interval_ms")
    """While work is queued, an empty block is valid, and due, so long after the last one (protocol rule 27), or after a
    heartbeat if that is less. A share of work takes a validator up to 100 ms; by default 100,000 units in shares of 256
    are done in little more than three minutes."""
    more: Mapping[str, int] = field(default_factory=dict)
    """Parameters of later versions, by name."""

    def __post_init__(self) -> None:
        """Bounds of the fields, and between them."""
        known = PARAMETERS.at(FIRST_VERSION)
        for name in _FIELDS:
            _check(name, getattr(self, name), known[name])
        if self.max_view_timeout_ms < self.view_timeout_ms:
            raise Malformed("genesis_parameter", "The cap is below the first timeout.", parameter="max_view_timeout_ms")

    @classmethod
    def of(cls, chosen: Mapping[str, Any], version: int) -> Self:
        """What holds in a block of this version where these values were chosen.

        Raises `Malformed('genesis_parameter')` naming the first that is unknown in this version or out of bounds.
        """
        known = PARAMETERS.at(version)
        for name in sorted(chosen):
            if name not in known:
                shown = ascii(name)[1:-1][:64]
                raise Malformed("genesis_parameter", f"This chain has no parameter {shown}.", parameter=shown)
            _check(name, chosen[name], known[name])
        values = {name: chosen.get(name, parameter.default) for name, parameter in known.items()}
        more = {name: values.pop(name) for name in list(values) if name not in _FIELDS}
        return cls(**values, more=more)

    def to_json(self) -> dict[str, int]:
        """All values by name."""
        return {name: getattr(self, name) for name in sorted(_FIELDS)} | dict(self.more)


_FIELDS: Final = frozenset(item.name for item in fields(ChainParameters)) - {"more"}


def _check(name: str, value: Any, parameter: Parameter) -> None:
    if type(value) is not int or not parameter.low <= value <= parameter.high:
        raise Malformed(
            "genesis_parameter", f"{name} must be an integer in {parameter.low}..{parameter.high}.", parameter=name
        )
