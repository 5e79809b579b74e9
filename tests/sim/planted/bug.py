"""What a planted bug is: a named function of the product, and what stands in its place.

A target is `module:name` or `module:Class.name`. It must exist, and the substitute must take the same parameters, or
planting fails: a bug whose target was renamed is a bug that nobody hunts any more.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal

Kind = Literal["safety", "liveness"]
Make = Callable[[Any], Any]


class Rotten(Exception):
    """A bug cannot be planted: its target is not what it was."""


@dataclass(frozen=True, slots=True)
class Bug:
    """One class of known failure."""

    name: str
    kind: Kind
    layer: str
    """Where it is hunted: a key of `hunt.LAYERS`."""
    targets: tuple[str, ...]
    make: Make
    """Original -> substitute."""
    meaning: str


BUGS: Final[dict[str, Bug]] = {}


def bug(kind: Kind, layer: str, *targets: str) -> Callable[[Make], Make]:
    """Enter a bug under the name of its function, which makes the substitute out of the original."""

    def enter(make: Make) -> Make:
        name, meaning = make.__name__.replace("_", "-").strip("-"), (make.__doc__ or "").strip()
        if name in BUGS or not meaning or not targets:
            raise ValueError(f"bug {name} needs a name of its own, a docstring and a target")
        BUGS[name] = Bug(name, kind, layer, targets, make, meaning)
        return make

    return enter


def resolve(target: str) -> tuple[Any, str, Any]:
    """(holder, attribute, what is there). Raises `Rotten`."""
    module_name, _, path = target.partition(":")
    try:
        holder: Any = importlib.import_module(module_name)
        *outer, name = path.split(".")
        for step in outer:
            holder = getattr(holder, step)
        raw = inspect.getattr_static(holder, name)
        own = name in vars(holder)
    except (ImportError, AttributeError) as error:
        raise Rotten(f"{target} does not exist") from error
    if not own:
        raise Rotten(f"{target} is inherited, not defined there")
    return holder, name, raw


def _parameters(found: Any) -> list[str] | None:
    """Names of what a function takes; None if it takes whatever comes, or is no function."""
    if isinstance(found, property):
        found = found.fget
    elif isinstance(found, classmethod | staticmethod):
        found = found.__func__
    if not callable(found):
        return None
    parameters = inspect.signature(found, follow_wrapped=False).parameters.values()
    if any(item.kind in (item.VAR_POSITIONAL, item.VAR_KEYWORD) for item in parameters):
        return None
    return [item.name for item in parameters]


def substitute(target: str, make: Make) -> tuple[Any, str, Any, Any]:
    """(holder, attribute, original, substitute). Raises `Rotten` if the parameters differ."""
    holder, name, original = resolve(target)
    made = make(original)
    if isinstance(original, property) and not isinstance(made, property):
        made = property(made)
    if type(made) is not type(original) and not (callable(made) and callable(original)):
        raise Rotten(f"{target} is a {type(original).__name__}, its substitute a {type(made).__name__}")
    if _parameters(made) not in (None, _parameters(original)):
        raise Rotten(f"{target} takes {_parameters(original)}, its substitute {_parameters(made)}")
    return holder, name, original, made


@contextmanager
def planted(found: Bug) -> Iterator[None]:
    """The bug is in the product while the context lasts. Raises `Rotten`."""
    with ExitStack() as stack:
        for target in found.targets:
            holder, name, original, made = substitute(target, found.make)
            stack.callback(setattr, holder, name, original)
            setattr(holder, name, made)
        yield
