"""The JSON of a data object's snapshot, whoever wrote it: any valid text, numbers as exact decimals.

A foreign chain commits to its own bytes; JR/T 0314-2024 asks for no canonical form. So white space, the order of keys
and the spelling of numbers are free (protocol rule 33), and what different parsers read differently is refused.

Invariants (attack E1):
  * Refused: repeated keys, NaN and infinities, lone surrogates, invalid UTF-8, more than `MAX_DEPTH` levels, and
    numbers beyond `MAX_DIGITS` digits before or after the point (1e400), before one of them is computed.
  * A number is a `Quantity` (`quantities`): no float is made, and its spelling is forgotten (1e3, 1000.0 and 1000).
  * Equal documents have equal bytes (`encode_document`): keys in ascending order, numbers in their shortest form. For
    documents of our own chains these are the bytes of RFC 8785.

Left out: the header (`header`), schemas, and JSON of integers alone (`common.core.codec`).
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any, Final, NoReturn

import msgspec

from common.core.codec import MAX_DEPTH, check_nesting, refuse_repeated_keys
from common.core.errors import Malformed, TooLarge
from common.model.quantities import Quantity

MAX_DIGITS: Final = 32
"""Most digits of a number before its point and after it, written without exponent."""
MAX_NUMBER_CHARACTERS: Final = 2 * MAX_DIGITS + 8
"""Longest spelling of a number that is read."""

_encoder: Final = msgspec.json.Encoder(order="sorted", decimal_format="number")
_DIGITS_TO_ZERO: Final = bytes.maketrans(b"123456789", b"000000000")
_LONG_NUMBER: Final = b"0" * (MAX_DIGITS + 1)
_NUMBER: Final = re.compile(r"(-?)([0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]{1,4}))?")
"""JSON has been parsed as far as this; an exponent of five digits is out of range whatever it is of."""


def _refuse_number(_: str = "") -> NoReturn:
    raise Malformed("json_number_range", f"A number has at most {MAX_DIGITS} digits before and after its point.")


def read_number(text: str) -> Quantity:
    """The exact value of a JSON number. Raises `Malformed('json_number_range')`."""
    match = _NUMBER.fullmatch(text) if len(text) <= MAX_NUMBER_CHARACTERS else None
    if match is None:
        _refuse_number()
    sign, whole, fraction, exponent = match.groups(default="")
    digits = whole + fraction
    significant = digits.rstrip("0")
    places = len(fraction) - int(exponent or 0) - (len(digits) - len(significant))
    significant = significant.lstrip("0")
    if not significant:
        return 0
    if places > MAX_DIGITS or len(significant) - places > MAX_DIGITS:
        _refuse_number()
    if places <= 0:
        return int(sign + significant + "0" * -places)
    return Decimal(f"{sign}{significant}e-{places}")


_decoder: Final = msgspec.json.Decoder(float_hook=read_number)
_careful_decoder: Final = json.JSONDecoder(
    object_pairs_hook=refuse_repeated_keys,
    parse_float=read_number,
    parse_int=read_number,
    parse_constant=_refuse_number,
)


def parse_document(data: bytes, *, max_size: int) -> Any:
    """Parse one JSON text of at most `max_size` bytes.

    Raises `TooLarge('json_too_large')` or `Malformed` with `json_duplicate_key`, `json_number_range`, `json_depth`,
    `json_surrogate`, `json_utf8` or `json_invalid`.
    """
    if len(data) > max_size:
        raise TooLarge("json_too_large", f"The JSON text is longer than {max_size} bytes.", limit=max_size)
    if data.count(b"{") + data.count(b"[") <= MAX_DEPTH and _LONG_NUMBER not in data.translate(_DIGITS_TO_ZERO):
        try:
            value = _decoder.decode(data)
            if _encoder.encode(value) == data:
                return value  # so no key was repeated
        except (msgspec.DecodeError, ValueError, OverflowError, Malformed):
            pass  # the careful parser finds and names what is wrong
    return _parse_carefully(data)


def _parse_carefully(data: bytes) -> Any:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed("json_utf8", "The text is not valid UTF-8.") from None
    check_nesting(text, MAX_DEPTH)
    try:
        value = _careful_decoder.decode(text)
        _encoder.encode(value)
    except UnicodeEncodeError:
        raise Malformed("json_surrogate", "A string holds half of a surrogate pair.") from None
    except ValueError as error:
        position = error.pos if isinstance(error, json.JSONDecodeError) else 0
        raise Malformed("json_invalid", "The text is not JSON.", position=position) from None
    return value


def encode_document(value: Any) -> bytes:
    """The bytes of a value that `parse_document` read, or of our own. Raises `Malformed('json_surrogate')`."""
    try:
        return _encoder.encode(value)
    except UnicodeEncodeError:
        raise Malformed("json_surrogate", "A string holds half of a surrogate pair.") from None
