"""Strict reading of JSON objects: every field is asked for once, typed and bounded, and nothing may be left over.

Invariants:
  F1  A wrong type, a missing field and an unknown field are refused with a stable code; nothing is coerced or
      defaulted silently.
  F2  Binary values have one spelling, lowercase hex (attack R5: a changed character is another value or no value).

Left out: parsing of the JSON text itself (`common.core.codec`).
"""

from __future__ import annotations

from typing import Any

from common.core.errors import Malformed, TooLarge
from common.core.suite import parse_hex

MAX_INTEGER = 2**53 - 1
"""Largest integer of the suite's JSON (protocol rule 10)."""


class Fields:
    """Reads one JSON object. `what` names it in refusals. All methods raise `Malformed`; sizes raise `TooLarge`."""

    def __init__(self, document: Any, what: str) -> None:
        if not isinstance(document, dict):
            raise Malformed("field_type", f"{what} is not an object.", field=what)
        self._left: dict[str, Any] = dict(document)
        self._what = what

    def _name(self, name: str) -> str:
        return f"{self._what}.{name}"

    def has(self, name: str) -> bool:
        """Whether the field is there (and not read yet)."""
        return name in self._left

    def any(self, name: str) -> Any:
        """The field, whatever it holds."""
        if name not in self._left:
            raise Malformed("field_missing", f"{self._name(name)} is missing.", field=self._name(name))
        return self._left.pop(name)

    def _wrong(self, name: str, wanted: str) -> Malformed:
        return Malformed("field_type", f"{self._name(name)} is not {wanted}.", field=self._name(name))

    def text(self, name: str, *, max_size: int = 256) -> str:
        """A string of at most `max_size` characters."""
        value = self.any(name)
        if not isinstance(value, str):
            raise self._wrong(name, "a string")
        if len(value) > max_size:
            raise TooLarge(
                "field_too_large", f"{self._name(name)} is above {max_size} characters.", field=self._name(name)
            )
        return value

    def integer(self, name: str, *, minimum: int = 0, maximum: int = MAX_INTEGER) -> int:
        """An integer within bounds (a boolean is not one)."""
        value = self.any(name)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self._wrong(name, "an integer")
        if not minimum <= value <= maximum:
            raise Malformed(
                "field_range", f"{self._name(name)} is outside {minimum}..{maximum}.", field=self._name(name)
            )
        return value

    def hex(self, name: str, *, size: int | None = None, max_size: int = 1 << 20) -> bytes:
        """Bytes in lowercase hex, of exactly `size` or at most `max_size` bytes."""
        text = self.text(name, max_size=2 * (max_size if size is None else size))
        return parse_hex(text, self._name(name), size)

    def list(self, name: str, *, max_count: int) -> list[Any]:
        """A list of at most `max_count` items."""
        value = self.any(name)
        if not isinstance(value, list):
            raise self._wrong(name, "a list")
        if len(value) > max_count:
            raise TooLarge(
                "field_too_large", f"{self._name(name)} has more than {max_count} items.", field=self._name(name)
            )
        return value

    def hex_list(self, name: str, *, max_count: int, max_size: int) -> tuple[bytes, ...]:
        """A list of at most `max_count` byte strings of at most `max_size` bytes, each in lowercase hex."""
        items = []
        for value in self.list(name, max_count=max_count):
            if not isinstance(value, str):
                raise self._wrong(name, "a list of strings")
            if len(value) > 2 * max_size:
                raise TooLarge("field_too_large", f"{self._name(name)} has an item above {max_size} bytes.", field=name)
            items.append(parse_hex(value, self._name(name)))
        return tuple(items)

    def object(self, name: str) -> Fields:
        """A nested object."""
        return Fields(self.any(name), self._name(name))

    def mapping(self, name: str) -> dict[str, Any]:
        """A nested object that somebody else reads."""
        value = self.any(name)
        if not isinstance(value, dict):
            raise self._wrong(name, "an object")
        return value

    def end(self) -> None:
        """Refuse whatever was not asked for (attack E2)."""
        if self._left:
            name = min(self._left)[:64]
            raise Malformed("field_unknown", f"{self._what} has an unknown field.", field=f"{self._what}.{name}")
