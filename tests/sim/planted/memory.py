"""What a node keeps in memory, counted: every object that its logic alone holds (attack C13)."""

from __future__ import annotations

import gc
from collections.abc import Iterable
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType

from common.core.genesis import Genesis
from common.core.validators import ValidatorSet
from common.node.store.chain_store import ChainStore
from tests.sim.planted.violation import Caught
from tests.unit.node.toy import ToyApplication

MOST_OBJECTS_OF_A_REPLICA = 1_200
"""Healthy replicas of the hostile plans come to about 300, floods included; one flood kept whole is above 1,500."""
MOST_OBJECTS_OF_A_NODE = 8_000
"""Healthy nodes come to about 3,000, most of it pending transactions."""
_OUTSIDE = (type, ModuleType, FunctionType, BuiltinFunctionType, Genesis, ValidatorSet, ChainStore, ToyApplication)


def objects_of(*roots: object) -> int:
    """How many objects are reachable from these, short of code, chain store, genesis and application."""
    seen: set[int] = set()
    waiting: list[object] = list(roots)
    while waiting:
        found = waiting.pop()
        if id(found) in seen or isinstance(found, _OUTSIDE):
            continue
        seen.add(id(found))
        inside: Iterable[object] = (found.__self__,) if isinstance(found, MethodType) else gc.get_referents(found)
        waiting.extend(inside)
    return len(seen)


def check_memory(name: str, most: int, *roots: object) -> None:
    """Raise if a correct node keeps more than it may."""
    count = objects_of(*roots)
    if count > most:
        raise Caught("memory", f"node {name} keeps {count} objects")
