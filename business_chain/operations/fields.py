"""How one field of an operation is read: one specification per kind of value, for parsing, documents and OpenAPI.

A record (operation_records.py) annotates each field with a specification; `plan_of` turns a record class into a reading
plan once. Reading goes over the parsed JSON in the order of the fields. Invariants:
  * Nothing is coerced: `true` is not 1, "1" is not 1, null is not "absent".
  * Which of several errors is reported depends on the record alone, never on the order of keys or on a library's
    text: codes and parameters of refusals are consensus data.
  * Text is free of control, format, blank and private-use characters (attack N6), by the fixed list of
    `common.core.names`: `str.isprintable` differs between versions of Python.

Left out: rules that need state; how the right operations, which are most, are read faster (`strict_forms`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, Protocol, TypeVar, get_args, get_type_hints

import msgspec

from business_chain.refusals import refuse
from common.core.codec import MAX_SAFE_INTEGER
from common.core.names import UNPRINTABLE
from common.model import codes
from common.model.enumerations import SHARE_NATURES
from common.model.values import is_day

_ABSENT: Final = object()


class Specification(Protocol):
    """Reads one JSON value; raises `Rejected` with the field's path."""

    def read(self, value: Any, path: str) -> Any:
        """The value, checked."""

    def json_schema(self) -> dict[str, Any]:
        """The same constraints as JSON Schema, for documents alone."""


class Whole:
    """An integer from `minimum` to `maximum`."""

    def __init__(self, minimum: int, maximum: int = MAX_SAFE_INTEGER, *, note: str) -> None:
        self.minimum = minimum
        self.maximum = maximum
        self.note = note

    def read(self, value: Any, path: str) -> int:
        """Raises `field_type`, `field_range`."""
        if type(value) is not int:
            raise refuse("field_type", field=path)
        if not self.minimum <= value <= self.maximum:
            raise refuse("field_range", field=path, minimum=self.minimum, maximum=self.maximum)
        return value

    def json_schema(self) -> dict[str, Any]:
        """Integer with bounds."""
        return {"type": "integer", "minimum": self.minimum, "maximum": self.maximum, "description": self.note}


class ShareNature:
    """A share-nature code of the project's table (docs/adr/0033); `default` says in words what its absence means."""

    def __init__(self, default: str = "0") -> None:
        self.default = default

    def read(self, value: Any, path: str) -> int:
        """Raises `field_type`, `share_nature_unknown`."""
        if type(value) is not int:
            raise refuse("field_type", field=path)
        if value not in SHARE_NATURES:
            raise refuse("share_nature_unknown", field=path)
        return value

    def json_schema(self) -> dict[str, Any]:
        """Enumeration of integers."""
        note = f"share nature (股份性质), default {self.default}"
        return {"type": "integer", "enum": sorted(SHARE_NATURES), "description": note}


class Pattern:
    """ASCII text that matches a pattern as a whole."""

    def __init__(self, pattern: str, *, note: str, code: str = "field_invalid") -> None:
        self.pattern = pattern
        self.note = note
        self.code = code
        self._match = re.compile(pattern, re.ASCII).fullmatch

    def read(self, value: Any, path: str) -> str:
        """Raises `field_type`, `field_invalid` (or the field's own code), `personal_identifier`."""
        if type(value) is not str:
            raise refuse("field_type", field=path)
        if self._match(value) is None:
            raise refuse(self.code, field=path)
        if codes.holds_resident_number(value):
            raise refuse("personal_identifier", field=path)
        return value

    def json_schema(self) -> dict[str, Any]:
        """String with a pattern."""
        return {"type": "string", "pattern": f"^{self.pattern}$", "description": self.note}


class Date(Pattern):
    """A day of the calendar, YYYY-MM-DD, from year 1 on (proleptic Gregorian)."""

    def __init__(self, *, note: str) -> None:
        super().__init__("[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])", note=note)

    def read(self, value: Any, path: str) -> str:
        """Raises `field_type`, `field_invalid`, the latter for a day that no month has as well."""
        text = super().read(value, path)
        if not is_day(text):
            raise refuse(self.code, field=path)
        return text


class Text:
    """One line of human text of 1 to `maximum` characters, without control characters or outer blanks."""

    def __init__(self, maximum: int, *, note: str) -> None:
        self.maximum = maximum
        self.note = note

    def read(self, value: Any, path: str) -> str:
        """Raises `field_type`, `field_range`, `field_invalid`, `personal_identifier`."""
        if type(value) is not str:
            raise refuse("field_type", field=path)
        if not 1 <= len(value) <= self.maximum:
            raise refuse("field_range", field=path, minimum=1, maximum=self.maximum)
        if not is_one_line(value):
            raise refuse("field_invalid", field=path)
        if codes.holds_resident_number(value):
            raise refuse("personal_identifier", field=path)
        return value

    def json_schema(self) -> dict[str, Any]:
        """String with length bounds."""
        return {"type": "string", "minLength": 1, "maxLength": self.maximum, "description": self.note}


def is_one_line(text: str) -> bool:
    """Whether a text, which is not empty, has no outer blanks and nothing that does not print."""
    return text[0] != " " and text[-1] != " " and UNPRINTABLE.search(text) is None


class Code:
    """A code checked by a function of `common.model.codes`; refused with the code's own reason."""

    def __init__(self, holds: Any, refusal: str, *, note: str, example: str) -> None:
        self.holds = holds
        self.refusal = refusal
        self.note = note
        self.example = example

    def read(self, value: Any, path: str) -> str:
        """Raises `field_type` or the code's refusal."""
        if type(value) is not str:
            raise refuse("field_type", field=path)
        if not self.holds(value):
            raise refuse(self.refusal, field=path)
        return value

    def json_schema(self) -> dict[str, Any]:
        """String with an example."""
        return {"type": "string", "maxLength": 64, "description": self.note, "examples": [self.example]}


class Choice:
    """One of a few words."""

    def __init__(self, *words: str, note: str) -> None:
        self.words = words
        self.note = note

    def read(self, value: Any, path: str) -> str:
        """Raises `field_type`, `field_invalid`."""
        if type(value) is not str:
            raise refuse("field_type", field=path)
        if value not in self.words:
            raise refuse("field_invalid", field=path)
        return value

    def json_schema(self) -> dict[str, Any]:
        """Enumeration of strings."""
        return {"type": "string", "enum": list(self.words), "description": self.note}


class Open:
    """An object or a list whose contents are judged by whoever uses it."""

    def __init__(self, kind: type, *, note: str) -> None:
        self.kind = kind
        self.note = note

    def read(self, value: Any, path: str) -> Any:
        """Raises `field_type`, `personal_identifier`."""
        if type(value) is not self.kind:
            raise refuse("field_type", field=path)
        if any(codes.holds_resident_number(text) for text in texts_in(value)):
            raise refuse("personal_identifier", field=path)
        return value

    def json_schema(self) -> dict[str, Any]:
        """Open object or array."""
        return {"type": "object" if self.kind is dict else "array", "description": self.note}


def texts_in(value: Any) -> Iterator[str]:
    """Every name and text inside a JSON value."""
    if type(value) is str:
        yield value
    elif type(value) is list or type(value) is tuple:
        for item in value:
            yield from texts_in(item)
    elif type(value) is dict:
        for name, item in value.items():
            yield name
            yield from texts_in(item)


class Nested:
    """An object with its own record class."""

    def __init__(self, record: type[msgspec.Struct]) -> None:
        self.record = record

    def read(self, value: Any, path: str) -> msgspec.Struct:
        """Raises what the inner fields raise, with the outer path in front."""
        if type(value) is not dict:
            raise refuse("field_type", field=path)
        return read_record(self.record, value, f"{path}.")

    def json_schema(self) -> dict[str, Any]:
        """Closed object."""
        return record_schema(self.record)


class Entries:
    """A list of 1 to `maximum` objects of one record class."""

    def __init__(self, record: type[msgspec.Struct], maximum: int) -> None:
        self.record = record
        self.maximum = maximum

    def read(self, value: Any, path: str) -> tuple[msgspec.Struct, ...]:
        """Raises `field_type`, `field_range` and what the inner fields raise."""
        if type(value) is not list and type(value) is not tuple:
            raise refuse("field_type", field=path)
        if not 1 <= len(value) <= self.maximum:
            raise refuse("field_range", field=path, minimum=1, maximum=self.maximum)
        entries = []
        for index, item in enumerate(value):
            if type(item) is not dict:
                raise refuse("field_type", field=f"{path}.{index}")
            entries.append(read_record(self.record, item, f"{path}.{index}."))
        return tuple(entries)

    def json_schema(self) -> dict[str, Any]:
        """Array of closed objects."""
        return {"type": "array", "minItems": 1, "maxItems": self.maximum, "items": record_schema(self.record)}


class PlannedField:
    """One field of a record: its name, specification and whether it must be there."""

    __slots__ = ("name", "read", "required", "specification")

    def __init__(self, name: str, specification: Specification, required: bool) -> None:
        self.name = name
        self.specification = specification
        self.required = required
        self.read = specification.read


def shown(text: str) -> str:
    """A client's word as it may stand in a receipt: at most 64 printable ASCII characters (attack N6)."""
    return ascii(text)[1:-1][:64]


_plans: Final[dict[type[msgspec.Struct], tuple[PlannedField, ...]]] = {}
_Record = TypeVar("_Record", bound=msgspec.Struct)


def plan_of(record: type[msgspec.Struct]) -> tuple[PlannedField, ...]:
    """The reading plan of a record class, in the order of its fields."""
    plan = _plans.get(record)
    if plan is None:
        hints = get_type_hints(record, include_extras=True)
        plan = tuple(
            PlannedField(field.name, get_args(hints[field.name])[1], field.required)
            for field in msgspec.structs.fields(record)
        )
        _plans[record] = plan
    return plan


def read_record(
    record: type[_Record], document: Mapping[str, Any], prefix: str = "", *, beside: frozenset[str] = frozenset()
) -> _Record:
    """Read `document` as a `record`; the keys `beside` it are present and were read by the caller.

    Raises `field_missing`, `field_unknown` and what the fields raise; `prefix` goes in front of the field names that
    parameters give.
    """
    values: dict[str, Any] = {}
    for field in plan_of(record):
        value = document.get(field.name, _ABSENT)
        if value is not _ABSENT:
            values[field.name] = field.read(value, prefix + field.name)
        elif field.required:
            raise refuse("field_missing", field=prefix + field.name)
    if len(values) + len(beside) != len(document):
        known = {field.name for field in plan_of(record)} | beside
        unknown = min(key for key in document if key not in known)
        raise refuse("field_unknown", field=prefix + shown(unknown))
    return record(**values)


def record_schema(record: type[msgspec.Struct]) -> dict[str, Any]:
    """JSON Schema of a record class, for documents."""
    plan = plan_of(record)
    return {
        "type": "object",
        "properties": {field.name: field.specification.json_schema() for field in plan},
        "required": [field.name for field in plan if field.required],
        "additionalProperties": False,
    }
