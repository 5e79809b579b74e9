"""Log lines that somebody else can cause: one for each subject in an interval, with the number of those left out.

A peer that breaks the protocol, or connects and vanishes, a thousand times a second must not fill the disk that the
vote log needs (attack N6). The first line of a subject comes at once; the next ones are counted, and the count is in
the first line after the interval.

Invariant: as many subjects as `MAX_SUBJECTS` are remembered; beyond that the one silent for longest is forgotten.
Left out: what is logged by our own doing, which is bounded already.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final

INTERVAL_S: Final = 60.0
MAX_SUBJECTS: Final = 1_024


class LimitedLog:
    """One logger, limited by subject. `clock` gives monotonic seconds."""

    def __init__(
        self, log: logging.Logger, interval_s: float = INTERVAL_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._log = log
        self._interval_s = interval_s
        self._clock = clock
        self._subjects: OrderedDict[tuple[str, ...], tuple[float, int]] = OrderedDict()

    def write(self, level: int, message: str, subject: tuple[str, ...], extra: Mapping[str, object]) -> bool:
        """Log, or count, a line about `subject` (its peer and code, say). True if it was logged."""
        now = self._clock()
        began, left_out = self._subjects.get(subject, (now - self._interval_s, 0))
        if now - began < self._interval_s:
            self._subjects[subject] = (began, left_out + 1)
            return False
        self._subjects[subject] = (now, 0)
        self._subjects.move_to_end(subject)
        if len(self._subjects) > MAX_SUBJECTS:
            self._subjects.popitem(last=False)
        self._log.log(level, message, extra=dict(extra) | ({"left_out": left_out} if left_out else {}))
        return True
