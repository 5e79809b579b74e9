"""Named values that governance changes at a height: parameters, the policy, what supervisory rules are in force.

State value of such a key (canonical JSON); it is absent while nothing differs from the defaults::

    {"values": {name: value}, "scheduled"?: {"height", "values": {name: value or null}}}

Invariants
  K1  The values of height h are a function of the state after block h - 1. Nothing is written when a change becomes
      due: whoever reads lays it over the values, and the next change that is scheduled folds it in.
  K2  Only what was chosen is stored. A name without a value has its default, which is applied when it is read; null
      takes a name back to that.
  K3  At most one change of a key is scheduled. Another one is refused unless it names the height of the one that it
      replaces; without values it withdraws it.

Reference: architecture decisions 17 and 18, ADR 0073. Left out: what the names mean and which are known (callers).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, Protocol

import msgspec

from common.chain.application import BlockContext, StateView
from common.chain.schedule import check_lead, check_replaces
from common.core.codec import canonical_json


class _Reader(Protocol):
    def get(self, key: bytes) -> bytes | None: ...


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """`values` are laid over the present ones from `height` on."""

    height: int
    values: dict[str, Any]


class _Record(msgspec.Struct, frozen=True, kw_only=True):
    values: dict[str, Any]
    scheduled: Change | None = None


_NOTHING: Final = _Record(values={})
_decoder: Final = msgspec.json.Decoder(_Record)


@lru_cache(maxsize=64)
def _decode(data: bytes) -> _Record:
    return _decoder.decode(data)


def _record(data: bytes | None) -> _Record:
    return _NOTHING if data is None else _decode(data)


def values_at(state: _Reader, key: bytes, height: int) -> Mapping[str, Any]:
    """What is chosen for block `height`, `state` being that after the block before, or earlier. Not to be changed."""
    return values_of(state.get(key), height)


def values_of(data: bytes | None, height: int) -> Mapping[str, Any]:
    """The same of the key's value."""
    record = _record(data)
    if record.scheduled is None or record.scheduled.height > height:
        return record.values
    return _laid_over(record.values, record.scheduled.values)


def scheduled_change(state: _Reader, key: bytes, height: int) -> Change | None:
    """The change that waits for a height above `height`, or None."""
    change = _record(state.get(key)).scheduled
    return None if change is None or change.height <= height else change


def write_initial(state: StateView, key: bytes, values: Mapping[str, Any]) -> None:
    """What genesis chooses; nothing is written for nothing."""
    if values:
        state.put(key, canonical_json({"values": dict(values)}))


def schedule_change(
    state: StateView, key: bytes, context: BlockContext, values: Mapping[str, Any], height: int, replaces: int | None
) -> None:
    """Let `values` hold from `height` on. `replaces`: height of the change that is replaced, or withdrawn by no values.

    Raises `RuleBroken('effective_height_out_of_range')`, `Conflict` with `change_pending`, `change_not_pending`.
    """
    check_lead(context, height)
    pending = scheduled_change(state, key, context.height)
    check_replaces(None if pending is None else pending.height, replaces)
    present: dict[str, Any] = {"values": dict(values_at(state, key, context.height))}
    if values:
        present["scheduled"] = {"height": height, "values": dict(values)}
    if present == {"values": {}}:
        state.delete(key)
    else:
        state.put(key, canonical_json(present))


def _laid_over(present: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**present, **changes}
    return {name: value for name, value in merged.items() if value is not None}
