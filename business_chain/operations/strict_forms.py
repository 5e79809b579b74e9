"""Operations read in one pass, as long as nothing is wrong with them.

What clients send is right mostly. msgspec converts it into the *strict form* of a record: a subclass of its class with
the types that follow from the specifications of its fields. What that form refuses is read field by field (`fields`),
which says what is wrong, or accepts it. Invariants:
  * The strict form takes nothing that `read_record` refuses, and makes the same record of it.
  * No text of the library, nor its order of checks, goes into a refusal: codes and parameters are consensus data.

Reference: docs/adr/0112. Left out: what a field may be (`fields`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from types import GenericAlias
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec

from business_chain.operations import fields
from business_chain.operations.fields import Specification, plan_of, read_record
from common.core.errors import InvariantBroken
from common.model.codes import holds_resident_number
from common.model.enumerations import SHARE_NATURES
from common.model.values import is_day

_TYPE: Final = frozenset({"type"})
_Record = TypeVar("_Record", bound=msgspec.Struct)
_Rest = Callable[[Any], Any]


class StrictForm:
    """A record class as msgspec reads it, and what its fields have to meet besides their types."""

    __slots__ = ("_rests", "record")

    def __init__(self, record: type[msgspec.Struct], operation_type: str | None) -> None:
        stated: list[Any] = []
        self._rests: list[tuple[str, Any, _Rest]] = []
        for field, planned in zip(msgspec.structs.fields(record), plan_of(record), strict=True):
            kind, rest = _strictly(planned.specification)
            stated.append((field.name, kind) if field.required else (field.name, kind, field.default))
            if rest is not None:
                self._rests.append((field.name, field.default, rest))
        self.record: Any = msgspec.defstruct(
            record.__name__,
            stated,
            bases=(record,),
            frozen=True,
            kw_only=True,
            forbid_unknown_fields=True,
            tag_field=None if operation_type is None else "type",
            tag=operation_type,
        )

    def meets_rest(self, record: msgspec.Struct) -> bool:
        """Whether the fields that are given hold what their types do not say."""
        for name, default, rest in self._rests:
            value = getattr(record, name)
            if value is not default and not rest(value):
                return False
        return True


@cache
def strict_form(record: type[msgspec.Struct], operation_type: str | None = None) -> StrictForm:
    """The strict form of a record class; an operation's has its `type` beside the fields."""
    return StrictForm(record, operation_type)


def read_operation(record: type[_Record], document: Mapping[str, Any], operation_type: str) -> _Record:
    """Read a document whose `type` is `operation_type`. Raises as `read_record`."""
    form = strict_form(record, operation_type)
    try:
        operation: _Record = msgspec.convert(document, form.record)
    except msgspec.ValidationError:
        return read_record(record, document, beside=_TYPE)
    return operation if form.meets_rest(operation) else read_record(record, document, beside=_TYPE)


def _strictly(specification: Specification) -> tuple[Any, _Rest | None]:
    """A type that takes no value that the specification refuses, but for what the function then says of it."""
    match specification:
        case fields.Whole():
            return Annotated[int, msgspec.Meta(ge=specification.minimum, le=specification.maximum)], None
        case fields.ShareNature():
            return Literal[tuple(sorted(SHARE_NATURES))], None
        case fields.Choice():
            return Literal[specification.words], None
        case fields.Pattern():
            kind = Annotated[str, msgspec.Meta(pattern=rf"\A(?:{specification.pattern})\Z")]
            return kind, is_day if isinstance(specification, fields.Date) else _names_nobody
        case fields.Text():
            length = msgspec.Meta(min_length=1, max_length=specification.maximum)
            return Annotated[str, length], lambda text: fields.is_one_line(text) and _names_nobody(text)
        case fields.Code():
            return str, specification.holds
        case fields.Open():
            return specification.kind, lambda value: all(_names_nobody(text) for text in fields.texts_in(value))
        case fields.Nested():
            form = strict_form(specification.record)
            return form.record, form.meets_rest
        case fields.Entries():
            form = strict_form(specification.record)
            count = msgspec.Meta(min_length=1, max_length=specification.maximum)
            entries: Any = Annotated[GenericAlias(tuple, (form.record, ...)), count]
            return entries, lambda records: all(map(form.meets_rest, records))
    raise InvariantBroken(f"no strict type for {type(specification).__name__}")


def _names_nobody(text: str) -> bool:
    return not holds_resident_number(text)
