"""Brings a database of an earlier layout to the present one, when a node opens it; none is refused for its age.

A layout has a number (`schema.DB_VERSION`), and `MIGRATIONS` holds for each earlier one what leads to the next. What is
hashed or signed stays as it is: a migration changes how things are stored, never what they are.

Invariants
  M1  Work is done in bounded steps. What a step writes and where it ended are one batch, so a process that ends at any
      moment goes on with the step that it lost (attack S1).
  M2  The version is that of the layout under way from the first step on, durably before it: an earlier program never
      opens a database that is half migrated.
  M3  A database of a later layout than this program knows is refused and not touched.

Left out: indexes, whose layouts are the applications' (`index_layouts.py`).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from common.core.errors import InvariantBroken
from common.node.store import schema
from common.node.store.storage import KeyValueStore, ReadView
from common.node.store.store_errors import REMEDY_RESYNC, DamagedStore, WrongDatabase

Writes = Sequence[tuple[bytes, bytes | None]]
Say = Callable[[str, int], None]
"""(what is being done, how many entries were written for it): called after each step."""

_FROM: Final = struct.Struct(">I")


@dataclass(frozen=True, slots=True)
class Migration:
    """What leads from one layout to the next."""

    what: str
    """For the log: `splitting receipts into pages`."""
    step: Callable[[ReadView, bytes], tuple[Writes, bytes | None]]
    """(what is stored, where the last step ended or b"") -> (what to write, where this step ended, None at the end). A
    step writes some thousand entries at most, and depends on nothing but its arguments."""


MIGRATIONS: Final[dict[int, Migration]] = {}
"""Number of a layout -> what leads to the following one. Layout 1 is the first that a release had."""


def quiet(what: str, entries: int) -> None:
    """Tells nobody."""


def migrate(store: KeyValueStore, say: Say = quiet) -> None:
    """Bring the database to the present layout; nothing if it is of that, or empty.

    Raises WrongDatabase for a later layout (M3), DamagedStore, or StoreFailed if the disk refuses.
    """
    while (found := layout_of(store)) is not None:
        check_not_later(found)
        under_way = store.get(schema.MIGRATION)
        if under_way is None:
            if found == schema.DB_VERSION:
                return
            source, place = found, b""
            start = [(schema.VERSION, schema.version_value(found + 1)), (schema.MIGRATION, _record(source, place))]
            store.write(start, sync=True)
        else:
            source, place = _read_record(under_way)
        _run(store, source, place, say)


def layout_of(store: ReadView) -> int | None:
    """The layout that the database says it has; None if it says nothing. Raises DamagedStore."""
    value = store.get(schema.VERSION)
    if value is None:
        return None
    version = schema.read_version(value)
    if version < 1:
        raise DamagedStore("the version of the database is unreadable", key=schema.VERSION, remedy=REMEDY_RESYNC)
    return version


def check_not_later(found: int) -> None:
    """Raise WrongDatabase if a later program than this one wrote the database (M3)."""
    if found > schema.DB_VERSION:
        raise WrongDatabase(
            f"a newer version of Tongjian wrote the database: it has layout {found}, this program knows layouts up to "
            f"{schema.DB_VERSION}. Install the newer version again; nothing was changed"
        )


def check_present(store: ReadView) -> None:
    """Raise WrongDatabase unless the database is wholly of the present layout: for programs that only read it."""
    found = layout_of(store)
    if found is None:
        return
    check_not_later(found)
    if found < schema.DB_VERSION or store.get(schema.MIGRATION) is not None:
        raise WrongDatabase(
            f"the database has layout {found}, or is being brought to it; this program reads layout "
            f"{schema.DB_VERSION}. Start the node (`tongjian node run`): it brings the database up to date first"
        )


def _run(store: KeyValueStore, source: int, place: bytes, say: Say) -> None:
    """The steps from layout `source` to the next, from `place` on."""
    migration = MIGRATIONS.get(source)
    if migration is None:
        raise InvariantBroken(f"nothing leads from layout {source} of the database to the next")
    done = 0
    following: bytes | None = place
    while following is not None:
        writes, following = migration.step(store, following)
        record = None if following is None else _record(source, following)
        store.write([*writes, (schema.MIGRATION, record)], sync=True)
        done += len(writes)
        say(migration.what, done)


def _record(source: int, place: bytes) -> bytes:
    return _FROM.pack(source) + place


def _read_record(record: bytes) -> tuple[int, bytes]:
    """(layout that is migrated from, where the last step ended). Raises DamagedStore."""
    if len(record) < _FROM.size:
        raise DamagedStore("the record of a migration is unreadable", key=schema.MIGRATION, remedy=REMEDY_RESYNC)
    return _FROM.unpack_from(record)[0], record[_FROM.size :]
