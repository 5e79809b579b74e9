"""Pages: what goes in comes out, at any size; a damaged page is refused (attacks E2, S2)."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.core.errors import Malformed
from common.node.store.pages import MAX_PAGE_BYTES, PAGE_BYTES, read_page, write_pages, zstd


@given(st.lists(st.binary(max_size=64) | st.integers(0, 2 * PAGE_BYTES).map(bytes), max_size=40))
def test_items_come_back_in_order_under_the_index_of_each_pages_first(items: list[bytes]) -> None:
    read: list[bytes] = []
    for first, page in write_pages(items):
        assert first == len(read)
        held = read_page(page)
        assert len(held) == 1 or sum(map(len, held)) <= PAGE_BYTES
        read += held
    assert read == items


def test_snapshots_of_a_block_shrink_to_a_fraction() -> None:
    items = [b'{"general_information_subject":{"subject_id":"I%d"},"version":0}' % number * 10 for number in range(300)]
    assert sum(len(page) for _, page in write_pages(items)) * 10 < sum(map(len, items))


@given(st.lists(st.binary(max_size=100), min_size=1, max_size=10), st.data())
def test_s2_a_cut_or_longer_page_is_refused(items: list[bytes], data: st.DataObject) -> None:
    ((_, page),) = write_pages(items)
    cut = data.draw(st.integers(0, len(page) - 1))
    for damaged in (page[:cut], page + b"\0"):
        with pytest.raises(Malformed, match="page"):
            read_page(damaged)


@pytest.mark.parametrize(
    "content",
    [b"", b"\0\0", struct.pack(">I", 2) + b"x", struct.pack(">I", 2**32 - 1), bytes(MAX_PAGE_BYTES + 1)],
    ids=["empty", "cut length", "cut item", "length of 4 GiB", "expands beyond the limit"],
)
def test_e2_a_page_that_lies_about_its_content_is_refused(content: bytes) -> None:
    with pytest.raises(Malformed, match="page"):
        read_page(zstd.compress(content))


def test_e2_a_frame_that_asks_for_a_large_window_is_refused() -> None:
    options: dict[int, int] = {zstd.CompressionParameter.window_log: 27, zstd.CompressionParameter.content_size_flag: 0}
    writer = zstd.ZstdCompressor(options=options)
    page = writer.compress(struct.pack(">I", 1) + b"x", zstd.ZstdCompressor.FLUSH_BLOCK) + writer.flush()
    assert zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: 27}).decompress(page)
    with pytest.raises(Malformed, match="page"):
        read_page(page)
