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
_Fault = Callable[[Any], Any]


class StrictForm:
    """A record class as msgspec reads it, and what may be wrong with its fields besides their types."""

    __slots__ = ("_faults", "record")

    def __init__(self, record: type[msgspec.Struct], operation_type: str | None) -> None:
        stated: list[Any] = []
        self._faults: list[tuple[str, Any, _Fault]] = []
        for field, planned in zip(msgspec.structs.fields(record), plan_of(record), strict=True):
            kind, fault = _strictly(planned.specification)
            stated.append((field.name, kind) if field.required else (field.name, kind, field.default))
            if fault is not None:
                self._faults.append((field.name, field.default, fault))
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

    def has_fault(self, record: msgspec.Struct) -> bool:
        """Whether a field that is given holds what its type does not refuse, but its specification does."""
        for name, default, fault in self._faults:
            value = getattr(record, name)
            if value is not default and fault(value):
                return True
        return False


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
    return read_record(record, document, beside=_TYPE) if form.has_fault(operation) else operation


def _strictly(specification: Specification) -> tuple[Any, _Fault | None]:
    """A type that takes no value that the specification refuses, but for those in which the function finds a fault."""
    match specification:
        case fields.Whole():
            return Annotated[int, msgspec.Meta(ge=specification.minimum, le=specification.maximum)], None
        case fields.ShareNature():
            return Literal[tuple(sorted(SHARE_NATURES))], None
        case fields.Choice():
            return Literal[specification.words], None
        case fields.Pattern():
            kind = Annotated[str, msgspec.Meta(pattern=rf"\A(?:{specification.pattern})\Z")]
            return kind, _is_no_day if isinstance(specification, fields.Date) else holds_resident_number
        case fields.Text():
            length = msgspec.Meta(min_length=1, max_length=specification.maximum)
            return Annotated[str, length], lambda text: not fields.is_one_line(text) or holds_resident_number(text)
        case fields.Code():
            holds = specification.holds
            return str, lambda text: not holds(text)
        case fields.Open():
            return specification.kind, lambda value: any(map(holds_resident_number, fields.texts_in(value)))
        case fields.Nested():
            form = strict_form(specification.record)
            return form.record, form.has_fault
        case fields.Entries():
            form = strict_form(specification.record)
            count = msgspec.Meta(min_length=1, max_length=specification.maximum)
            entries: Any = Annotated[GenericAlias(tuple, (form.record, ...)), count]
            return entries, lambda records: any(map(form.has_fault, records))
    raise InvariantBroken(f"no strict type for {type(specification).__name__}")


def _is_no_day(text: str) -> bool:
    return not is_day(text)
