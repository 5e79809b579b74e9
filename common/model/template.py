"""Canonical JSON of documents that differ in a few values only: the rest is encoded once.

A body has some forty fields, of which half differ from one movement to the next. Building the dictionary, sorting and
encoding it for each costs several times the work of putting those values into a text that is sorted already.

Invariant: `Template(build).text(values)` equals the canonical JSON of `build(**values)`, where each of `values` is the
canonical JSON of what `build` takes. The text is made from `build` itself, so there is one description of a body.

Reference: docs/adr/0077 (measured). Left out: which fields a body has (`kinds`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from common.model.document import encode_document

_MARK: Final = "\x00"
_MARK_TEXT: Final = "\\u0000"


class Template:
    """The texts of one builder, one for each set of optional values that occurs.

    `build` must put every value that it is given into the document, once, and decide by nothing but which of them are
    None.
    """

    __slots__ = ("_build", "_texts")

    def __init__(self, build: Callable[..., dict[str, Any]]) -> None:
        self._build = build
        self._texts: dict[tuple[str, ...], str] = {}

    def text(self, values: dict[str, str]) -> str:
        """Canonical JSON with these values; those that are not named are None to the builder."""
        names = tuple(values)
        text = self._texts.get(names)
        if text is None:
            text = self._texts[names] = self._compile(names)
        return text % values

    def _compile(self, names: tuple[str, ...]) -> str:
        document = self._build(**{name: _MARK + name + _MARK for name in names})
        text = encode_document(document).decode("utf-8").replace("%", "%%")
        for name in names:
            text = text.replace(f'"{_MARK_TEXT}{name}{_MARK_TEXT}"', f"%({name})s")
        return text
