"""Names that appear in wire formats, URLs, state keys and log lines: bounded ASCII, never in need of escaping.

Kept apart because headers, genesis documents, transactions and trust files must all refuse the same texts (attacks
E4, N6).
"""

from __future__ import annotations

import re
from typing import Final

from common.core.errors import Malformed

_NETWORK: Final = re.compile(r"[a-z][a-z0-9-]{0,31}")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
PRINCIPAL_PATTERN: Final = r"[a-z0-9-]{1,64}"
_PRINCIPAL: Final = re.compile(PRINCIPAL_PATTERN)
IDENTIFIER_PATTERN: Final = r"[A-Za-z0-9_:-][A-Za-z0-9._:-]{0,63}"
"""No dot at the beginning: clients take `.` and `..` out of a URL's path before they send it (RFC 3986, 5.2.4)."""
_IDENTIFIER: Final = re.compile(IDENTIFIER_PATTERN)
UNPRINTABLE: Final = re.compile(
    "[\u0000-\u001f\u007f-\u00a0\u00ad\u061c\u115f\u1160\u17b4\u17b5\u180e\u2000-\u200f\u2028-\u202f"
    "\u205f-\u206f\u2800\u3000\u3164\ud800-\uf8ff\ufeff\uffa0\ufff0-\uffff\U000e0000-\U0010ffff]"
)
"""Controls, invisible and directional characters, spaces other than U+0020, blank letters, surrogates, private use,
specials, tags.

A fixed list, because a language's own notion of printable grows with its Unicode version and validators must agree.
"""


def check_network(text: object) -> str:
    """A network id such as `beijing`: `[a-z][a-z0-9-]{0,31}`. Raises `Malformed('network_name')`."""
    if not isinstance(text, str) or _NETWORK.fullmatch(text) is None:
        raise Malformed("network_name", "A network id matches [a-z][a-z0-9-]{0,31}.")
    return text


def check_name(text: object, field: str) -> str:
    """A node's or validator's name: `[A-Za-z0-9][A-Za-z0-9._-]{0,63}`. Raises `Malformed('name_invalid')`."""
    if not isinstance(text, str) or _NAME.fullmatch(text) is None:
        raise Malformed("name_invalid", f"{field} must match [A-Za-z0-9][A-Za-z0-9._-]{{0,63}}.", field=field)
    return text


def check_principal(text: object, field: str) -> str:
    """Who takes part: an organisation, a person or a validator's seat, `[a-z0-9-]{1,64}` (architecture decision 29).

    One spelling for one principal: no upper case, no second script, no other form of a character can look alike.
    Raises `Malformed('principal_invalid')`.
    """
    if not isinstance(text, str) or _PRINCIPAL.fullmatch(text) is None:
        raise Malformed("principal_invalid", f"{field} must match {PRINCIPAL_PATTERN}.", field=field)
    return text


def check_identifier(text: object, field: str) -> str:
    """A business identifier: `IDENTIFIER_PATTERN`. Raises `Malformed('identifier_invalid')`."""
    if not isinstance(text, str) or _IDENTIFIER.fullmatch(text) is None:
        raise Malformed("identifier_invalid", f"{field} must match {IDENTIFIER_PATTERN}.", field=field)
    return text


def check_label(text: object, field: str) -> str:
    """A human label, in any script, for display alone: 1 to 128 printable characters.

    Raises `Malformed('label_invalid')`.
    """
    if not isinstance(text, str) or not 1 <= len(text) <= 128 or UNPRINTABLE.search(text) is not None:
        raise Malformed("label_invalid", f"{field} must be 1 to 128 printable characters.", field=field)
    return text
