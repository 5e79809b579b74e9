"""Which parameters hold at a height: those that genesis chose, changed by governance, with defaults for the rest.

State key ``chain/parameters`` (`scheduled`), absent until governance changes something: so the state of height 0 says
nothing of parameters, and a parameter of a later version has its default from that version on.

Reference: architecture decision 17, protocol rule 30, ADR 0073.
Left out: bounds and meaning (`common.core.parameters`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

from common.chain.application import BlockContext, StateView
from common.chain.schedule import protocol_version
from common.chain.scheduled import schedule_change, values_at
from common.core.errors import Malformed
from common.core.genesis import Genesis
from common.core.parameters import ChainParameters

PARAMETERS_KEY: Final = b"chain/parameters"


class _Reader(Protocol):
    def get(self, key: bytes) -> bytes | None: ...


def parameters_at(state: _Reader, genesis: Genesis, height: int) -> ChainParameters:
    """What holds in block `height`, `state` being that after the block before, or earlier."""
    changed = values_at(state, PARAMETERS_KEY, height)
    version = protocol_version(state, genesis, height)
    if not changed and version == genesis.protocol_version:
        return genesis.parameters
    return ChainParameters.of({**genesis.chosen_parameters, **changed}, version)


def set_parameters(state: StateView, context: BlockContext, values: Any, height: int, replaces: int | None) -> None:
    """Let other values hold from `height` on; null takes a parameter back to what genesis gives.

    Raises `Malformed('parameter_invalid')` for a parameter that the block's version does not have, or a value out of
    bounds, and as `schedule_change`.
    """
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise Malformed("parameter_invalid", "Parameters are an object of numbers by name.", parameter="values")
    present = values_at(state, PARAMETERS_KEY, context.height)
    try:
        known = ChainParameters.of({}, context.protocol_version).to_json()
        removed = {name: value for name, value in values.items() if value is None and name in known}
        changed = {name: value for name, value in values.items() if name not in removed}
        kept = {name: value for name, value in present.items() if name not in removed}
        ChainParameters.of({**context.genesis.chosen_parameters, **kept, **changed}, context.protocol_version)
    except Malformed as wrong:
        raise Malformed("parameter_invalid", wrong.detail, **_parameter(wrong.parameters)) from wrong
    schedule_change(state, PARAMETERS_KEY, context, values, height, replaces)


def _parameter(told: Mapping[str, int | str]) -> dict[str, int | str]:
    return {"parameter": told.get("parameter", "")}
