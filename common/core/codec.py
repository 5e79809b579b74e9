"""Canonical JSON and the binary writer and reader.

Canonical JSON is RFC 8785 restricted to null, booleans, strings, integers within ±(2^53-1), arrays and objects
(protocol rule 10): without floats there is one spelling of every value and no number formatting to disagree about.

Invariants:
  * `parse_json` accepts any white space and key order but refuses what different parsers read differently: repeated
    keys, floats, negative zero, NaN, integers outside the safe range, lone surrogates, invalid UTF-8, deep nesting
    (attack E1).
  * The fast parser and the fast encoder are used only where they provably agree with the careful ones: the parser's
    result counts only if encoding it gives the input back (so no key was dropped), the encoder's key order only
    where all keys are ASCII (there code points, UTF-8 and UTF-16 sort alike).
  * Binary integers are big-endian, every variable part is length-prefixed, and nothing may follow the end (attacks
    E2, E4).

What this reads holds integers alone. What it writes may hold a quantity that is no whole number, as a `Decimal`
(`common.model.quantities`): its shortest plain form, which is RFC 8785's too for up to fifteen digits.

Left out: floats (never needed on chain) and streaming (every input is bounded by its caller).
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Final, NoReturn

import msgspec

from common.core.errors import CodecError, InvariantBroken, Malformed, TooLarge

MAX_SAFE_INTEGER: Final = 2**53 - 1
MAX_DEPTH: Final = 32

_encoder: Final = msgspec.json.Encoder(order="sorted", decimal_format="number")
_insertion_order_encoder: Final = msgspec.json.Encoder(decimal_format="number")
_STRING_OR_BRACKET: Final = re.compile(r'"(?:[^"\\]|\\.)*+"|[\[\]{}]', re.DOTALL)
_SIGNED_KEY: Final = re.compile(r"[a-z0-9_]{1,64}")


def _refuse_float(text: str) -> NoReturn:
    raise Malformed("json_float", "Numbers must be integers, written without fraction or exponent.")


_decoder: Final = msgspec.json.Decoder(float_hook=_refuse_float)


def _refuse_integer() -> NoReturn:
    raise Malformed("json_integer_range", "Integers must lie within ±(2^53-1).")


def _refuse_depth(max_depth: int) -> NoReturn:
    raise Malformed("json_depth", f"Arrays and objects may nest at most {max_depth} deep.", limit=max_depth)


def _check_values(value: Any, depth_left: int, max_depth: int) -> bool:
    """Walk a value; raise `Malformed` on anything outside the subset; return whether all keys are ASCII."""
    items: Iterable[Any]
    if type(value) is dict:
        if depth_left == 0:
            _refuse_depth(max_depth)
        ascii_keys = True
        for key in value:
            if type(key) is not str:
                raise Malformed("json_key_type", "Object keys must be strings.")
            if not key.isascii():
                ascii_keys = False
        items = value.values()
    elif type(value) is list or type(value) is tuple:
        if depth_left == 0:
            _refuse_depth(max_depth)
        ascii_keys = True
        items = value
    else:
        ascii_keys = True
        items = (value,)
    for item in items:
        kind = type(item)
        if kind is str or kind is bool or item is None or kind is Decimal:
            continue
        if kind is int:
            if not -MAX_SAFE_INTEGER <= item <= MAX_SAFE_INTEGER:
                _refuse_integer()
        elif kind is dict or kind is list or kind is tuple:
            if not _check_values(item, depth_left - 1, max_depth):
                ascii_keys = False
        elif kind is float:
            _refuse_float("")
        else:
            raise Malformed("json_type", "Only null, booleans, integers, strings, arrays and objects are allowed.")
    return ascii_keys


def _in_utf16_order(value: Any) -> Any:
    """A copy whose objects are ordered by UTF-16 code units, as RFC 8785 section 3.2.3 demands."""
    if isinstance(value, dict):
        ordered = sorted(value.items(), key=lambda item: item[0].encode("utf-16-be", "surrogatepass"))
        return {key: _in_utf16_order(item) for key, item in ordered}
    if isinstance(value, list | tuple):
        return [_in_utf16_order(item) for item in value]
    return value


def canonical_json(value: Any, *, max_depth: int = MAX_DEPTH) -> bytes:
    """The RFC 8785 bytes of `value` (dict, list, tuple, str, int, Decimal, bool, None).

    Raises `Malformed` (`json_float`, `json_integer_range`, `json_depth`, `json_surrogate`, `json_key_type`,
    `json_type`).
    """
    ascii_keys = _check_values(value, max_depth, max_depth)
    try:
        if ascii_keys:
            return _encoder.encode(value)
        return _insertion_order_encoder.encode(_in_utf16_order(value))
    except UnicodeEncodeError:
        raise Malformed("json_surrogate", "A string holds half of a surrogate pair.") from None


def canonical_json_of_checked(value: Any) -> bytes:
    """`canonical_json` of a value whose every part was checked when it was read or is a literal of our own: ASCII keys,
    safe integers, no floats. Saves the walk on the hot path; half a surrogate pair is still refused."""
    try:
        return _encoder.encode(value)
    except UnicodeEncodeError:
        raise Malformed("json_surrogate", "A string holds half of a surrogate pair.") from None


def parse_json(data: bytes, *, max_size: int, max_depth: int = MAX_DEPTH) -> Any:
    """Parse one JSON text of at most `max_size` bytes, strictly.

    Raises `TooLarge('json_too_large')` or `Malformed` with `json_duplicate_key`, `json_float`, `json_negative_zero`,
    `json_integer_range`, `json_depth`, `json_surrogate`, `json_utf8` or `json_invalid`.
    """
    return parse_json_canonically(data, max_size=max_size, max_depth=max_depth)[0]


def parse_json_canonically(data: bytes, *, max_size: int, max_depth: int = MAX_DEPTH) -> tuple[Any, bytes]:
    """Like `parse_json`, and the canonical bytes of what was parsed (the input itself if it was canonical)."""
    if len(data) > max_size:
        raise TooLarge("json_too_large", f"The JSON text is longer than {max_size} bytes.", limit=max_size)
    try:
        value = _decoder.decode(data)
        encoded = _encoder.encode(value)
    except (msgspec.DecodeError, ValueError, RecursionError, Malformed):
        # ValueError: invalid UTF-8 either way; Malformed: a float. The careful parser finds and names what is wrong.
        return _parse_carefully(data, max_depth)
    if encoded != data:
        return _parse_carefully(data, max_depth)
    if _check_values(value, max_depth, max_depth):
        return value, encoded
    return value, canonical_json(value, max_depth=max_depth)


def refuse_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of its members, as a hook of `json`. Raises `Malformed('json_duplicate_key')`."""
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise Malformed("json_duplicate_key", "An object repeats a key.", key=ascii(key[:64]))
            seen.add(key)
    return result


def _safe_integer(text: str) -> int:
    if text == "-0":
        raise Malformed("json_negative_zero", "Write zero without a sign.")
    if len(text) > 17:
        _refuse_integer()
    value = int(text)
    if not -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER:
        _refuse_integer()
    return value


_careful_decoder: Final = json.JSONDecoder(
    object_pairs_hook=refuse_repeated_keys,
    parse_float=_refuse_float,
    parse_int=_safe_integer,
    parse_constant=_refuse_float,
)


def check_nesting(text: str, max_depth: int) -> None:
    """Refuse deep nesting before a recursive parser sees it; wrong bracket pairs are left to the parser.

    Raises `Malformed('json_depth')`.
    """
    depth = 0
    for match in _STRING_OR_BRACKET.finditer(text):
        mark = match.group()
        if mark in "[{":
            depth += 1
            if depth > max_depth:
                _refuse_depth(max_depth)
        elif mark in "]}":
            depth -= 1


def _parse_carefully(data: bytes, max_depth: int) -> tuple[Any, bytes]:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed("json_utf8", "The text is not valid UTF-8.") from None
    check_nesting(text, max_depth)
    try:
        value = _careful_decoder.decode(text)
    except ValueError as error:
        position = error.pos if isinstance(error, json.JSONDecodeError) else 0
        raise Malformed("json_invalid", "The text is not JSON.", position=position) from None
    return value, canonical_json(value, max_depth=max_depth)


_known_signed_keys: Final[set[str]] = set()
"""Keys that have been matched before; a chain's operations use some tens."""
_MAX_KNOWN_KEYS: Final = 4096


def is_plain_value(value: Any, depth_left: int) -> bool:
    """Whether a list or object as msgspec reads it is plain throughout: keys `[a-z0-9_]{1,64}`, no number but safe
    integers, no deeper than `depth_left`.
    """
    if depth_left == 0:
        return False
    items: Iterable[Any]
    if type(value) is dict:
        if not _known_signed_keys.issuperset(value) and not all(map(_is_signed_key, value)):
            return False
        items = value.values()
    elif type(value) is list:
        items = value
    else:
        return False
    for item in items:
        kind = type(item)
        if kind is str:
            continue
        if kind is int:
            if not -MAX_SAFE_INTEGER <= item <= MAX_SAFE_INTEGER:
                return False
        elif kind is dict or kind is list:
            if not is_plain_value(item, depth_left - 1):
                return False
        elif kind is float:
            return False
    return True


def have_signed_keys(objects: list[dict[str, Any]]) -> bool:
    """Whether every key of these objects matches `[a-z0-9_]{1,64}`; what they hold is not looked at."""
    if all(map(_known_signed_keys.issuperset, objects)):
        return True
    return all(_is_signed_key(key) for item in objects for key in item)


def _is_signed_key(key: str) -> bool:
    if key in _known_signed_keys:
        return True
    if _SIGNED_KEY.fullmatch(key) is None:
        return False
    if len(_known_signed_keys) < _MAX_KNOWN_KEYS:
        _known_signed_keys.add(key)
    return True


def _check_signed_key(key: str) -> None:
    if not _is_signed_key(key):
        raise Malformed("json_key", "Keys of signed objects match [a-z0-9_]{1,64}.", key=ascii(key[:64]))


def check_signed_keys(value: Any) -> None:
    """Raise `Malformed('json_key')` unless every object key in `value` matches `[a-z0-9_]{1,64}` (protocol rule 10)."""
    items: Iterable[Any]
    if type(value) is dict:
        for key in value:
            _check_signed_key(key)
        items = value.values()
    elif type(value) is list or type(value) is tuple:
        items = value
    else:
        return
    for item in items:
        kind = type(item)
        if kind is dict or kind is list or kind is tuple:
            check_signed_keys(item)


class Writer:
    """Builds a binary structure. Values that do not fit are our own bug: `InvariantBroken`."""

    __slots__ = ("_parts",)

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def _integer(self, value: int, size: int) -> Writer:
        try:
            self._parts.append(value.to_bytes(size, "big"))
        except OverflowError:
            raise InvariantBroken(f"{value} does not fit into {size} bytes") from None
        return self

    def u8(self, value: int) -> Writer:
        """One byte."""
        return self._integer(value, 1)

    def u16(self, value: int) -> Writer:
        """Two bytes, big-endian."""
        return self._integer(value, 2)

    def u32(self, value: int) -> Writer:
        """Four bytes, big-endian."""
        return self._integer(value, 4)

    def u64(self, value: int) -> Writer:
        """Eight bytes, big-endian."""
        return self._integer(value, 8)

    def fixed(self, data: bytes, size: int) -> Writer:
        """Exactly `size` bytes without a length prefix."""
        if len(data) != size:
            raise InvariantBroken(f"expected {size} bytes, not {len(data)}")
        self._parts.append(data)
        return self

    def text8(self, text: str) -> Writer:
        """u8 length and printable ASCII."""
        if len(text) > 255 or not text.isascii() or not text.isprintable():
            raise InvariantBroken("text8 holds at most 255 printable ASCII characters")
        self._parts.append(bytes((len(text),)) + text.encode("ascii"))
        return self

    def blob(self, data: bytes) -> Writer:
        """u32 length and the bytes."""
        self._parts.append(struct.pack(">I", len(data)))
        self._parts.append(data)
        return self

    def bytes(self) -> bytes:
        """Everything written so far."""
        return b"".join(self._parts)


class Reader:
    """Takes a binary structure apart; every method raises `CodecError` if the data is too short or out of bounds.

    No length prefix is trusted before it is compared with what is left, so a short input never causes a large
    allocation (attack E2).
    """

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def remaining(self) -> int:
        """Bytes not yet read."""
        return len(self._data) - self._at

    def _take(self, size: int) -> bytes:
        end = self._at + size
        if end > len(self._data):
            raise CodecError("codec_truncated", "The data ends too early.", position=self._at, wanted=size)
        part = self._data[self._at : end]
        self._at = end
        return part

    def u8(self) -> int:
        """One byte."""
        return self._take(1)[0]

    def u16(self) -> int:
        """Two bytes, big-endian."""
        return int.from_bytes(self._take(2), "big")

    def u32(self) -> int:
        """Four bytes, big-endian."""
        return int.from_bytes(self._take(4), "big")

    def u64(self) -> int:
        """Eight bytes, big-endian."""
        return int.from_bytes(self._take(8), "big")

    def fixed(self, size: int) -> bytes:
        """Exactly `size` bytes."""
        return self._take(size)

    def text8(self) -> str:
        """u8 length and printable ASCII."""
        part = self._take(self.u8())
        if not part.isascii() or not (text := part.decode("ascii")).isprintable():
            raise CodecError("codec_text", "A text field holds something else than printable ASCII.")
        return text

    def blob(self, max_size: int) -> bytes:
        """u32 length, at most `max_size`, and the bytes."""
        size = int.from_bytes(self._take(4), "big")
        if size > max_size:
            raise CodecError("codec_too_long", f"A field is longer than {max_size} bytes.", length=size, limit=max_size)
        return self._take(size)

    def end(self) -> None:
        """Raise `CodecError` unless everything was read."""
        if self._at != len(self._data):
            raise CodecError("codec_trailing_bytes", "Bytes follow the end of the structure.", count=self.remaining)
