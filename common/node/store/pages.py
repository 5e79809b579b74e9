"""A block's envelopes, receipts and snapshots as compressed pages: what a block holds in order, some at a time.

Snapshots are four fifths of what a block writes, and their field names repeat; a page of them is a twentieth of its
size (docs/adr/0047). LevelDB rewrites what it holds several times over, so this is mostly time saved, not space.

Layout of a page, kept under the place of its first item: one zstd frame (RFC 8878) of (u32 length | item)*, at least
one item. Level 1 takes a fifth of the time of zlib's level 3, and less space (docs/adr/0105).

Invariants
  P1  A page holds the items that follow each other; a new one begins when the next item would exceed `PAGE_BYTES`. One
      item may be larger than that.
  P2  Reading refuses what is cut, longer than written, or above `MAX_PAGE_BYTES` (attack E2). Whether the content is
      right is said by the header's roots and the store's checksums, not here.

Left out: keys (`schema`), and who reads what (`chain_reader`).
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Final

from common.core.errors import Malformed

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = ["MAX_PAGE_BYTES", "PAGE_BYTES", "read_page", "write_pages", "zstd"]

PAGE_BYTES: Final = 32 * 1024
"""Compresses as well as larger pages do, and one item costs no more than reading this much."""
MAX_PAGE_BYTES: Final = 17 * 1024 * 1024
"""The standard's largest block, 16 MiB, were it a single item."""
_MAX_WINDOW_LOG: Final = 25
"""A frame may ask for a window of 32 MiB, which holds the largest page, and for no more."""
_COMPRESSOR: Final = zstd.ZstdCompressor(level=1)
"""One for all pages: making one costs as much as compressing a small page. It locks itself."""
_LENGTH: Final = struct.Struct(">I")


def write_pages(items: Sequence[bytes]) -> Iterator[tuple[int, bytes]]:
    """(index of its first item, page) of each page, in order; nothing for no items."""
    lengths = [len(item) for item in items]
    first, size_bytes = 0, 0
    for index, length in enumerate(lengths):
        if index > first and size_bytes + length > PAGE_BYTES:
            yield first, _page(lengths[first:index], items[first:index])
            first, size_bytes = index, 0
        size_bytes += _LENGTH.size + length
    if lengths:
        yield first, _page(lengths[first:], items[first:])


def _page(lengths: Sequence[int], items: Sequence[bytes]) -> bytes:
    content = b"".join(chain.from_iterable(zip(map(_LENGTH.pack, lengths), items, strict=True)))
    return _COMPRESSOR.compress(content, zstd.ZstdCompressor.FLUSH_FRAME)


def read_page(page: bytes) -> list[bytes]:
    """The items of a page. Raises `Malformed('page_damaged')` (P2)."""
    reader = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _MAX_WINDOW_LOG})
    try:
        data = reader.decompress(page, MAX_PAGE_BYTES)
    except zstd.ZstdError as error:
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
