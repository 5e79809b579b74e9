"""Which fields of a JSON object are too many or too few, in words that name them.

For documents that people write by hand: whoever founds a chain reads which field is wrong, not only that one is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

MAX_NAMED = 5


def complaint(value: Any, required: Iterable[str], optional: Iterable[str] = ()) -> str | None:
    """Why `value` is not an object with exactly these fields, or None if it is."""
    if not isinstance(value, dict):
        return "is not an object"
    needed = set(required)
    missing, unknown = needed - value.keys(), value.keys() - needed - set(optional)
    told = [f"lacks {_named(missing)}"] if missing else []
    told += [f"has the unknown field {_named(unknown)}"] if unknown else []
    return " and ".join(told) or None


def _named(fields: set[str]) -> str:
    names = [ascii(name[:64])[1:-1] for name in sorted(fields)]
    return ", ".join(names[:MAX_NAMED]) + (" …" if len(names) > MAX_NAMED else "")
