"""Indexes that were built in an earlier layout are built again, from what the chain holds, when a node opens it.

An index is derived data that every node can make again; what an entry looks like is its application's affair. An
application that changes the layout of some entries gives their prefix as an `IndexFamily` with a layout number and the
function that makes them again from state and blocks. What it does not name has layout 1.

Invariants
  L1  As M1 of `migration.py`: bounded steps, each one batch with the place where it ended.
  L2  Old entries are removed before the first new one is written; until the last one is there the record says so, and
      no node serves (they are built while it starts).

The record: canonical JSON `{prefix: {"layout", "place"}}`, prefix as text, `place` null once the family is whole, else
hex of where the last step ended.
Left out: entries that execution alone makes (`node repair` builds those from the first block on).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, Final

from common.chain.index_families import IndexFamily
from common.core.codec import canonical_json, parse_json
from common.core.errors import Gone, Rejected
from common.node.store import schema
from common.node.store.chain_store import ChainStore
from common.node.store.migration import Say, quiet
from common.node.store.store_errors import REMEDY_RESYNC, DamagedStore, WrongDatabase

BATCH_ENTRIES: Final = 1_000
_FIRST_LAYOUT: Final = 1
_MAX_RECORD_BYTES: Final = 64 * 1024
_REMOVING: Final = "removing"

_Record = dict[str, dict[str, Any]]


def note_layouts(chain: ChainStore, families: Sequence[IndexFamily]) -> None:
    """A chain that begins has every index in its present layout."""
    if families:
        _write(chain, [], {_name(family): {"layout": family.layout, "place": None} for family in families})


def rebuild_indexes(chain: ChainStore, families: Sequence[IndexFamily], say: Say = quiet) -> bool:
    """Build again each family whose layout is another than the application's; go on where a process ended.

    Returns whether anything was built: then `chain` must be opened again to see it.
    Raises WrongDatabase if it needs blocks that were pruned, or the index is of a later layout; DamagedStore;
    StoreFailed.
    """
    record = _read(chain)
    changed = False
    for family in families:
        built = record.get(_name(family), {"layout": _FIRST_LAYOUT, "place": None})
        if built["layout"] > family.layout:
            raise WrongDatabase(
                f"a newer version of Tongjian built the index {_name(family)!r}: install that version again"
            )
        if built["layout"] < family.layout:
            built = {"layout": family.layout, "place": _REMOVING}
        record[_name(family)] = built
        if built["place"] == _REMOVING:
            _remove(chain, family, record, say)
        if built["place"] is not None:
            _build(chain, family, record, say)
            changed = True
    return changed


def _remove(chain: ChainStore, family: IndexFamily, record: _Record, say: Say) -> None:
    """Remove what the earlier layout left (L2)."""
    done = 0
    while batch := [(key, None) for key, _ in islice(chain.store.scan(schema.index(family.prefix)), BATCH_ENTRIES)]:
        _write(chain, batch, record)
        done += len(batch)
        say(f"removing the index {_name(family)}", done)
    record[_name(family)]["place"] = ""
    _write(chain, [], record)


def _build(chain: ChainStore, family: IndexFamily, record: _Record, say: Say) -> None:
    """Make the entries again, from where the record says."""
    done = 0
    place: bytes | None = bytes.fromhex(record[_name(family)]["place"])
    while place is not None:
        try:
            entries, place = family.rebuild(chain.moment(), place)
        except Gone as gone:
            raise WrongDatabase(
                f"the index {_name(family)!r} has to be built again from blocks that this node has pruned "
                f"({gone.detail}): take the chain over from its peers (`tongjian node join`)"
            ) from gone
        record[_name(family)]["place"] = None if place is None else place.hex()
        _write(chain, [(schema.index(key), value) for key, value in entries], record)
        done += len(entries)
        say(f"building the index {_name(family)}", done)


def _write(chain: ChainStore, writes: Iterable[tuple[bytes, bytes | None]], record: _Record) -> None:
    chain.store.write([*writes, (schema.INDEX_LAYOUTS, canonical_json(record))], sync=True)


def _read(chain: ChainStore) -> _Record:
    """Raises DamagedStore."""
    value = chain.store.get(schema.INDEX_LAYOUTS)
    if value is None:
        return {}
    try:
        record = parse_json(value, max_size=_MAX_RECORD_BYTES)
    except Rejected as error:
        raise DamagedStore(
            "the record of index layouts is unreadable", key=schema.INDEX_LAYOUTS, remedy=REMEDY_RESYNC
        ) from error
    return dict(record) if isinstance(record, dict) else {}


def _name(family: IndexFamily) -> str:
    return family.prefix.decode("ascii")
