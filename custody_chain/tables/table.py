"""One family of keys and the typed record under each of them: path, codec, and since when the family exists.

A key is a named tuple. The type of each member says how it becomes one step of the path::

    str        as it is: networks, codes and words that this chain has checked, none of which can hold `/`
    Foreign    percent-encoded outside ``[A-Za-z0-9._:-]``: identifiers that a region chooses
    Number     16 hex digits, so that the order of keys is the order of numbers
    int        decimal digits, where the order does not matter

A record is a frozen `msgspec.Struct` or one of several, told apart by a tag; or a plain JSON object where a region
chooses the members.

Invariants:
  T1  The encoding is injective: no foreign identifier contains ``/`` or imitates a key of another family (attacks
      E4, R8).
  T2  Bytes of a record are canonical JSON: members sorted; numbers are integers and exact quantities.
  T3  A family belongs to the authenticated state or to the index, never to both, and its name is its own.

Left out: which families there are (`custody_chain.tables`), caching and undoing (`custody_chain.records`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from types import UnionType
from typing import Annotated, Any, Final, Generic, NamedTuple, TypeVar, get_args, get_origin, get_type_hints
from urllib.parse import unquote_to_bytes

import msgspec

from common.core.codec import canonical_json, canonical_json_of_checked
from common.model.document import read_number

UNRESOLVED: Final = "-"
"""Stands for the investor while an account's owner has no valid code."""

_SAFE: Final = re.compile(r"[A-Za-z0-9._:-]+")
_UNSAFE_BYTE: Final = re.compile(rb"[^A-Za-z0-9._:-]")

Foreign = Annotated[str, "foreign"]
"""An identifier that a region chose."""
Number = Annotated[int, "number"]
"""A number whose order is the order of keys."""

K = TypeVar("K", bound=tuple[Any, ...])
R = TypeVar("R")


@lru_cache(maxsize=1024)
def component(identifier: str) -> str:
    """An identifier as one step of a key path, percent-encoded where needed. Cached: one is asked for several times.

    References have at most 256 characters (the schemas say so), which makes 3,072 bytes at most.
    """
    if _SAFE.fullmatch(identifier) is not None and identifier != UNRESOLVED:
        return identifier
    if identifier in (UNRESOLVED, ""):
        return "%" + identifier
    data = identifier.encode("utf-8", "surrogatepass")
    return _UNSAFE_BYTE.sub(lambda match: b"%%%02X" % match.group()[0], data).decode("ascii")


def identifier(step: str) -> str:
    """The identifier that `component` encoded."""
    if "%" not in step:
        return step
    if step in ("%" + UNRESOLVED, "%"):
        return step[1:]
    return unquote_to_bytes(step).decode("utf-8", "surrogatepass")


def number_step(value: int) -> str:
    """A number as a step of a path whose order is the order of numbers."""
    return f"{value:016x}"


def _plain(step: str) -> str:
    return step


def _number(step: str) -> int:
    return int(step, 16)


_CODECS: Final[dict[Any, tuple[Callable[[Any], str], Callable[[str], Any]]]] = {
    str: (_plain, _plain),
    "foreign": (component, identifier),
    "number": (number_step, _number),
    int: (str, int),
}


class Only(NamedTuple):
    """The one key of a family that has a single record."""


class Table(Generic[K, R]):
    """A family of keys. `since` is the protocol version from which rules may write it.

    Records with a member `alerts` (rule -> id of the alert that stands) are `judged`: supervisory rules are asked about
    each that changes (`custody_chain.supervision.judging`). Keys of a family `by_region` begin with one.
    """

    __slots__ = (
        "_decode",
        "_encode",
        "_key",
        "_read_steps",
        "_steps",
        "by_region",
        "index",
        "judged",
        "name",
        "record",
        "since",
    )

    def __init__(
        self, name: str, key: type[K], record: type[R] | UnionType, *, index: bool = False, since: int = 1
    ) -> None:
        self.name = name
        self.index = index
        self.since = since
        self.record = record
        self.judged = "alerts" in getattr(record, "__struct_fields__", ())
        hints = get_type_hints(key, include_extras=True)
        self.by_region = next(iter(hints), None) == "region"
        self._key = key
        codecs = [_CODECS[_kind(hint)] for hint in hints.values()]
        self._steps = tuple(write for write, _ in codecs)
        self._read_steps = tuple(read for _, read in codecs)
        self._decode: Callable[[bytes], R] = msgspec.json.Decoder[Any](record, float_hook=read_number).decode
        plain = record is dict or get_origin(record) is dict
        self._encode: Callable[[Any], bytes] = canonical_json if plain else canonical_json_of_checked

    def path(self, key: K) -> bytes:
        """The key's path, for state and proofs."""
        steps = [write(part) for write, part in zip(self._steps, key, strict=True)]
        return "/".join([self.name, *steps]).encode("ascii")

    def prefix(self, *leading: Any) -> bytes:
        """What the paths of all keys with these first members begin with."""
        steps = [write(part) for write, part in zip(self._steps, leading, strict=False)]
        return "/".join([self.name, *steps, ""]).encode("ascii")

    def key(self, path: bytes) -> K:
        """The key that a path of this family is of."""
        steps = path.decode("ascii").split("/")[1:]
        parts = [read(step) for read, step in zip(self._read_steps, steps, strict=True)]
        return self._key(*parts)

    def encode(self, record: R) -> bytes:
        """Canonical bytes of a record. Raises `Malformed` if a plain value has none."""
        return self._encode(record)

    def decode(self, data: bytes) -> R:
        """The record of bytes that `encode` made."""
        return self._decode(data)


def _kind(hint: Any) -> Any:
    """What decides a member's codec: its mark, or its type."""
    arguments = get_args(hint)
    return arguments[1] if arguments else hint
