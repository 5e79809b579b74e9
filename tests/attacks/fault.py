"""What a fault is: a name, the functions of the product that it concerns, and what they do instead.

`@fault("module:Class.function")` enters a fault under the name of its function, which makes the substitute out of the
original. The faults themselves stand in `faults_consensus` and `faults_processes`.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any, Final

Make = Callable[[Any], Any]
FAULTS: Final[dict[str, list[tuple[str, Make]]]] = {}
"""Name -> what is concerned, and how its substitute is made."""


def fault(*targets: str) -> Callable[[Make], Make]:
    """Enter a fault."""

    def enter(make: Make) -> Make:
        name = make.__name__.replace("_", "-")
        if name in FAULTS or not make.__doc__:
            raise ValueError(f"fault {name} needs a name of its own and a docstring")
        FAULTS[name] = [(target, make) for target in targets]
        return make

    return enter


def with_bound(original: Any, bound: str, value: Any) -> Any:
    """The original, in which a bound `module:NAME` is another one; whoever else uses it sees it unchanged."""
    module_name, _, name = bound.partition(":")

    @functools.wraps(original)
    def unbounded(*given: Any, **named: Any) -> Any:
        module = importlib.import_module(module_name)
        kept = getattr(module, name)
        setattr(module, name, value)
        try:
            return original(*given, **named)
        finally:
            setattr(module, name, kept)

    return unbounded
