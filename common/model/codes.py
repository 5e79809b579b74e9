"""Codes of enterprises, products and investors (JR/T 0326-2024) and the unified social credit code (GB 32100-2015).

Pure functions on text. Who issues a code is held to the form that the standard asks for (`parse_…`, `is_…`); who reads
another market's code takes what the standard leaves open, and None stands for what is no code at all (`…_of`,
`…_key`). Invariants:
  * Only ASCII digits and letters count as digits and letters (Python's `\\d` would also take other scripts).
  * The immutable part of an enterprise code is region letters and six digits; the tier letter is an attribute that
    may change.
  * All instalments of one security of one enterprise share a *security* name: product code without its batch.

The standard prints one class code alone (DCFGFR, convertible corporate bond); any six letters are accepted as a class,
and class codes such as ESVUFR for common shares are this project's own (docs/adr/0033). Product codes older than the
standard are not accepted for new issues. Its examples elsewhere have classes of one letter, so a reader takes 1-6
letters and batches of 1-4 digits.

References: JR/T 0326-2024 tables 1-3; GB 32100-2015 and GB 11643-1999 through secondary sources, checked by
computation. Left out: who allocates investor codes. They are asserted by the market; an allocation by the supervision
chain is not built.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple

REGION_LETTERS: Final = (
    *("BJ", "TJ", "HE", "SX", "NM", "LN", "JL", "HL", "SH", "JS", "ZJ", "AH", "FJ", "JX", "SD", "HA", "HB", "HN"),
    *("GD", "GX", "HI", "CQ", "SC", "GZ", "YN", "SN", "GS", "QH", "NX", "XJ", "SZX", "DLC", "NGB", "XMN", "TAO"),
)
"""The 35 region letters of table 1, in its order."""

_REGIONS: Final = "|".join(sorted(REGION_LETTERS, key=len, reverse=True))
_ENTERPRISE: Final = re.compile(rf"({_REGIONS})([0-9]{{6}})([FGPT]?)")
_PRODUCT: Final = re.compile(rf"(({_REGIONS})[0-9]{{6}}[FGPT]?)\.([A-Z]{{6}})([0-9]{{2}})((?!00)[0-9]{{2}})")
_PRODUCT_READ: Final = re.compile(rf"({_REGIONS})([0-9]{{6}})[FGPT]?\.([A-Z]{{1,6}})([0-9]{{1,4}})")
_INVESTOR: Final = re.compile(r"[QRS][0-9]{9}")

_CREDIT_ALPHABET: Final = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_CREDIT_VALUES: Final = {character: value for value, character in enumerate(_CREDIT_ALPHABET)}
_CREDIT_WEIGHTS: Final = tuple(pow(3, place, 31) for place in range(17))
_CREDIT: Final = re.compile(r"[0-9A-HJ-NPQRTUWXY]{2}[0-9]{6}[0-9A-HJ-NPQRTUWXY]{10}")

_SEPARATOR: Final = (
    r"[\t\n\r -/:-@\[-`{-~\u00a0-\u00bf\u00d7\u00f7\u060c\u066b\u066c\u0964\u2000-\u206f\u2190-\u2bff\u3000-\u303f"
    r"\u30fb\ufe10-\ufe6f\uff00-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65\ufeff]{0,4}"
)
"""What may stand between two digits of one number: punctuation, spaces and symbols, no letter. A list of our own, as
that of digits is. Bounded, so that a place in a text is decided by the characters close to it.
"""
_RESIDENT: Final = re.compile(
    "(?<![0-9])(?=("
    + "".join(part + _SEPARATOR for part in ["[0-9]"] * 6)
    + f"(?:1{_SEPARATOR}[89]|2{_SEPARATOR}0){_SEPARATOR}[0-9]{_SEPARATOR}[0-9]{_SEPARATOR}"
    + f"(?:0{_SEPARATOR}[1-9]|1{_SEPARATOR}[0-2]){_SEPARATOR}"
    + f"(?:0{_SEPARATOR}[1-9]|[12]{_SEPARATOR}[0-9]|3{_SEPARATOR}[01]){_SEPARATOR}"
    + "".join(part + _SEPARATOR for part in ["[0-9]"] * 3)
    + "[0-9Xx])(?![0-9]))"
)
"""Region, date of birth, number and check character; looked for at every group of digits, also where one was found."""
_DIGIT_ZEROS: Final = (
    *(0x0660, 0x06F0, 0x07C0, 0x0966, 0x09E6, 0x0A66, 0x0AE6, 0x0B66, 0x0BE6, 0x0C66, 0x0CE6, 0x0D66, 0x0DE6, 0x0E50),
    *(0x0ED0, 0x0F20, 0x1040, 0x1090, 0x17E0, 0x1810, 0x1946, 0x19D0, 0x1A80, 0x1A90, 0x1B50, 0x1BB0, 0x1C40, 0x1C50),
    *(0xA620, 0xA8D0, 0xA900, 0xA9D0, 0xA9F0, 0xAA50, 0xABF0, 0xFF10, 0x104A0, 0x10D30, 0x11066, 0x110F0, 0x11136),
    *(0x111D0, 0x112F0, 0x11450, 0x114D0, 0x11650, 0x116C0, 0x11730, 0x118E0, 0x11950, 0x11C50, 0x11D50, 0x11DA0),
    *(0x16A60, 0x16AC0, 0x16B50, 0x1D7CE, 0x1D7D8, 0x1D7E2, 0x1D7EC, 0x1D7F6, 0x1E140, 0x1E2F0, 0x1E950, 0x1FBF0),
)
"""The zeros of all scripts with decimal digits in Unicode 14. A list of our own: tables differ between Pythons."""
_DIGIT_SIGNS: Final = (
    *("⁰¹²³⁴⁵⁶⁷⁸⁹", "₀₁₂₃₄₅₆₇₈₉", "⓪①②③④⑤⑥⑦⑧⑨", "⓿❶❷❸❹❺❻❼❽❾", "🄋➀➁➂➃➄➅➆➇➈"),
    *("〇一二三四五六七八九", "零壹贰叁肆伍陆柒捌玖", "零壹貳參肆伍陸柒捌玖", "○一二三四五六七八九"),
)
"""Signs that are read as digits: raised, lowered, circled, and the Chinese numerals."""
_ASCII_DIGITS: Final = (
    {zero + digit: str(digit) for zero in _DIGIT_ZEROS for digit in range(10)}
    | {ord(sign): str(digit) for signs in _DIGIT_SIGNS for digit, sign in enumerate(signs)}
    | {0xFF38: "X", 0xFF58: "x"}
)
_NO_DIGIT: Final = re.compile("[^0-9Xx]")
RESIDENT_NUMBER_LENGTH: Final = 18
_RESIDENT_WEIGHTS: Final = tuple(pow(2, 17 - place, 11) for place in range(17))
_RESIDENT_CHECKS: Final = "10X98765432"


class EnterpriseCode(NamedTuple):
    """The parts of an enterprise code."""

    region: str
    digits: str
    tier: str

    @property
    def key(self) -> str:
        """Region letters and digits: what stays when the tier changes."""
        return self.region + self.digits


class ProductCode(NamedTuple):
    """The parts of a product code."""

    enterprise: str
    region: str
    security_class: str
    year: str
    number: str


def parse_enterprise_code(text: str) -> EnterpriseCode | None:
    """The parts of an enterprise code such as BJ000001F, or None."""
    match = _ENTERPRISE.fullmatch(text)
    return EnterpriseCode(*match.groups()) if match else None


def parse_product_code(text: str) -> ProductCode | None:
    """The parts of a product code such as BJ000001F.DCFGFR2110 (2021, tenth issue), or None; issues count from 01."""
    match = _PRODUCT.fullmatch(text)
    return ProductCode(*match.groups()) if match else None


@lru_cache(maxsize=1024)
def is_product_code(text: str) -> bool:
    """Whether `parse_product_code` finds parts. Cached: most operations of a market name few products."""
    return _PRODUCT.fullmatch(text) is not None


def is_investor_code(text: str) -> bool:
    """Whether `text` is Q, R or S and nine digits. There is no check digit."""
    return _INVESTOR.fullmatch(text) is not None


def investor_code(text: str | None) -> str | None:
    """The text if it is an investor code, else None."""
    return text if text is not None and is_investor_code(text) else None


def enterprise_key(text: str | None) -> str | None:
    """Region letters and six digits of an enterprise code, else None."""
    parts = parse_enterprise_code(text) if text is not None else None
    return None if parts is None else parts.key


def product_enterprise(code: str | None) -> str | None:
    """The enterprise key inside a product code, else None (a legacy code)."""
    match = _PRODUCT_READ.fullmatch(code) if code is not None else None
    return match.group(1) + match.group(2) if match is not None else None


def security_of(code: str | None) -> str | None:
    """The security that a product code is an instalment of, e.g. `BJ000001.ESVUFR`, else None (a legacy code)."""
    match = _PRODUCT_READ.fullmatch(code) if code is not None else None
    return f"{match.group(1)}{match.group(2)}.{match.group(3)}" if match is not None else None


def letters_of(enterprise: str) -> str:
    """The region letters of an enterprise key."""
    return enterprise.rstrip("0123456789")


def is_credit_code(text: str) -> bool:
    """Whether `text` is a unified social credit code whose check character holds.

    GB 32100-2015: C18 = (31 - sum(C_i * 3^(i-1)) mod 31) mod 31 over the alphabet without I, O, S, V, Z.
    """
    if _CREDIT.fullmatch(text) is None:
        return False
    total = sum(_CREDIT_VALUES[character] * weight for character, weight in zip(text, _CREDIT_WEIGHTS, strict=False))
    return _CREDIT_ALPHABET[-total % 31] == text[17]


def holds_resident_number(text: str) -> bool:
    """Whether a part of `text` is a resident identity number by form and check character (GB 11643-1999, MOD 11-2).

    So is one in digits of another width or script, or in groups with up to four blanks, hyphens, commas, brackets or
    other punctuation between them. Any group of digits may be its beginning, so nothing before it hides it.
    """
    if len(text) < RESIDENT_NUMBER_LENGTH:
        return False
    folded = text if text.isascii() else text.translate(_ASCII_DIGITS)
    if _RESIDENT.search(folded) is None:
        return False  # mostly
    for match in _RESIDENT.finditer(folded):
        number = _NO_DIGIT.sub("", match[1])
        total = sum(int(digit) * weight for digit, weight in zip(number, _RESIDENT_WEIGHTS, strict=False))
        if _RESIDENT_CHECKS[total % 11] == number[17].upper():
            return True
    return False
