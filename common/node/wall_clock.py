"""The wall clock of a node's process; a test can set it wrong by an environment variable that production never sets.

    TONGJIAN_CLOCK_OFFSET_MS = milliseconds added to the machine's clock, negative for one that is slow

Left out: waiting, which goes by the event loop's clock.
"""

from __future__ import annotations

import logging
import os
import time
from typing import Final

from common.core.errors import Malformed

VARIABLE: Final = "TONGJIAN_CLOCK_OFFSET_MS"
_log = logging.getLogger("tongjian.node")
_offset_ms = 0


def set_from_environment() -> None:
    """Take over what the environment says, and say so in the log. Raises Malformed('clock_offset_invalid')."""
    global _offset_ms
    text = os.environ.get(VARIABLE)
    if text is None:
        return
    try:
        _offset_ms = int(text)
    except ValueError:
        raise Malformed("clock_offset_invalid", f"{VARIABLE} is no number: unset it, it is for tests alone") from None
    _log.warning("the clock is set wrong: this process is a test's, not a validator's", extra={"offset_ms": _offset_ms})


def wall_clock_ms() -> int:
    """Milliseconds since the Unix epoch."""
    return time.time_ns() // 1_000_000 + _offset_ms
