"""The validator sets of past heights, in the authenticated state: who signed when, as every node knows it.

A rule that judges an old signature needs the set of its height, whichever way a node came by the chain. The set of
genesis stands in the genesis document; each later one is a state value::

    chain/sets/<first height, 16 hex digits>    {"number": n, "validators": [...]}

`number` counts changes from 1. The newest `KEPT_SETS` are kept, so heights before the oldest kept are not known any
more unless it is the first.

Left out: how a set changes (each tier's governance), certificates (`ChainStore.validators` serves those).
"""

from __future__ import annotations

from typing import Final

import msgspec

from common.chain.application import StateReader, StateView
from common.core.codec import canonical_json
from common.core.genesis import Genesis
from common.core.suite import Suite
from common.core.validators import ValidatorSet

SETS: Final = b"chain/sets/"
KEPT_SETS: Final = 64
"""As many changes as a light client remembers (`MAX_EPOCHS`)."""
_decode: Final = msgspec.json.Decoder().decode


def _key(first_height: int) -> bytes:
    return SETS + b"%016x" % first_height


def record_set(state: StateView, first_height: int, validators: ValidatorSet, suite: Suite) -> None:
    """Enter the set that signs from `first_height` on; forget the oldest above `KEPT_SETS`."""
    kept = state.scan(SETS, KEPT_SETS + 1)
    number = 1 + (_decode(kept[-1][1])["number"] if kept else 0)
    state.put(_key(first_height), canonical_json({"number": number, "validators": validators.to_json(suite)}))
    for key, _ in kept[: max(0, len(kept) + 1 - KEPT_SETS)]:
        state.delete(key)


def set_at(state: StateReader, genesis: Genesis, height: int | None) -> ValidatorSet | None:
    """The set that signs `height`, the newest one if that is None; None if it is forgotten."""
    kept = state.scan(SETS, KEPT_SETS)
    for key, value in reversed(kept):
        if height is None or int(key[len(SETS) :], 16) <= height:
            return ValidatorSet.from_json(_decode(value)["validators"], genesis.suite)
    if kept and _decode(kept[0][1])["number"] > 1:
        return None
    return genesis.validators
