"""How single values stand in a header or body: times, references, and fields that may be absent.

Invariant: times come from the chain and the operation and are written in +08:00, so that every validator writes the
same bytes; a reader never fails on a value of another shape.
References: JR/T 0314-2024 (a reference is `<object id>/<version>`, the version at the time of business).
Left out: quantities and prices (`quantities`).
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

from common.core.codec import MAX_SAFE_INTEGER
from common.model.quantities import Quantity, is_believed

_EPOCH_IN_CHINA: Final = datetime(1970, 1, 1, 8)

_DAY: Final = re.compile("[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])(?:T|$)")
_LAST_DAYS: Final = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_FEBRUARY: Final = 2
_LEAP_FEBRUARY: Final = 29

MAX_METADATA_TEXT: Final = 256
"""Characters of a text in `header.metadata` that is kept; the data model bounds references alike."""


@lru_cache(maxsize=4096)
def _date_time_of_second(time_s: int) -> str:
    return (_EPOCH_IN_CHINA + timedelta(seconds=time_s)).isoformat() + "+08:00"


def date_time(time_ms: int) -> str:
    """RFC 3339 in +08:00, whole seconds: 0 -> 1970-01-01T08:00:00+08:00."""
    return _date_time_of_second(time_ms // 1000)


def date(time_ms: int) -> str:
    """The day in +08:00, YYYY-MM-DD."""
    return _date_time_of_second(time_ms // 1000)[:10]


def reference(object_id: str, version: int) -> str:
    """Object reference: id and version at the time of business (JR/T 0314-2024)."""
    return f"{object_id}/{version}"


def referenced(reference: str | None) -> str | None:
    """The object id of a reference `<object id>/<version>`; a text without a version is taken as an id."""
    if not reference:
        return None
    object_id, slash, version = reference.rpartition("/")
    return object_id if slash and object_id and version.isascii() and version.isdigit() else reference


def group_in(parent: Any, *names: str) -> dict[str, Any]:
    """The group of fields at a path; empty where there is none."""
    for name in names:
        parent = parent.get(name) if isinstance(parent, dict) else None
    return parent if isinstance(parent, dict) else {}


def text_in(parent: dict[str, Any], name: str) -> str | None:
    """A text that is there and not empty, else None."""
    value = parent.get(name)
    return value if isinstance(value, str) and value else None


def short_text_in(parent: dict[str, Any], name: str) -> str | None:
    """A text of at most `MAX_METADATA_TEXT` characters, else None."""
    value = text_in(parent, name)
    return value if value is not None and len(value) <= MAX_METADATA_TEXT else None


def number_in(parent: dict[str, Any], name: str) -> int | None:
    """A whole number within the integers of canonical JSON (protocol rule 10), else None."""
    value = parent.get(name)
    return value if type(value) is int and -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER else None


def quantity_in(parent: dict[str, Any], name: str) -> Quantity | None:
    """A number of any size and exactness that `document` reads, else None."""
    value = parent.get(name)
    return value if type(value) is int or isinstance(value, Decimal) else None


def believed_in(parent: dict[str, Any], name: str) -> Quantity | None:
    """A quantity within the bounds that are believed, else None."""
    value = quantity_in(parent, name)
    return value if value is not None and is_believed(value) else None


def day_of(date_time: str | None) -> str | None:
    """The day of a date or of an RFC 3339 time, as written there: YYYY-MM-DD, if there is such a day; else None."""
    if date_time is None or _DAY.match(date_time) is None:
        return None
    day = date_time[:10]
    return day if is_day(day) else None


def is_day(text: str) -> bool:
    """Whether the calendar (proleptic Gregorian, from year 1 on) has the day YYYY-MM-DD: month and day are above 0 and
    at most 12 and 31.
    """
    year, month, day = int(text[:4]), int(text[5:7]), int(text[8:])
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    last = _LEAP_FEBRUARY if leap and month == _FEBRUARY else _LAST_DAYS[month - 1]
    return year > 0 and day <= last
