"""Queued work of the custody chain, as `common.chain.work` keeps it; a region's work is in its lane."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec

from custody_chain.tables.table import Foreign, Table


class WorkKey(NamedTuple):
    """An item: for `refile`, an account, product or subject (`kind`) with something filed as before a change."""

    region: str
    kind: str
    object_id: Foreign


class Work(msgspec.Struct, frozen=True):
    """How far it is done, if its kind keeps that."""

    progress: Any = None


WORK: Final = Table("work", WorkKey, Work)
