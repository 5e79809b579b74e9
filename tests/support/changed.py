"""Copies of values with some fields changed, whether they are dataclasses or structs."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar, cast

import msgspec

Value = TypeVar("Value")


def replace(value: Value, **changes: Any) -> Value:
    """The value with these fields instead. Raises `TypeError` for a field that it does not have."""
    if isinstance(value, msgspec.Struct):
        return msgspec.structs.replace(value, **changes)
    return cast(Value, dataclasses.replace(cast(Any, value), **changes))
