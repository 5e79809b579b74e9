"""A block's envelopes, receipts and snapshots as compressed pages: what a block holds in order, some at a time.

Snapshots are four fifths of what a block writes, and their field names repeat; a page of them is a twentieth of its
size (docs/adr/0047). LevelDB rewrites what it holds several times over, so this is mostly time saved, not space.

Layout of a page, kept under the place of its first item: zlib of (u32 length | item)*, at least one item.

Invariants
  P1  A page holds the items that follow each other; a new one begins when the next item would exceed `PAGE_BYTES`. One
      item may be larger than that.
  P2  Reading refuses what is cut, longer than written, or above `MAX_PAGE_BYTES` (attack E2). Whether the content is
      right is said by the header's roots and the store's checksums, not here.

Left out: keys (`schema`), and who reads what (`chain_reader`).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import Final

from common.core.errors import Malformed

PAGE_BYTES: Final = 32 * 1024
"""Compresses as well as larger pages do, and one item costs no more than reading this much."""
MAX_PAGE_BYTES: Final = 17 * 1024 * 1024
"""The standard's largest block, 16 MiB, were it a single item."""
_LEVEL: Final = 3
_LENGTH: Final = struct.Struct(">I")


def write_pages(items: Sequence[bytes]) -> Iterator[tuple[int, bytes]]:
    """(index of its first item, page) of each page, in order; nothing for no items."""
    first, size_bytes = 0, 0
    parts: list[bytes] = []
    for index, item in enumerate(items):
        if parts and size_bytes + len(item) > PAGE_BYTES:
            yield first, zlib.compress(b"".join(parts), _LEVEL)
            first, size_bytes, parts = index, 0, []
        parts += (_LENGTH.pack(len(item)), item)
        size_bytes += _LENGTH.size + len(item)
    if parts:
        yield first, zlib.compress(b"".join(parts), _LEVEL)


def read_page(page: bytes) -> list[bytes]:
    """The items of a page. Raises `Malformed('page_damaged')` (P2)."""
    reader = zlib.decompressobj()
    try:
        data = reader.decompress(page, MAX_PAGE_BYTES)
    except zlib.error as error:
        raise Malformed("page_damaged", "a page cannot be decompressed") from error
    if not reader.eof or reader.unused_data:
        raise Malformed("page_damaged", "a page is cut, too long or too large")
    items: list[bytes] = []
    at = 0
    while at < len(data):
        if at + _LENGTH.size > len(data):
            raise Malformed("page_damaged", "a page ends inside a length")
        begin = at + _LENGTH.size
        at = begin + _LENGTH.unpack_from(data, at)[0]
        if at > len(data):
            raise Malformed("page_damaged", "a page ends inside an item")
        items.append(data[begin:at])
    if not items:
        raise Malformed("page_damaged", "a page is empty")
    return items
