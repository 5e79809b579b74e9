"""The log: one JSON object a line, on standard error or in a file.

Invariants:
  J1  A record is exactly one line of printable ASCII, whatever a client, a peer or a file name contains: everything
      else is escaped by JSON (attack N6).
  J2  A line says when, how grave, from where, what, and the values by name; never a key, a token or a passphrase.

  J3  A log file that was moved away is begun anew with the next line, so that any tool may rotate it.

Leaves out: rotating, metrics (`service.counters`).
"""

from __future__ import annotations

import json
import logging
import sys
import time
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import Final

MAX_VALUE_CHARACTERS: Final = 8_192
"""A value above is cut: two messages of evidence in hex fit."""
_STANDARD: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """Renders a record as one JSON object; what was passed as `extra` becomes members."""

    def format(self, record: logging.LogRecord) -> str:
        seconds, milliseconds = divmod(int(record.created * 1000), 1000)
        line: dict[str, object] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{milliseconds:03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _cut(record.getMessage()),
        }
        for name, value in record.__dict__.items():
            if name not in _STANDARD and name not in line:
                line[name] = value if isinstance(value, int | float | bool | None) else _cut(str(value))
        if record.exc_info:
            line["exception"] = _cut(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=True, default=str)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_VALUE_CHARACTERS else text[:MAX_VALUE_CHARACTERS] + "…"


def configure_logging(level: str, file: Path | None) -> None:
    """Send everything to one handler. Raises OSError if the file cannot be opened."""
    handler: logging.Handler = logging.StreamHandler(sys.stderr)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        handler = WatchedFileHandler(file, encoding="ascii")
    handler.setFormatter(JsonFormatter())
    logging.raiseExceptions = False  # a line that cannot be written, on a full disk, must not become several more
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    for noisy in ("asyncio", "uvicorn.error", "httpx"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
