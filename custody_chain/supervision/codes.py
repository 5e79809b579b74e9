"""Codes of enterprises, products and investors (JR/T 0326-2024) as the supervisor reads them.

Reading is generous where the standard is open (class codes of 1-6 letters, batches of 1-4 digits) and yields None for
what is no code at all: a market's mistake becomes an unresolved reference, never an error.

Invariants:
  * An enterprise is known by region letters and six digits; the tier letter is an attribute that may change.
  * All instalments of one security of one enterprise share a *security* name: product code without its batch.

Left out: allocation of codes, and code tables of the markets.
"""

from __future__ import annotations

import re
from typing import Final

REGION_LETTERS: Final = (
    "BJ|TJ|HE|SX|NM|LN|JL|HL|SH|JS|ZJ|AH|FJ|JX|SD|HA|HB|HN|GD|GX|HI|CQ|SC|GZ|YN|SN|GS|QH|NX|XJ|SZX|DLC|NGB|XMN|TAO"
)
"""The 35 region letters of JR/T 0326-2024, table 1."""

_ENTERPRISE: Final = re.compile(rf"({REGION_LETTERS})([0-9]{{6}})[FGPT]?")
_PRODUCT: Final = re.compile(rf"({REGION_LETTERS})([0-9]{{6}})[FGPT]?\.([A-Z]{{1,6}})([0-9]{{1,4}})")
_INVESTOR: Final = re.compile(r"[QRS][0-9]{9}")


def investor_code(text: str | None) -> str | None:
    """The text if it is an investor code (class letter and nine digits), else None."""
    return text if text is not None and _INVESTOR.fullmatch(text) is not None else None


def enterprise_key(text: str | None) -> str | None:
    """Region letters and six digits of an enterprise code, else None."""
    match = _ENTERPRISE.fullmatch(text) if text is not None else None
    return match.group(1) + match.group(2) if match is not None else None


def product_enterprise(code: str | None) -> str | None:
    """The enterprise key inside a product code, else None (a legacy code)."""
    match = _PRODUCT.fullmatch(code) if code is not None else None
    return match.group(1) + match.group(2) if match is not None else None


def security_of(code: str | None) -> str | None:
    """The security that a product code is an instalment of, e.g. `BJ000001.ESVUFR`, else None (a legacy code)."""
    match = _PRODUCT.fullmatch(code) if code is not None else None
    return f"{match.group(1)}{match.group(2)}.{match.group(3)}" if match is not None else None


def letters_of(enterprise: str) -> str:
    """The region letters of an enterprise key."""
    return enterprise.rstrip("0123456789")
