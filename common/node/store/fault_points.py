"""Where a node touches the disk and the network, by name, so that a test can make it fail exactly there.

A fault is armed by one environment variable of one process, which production never sets; unarmed, reaching a point
costs one comparison. The variable says what happens at which time that a point is reached::

    TONGJIAN_FAULT = FAULT *("," FAULT)
    FAULT          = POINT ":" before | after ":" OCCURRENCE ":" ACTION
    OCCURRENCE     = 1, 2, … (counted from the start of the process) | every
    ACTION         = kill | torn | eio | enospc | delay-MILLISECONDS

`kill` is SIGKILL to this process; `torn` writes half of the bytes first; `eio` and `enospc` raise as the kernel would.

Invariants
  F1  `POINTS` lists every point, and every write, sync, rename, removal, database write and send below `common/node`
      goes through one (tests/tidy/test_fault_points.py).
  F2  Nothing happens unless the variable is set; a value that cannot be understood stops the process.

Used by tests/e2e/test_crash_points.py (attacks S1, S2, S5) and by the benchmark of slow syncs (protocol rule 1).
Left out: the operations themselves (`disk`, `storage`, `link`, `http.edge`).
"""

from __future__ import annotations

import errno
import logging
import os
import signal
import time
from dataclasses import dataclass
from typing import Final

from common.core.errors import Malformed

VARIABLE: Final = "TONGJIAN_FAULT"
BEFORE: Final = "before"
AFTER: Final = "after"
EVERY: Final = "every"
KILL: Final = "kill"
TORN: Final = "torn"

POINTS: Final[dict[str, str]] = {
    "vote_log.parent_sync": "sync of the data directory, which names the new directory of the vote log",
    "vote_log.discard": "removal of what an unfinished replacement of the vote log left",
    "vote_log.new_write": "write of the file that is to replace the vote log",
    "vote_log.new_sync": "sync of that file",
    "vote_log.rename": "rename of that file over the vote log",
    "vote_log.directory_sync": "sync of the directory, which makes the rename durable",
    "vote_log.append": "write of frames to the end of the vote log",
    "vote_log.undo": "cut of a write of frames that failed half-way",
    "vote_log.sync": "sync of the vote log: what it returns for may be sent",
    "vote_log.cut": "cut of an unfinished write that a restart has found",
    "vote_log.cut_sync": "sync of that cut",
    "database.open": "LevelDB opens: it replays its log, writes a new manifest, renames CURRENT",
    "database.write": "one LevelDB batch: height 0, the mark of the vote log, a block, pruning",
    "peer.send": "bytes to a peer: hellos, votes, proposals, blocks, transactions",
    "http.answer": "the head of an answer to a client: receipts among them",
    "repair.rename": "a repair moves the old database or vote log aside, and the new database into its place",
    "repair.directory_sync": "sync of the data directory after each of these",
    "checkpoint.write": "write of a chunk or the manifest of a checkpoint, which is checked when it is read",
    "checkpoint.rename": "rename of a complete checkpoint to its name",
    "checkpoint.remove": "removal of an unfinished, unreadable or superseded checkpoint",
    "body.write": "write of a body off the chain",
    "body.sync": "sync of that file",
    "body.rename": "rename of a whole body to its name, to the kept ones, or to the damaged ones",
    "body.directory_sync": "sync of the directory that names it",
    "body.discard": "removal of an unfinished body",
    "body.remove": "removal of a body that nothing commits to",
    "staging.remove": "removal of what an unfinished join or restore left, or of the place that it is to take",
    "staging.rename": "rename of a joined or restored database to where a node looks for it",
    "staging.directory_sync": "sync of the data directory, which makes that rename durable",
    "backup.write": "write of a file of a backup",
    "backup.sync": "sync of that file",
    "private_file.write": "write of a new key or token file",
    "private_file.sync": "sync of that file",
    "certificate.write": "write of the file that is to replace a certificate or its key",
    "certificate.sync": "sync of that file",
    "certificate.rename": "rename of that file over the old one",
    "certificate.directory_sync": "sync of the directory that holds it",
    "certificate.discard": "removal of what an unfinished replacement left",
    "tokens.write": "write of the file that is to replace the tokens file",
    "tokens.sync": "sync of that file",
    "tokens.rename": "rename of that file over the tokens file",
    "tokens.directory_sync": "sync of the directory that holds it",
    "tokens.discard": "removal of that file when it cannot be completed",
}
"""Point -> what happens there."""

_DELAY: Final = "delay-"
_ERRORS: Final = {"eio": errno.EIO, "enospc": errno.ENOSPC}
_log = logging.getLogger("tongjian.node")


@dataclass(slots=True)
class ArmedFault:
    """One armed fault."""

    point: str
    moment: str
    occurrence: int | None
    """Which time it happens; None for every time."""
    action: str
    seen: int = 0

    def is_due(self, point: str, moment: str) -> bool:
        """Count one arrival; whether the fault happens now."""
        if (point, moment) != (self.point, self.moment):
            return False
        self.seen += 1
        return self.occurrence in (None, self.seen)

    def happen(self) -> None:
        """Die, raise or wait."""
        if self.action in _ERRORS:
            number = _ERRORS[self.action]
            raise OSError(number, os.strerror(number))
        if self.action.startswith(_DELAY):
            time.sleep(int(self.action.removeprefix(_DELAY)) / 1000)
            return
        die()


_armed: tuple[ArmedFault, ...] = ()


def parse_fault(text: str) -> ArmedFault:
    """One fault as the variable describes it. Raises Malformed('fault_invalid')."""
    point, moment, occurrence, action = ([*text.split(":"), "", "", ""])[:4]
    if (
        point not in POINTS
        or moment not in (BEFORE, AFTER)
        or not (occurrence == EVERY or (occurrence.isdecimal() and int(occurrence) > 0))
        or not (action in (KILL, TORN, *_ERRORS) or action.removeprefix(_DELAY).isdecimal())
    ):
        raise Malformed("fault_invalid", f"{VARIABLE} names no fault: {text!r}; unset it, it is for tests alone")
    return ArmedFault(point, moment, None if occurrence == EVERY else int(occurrence), action)


def arm(text: str | None) -> None:
    """Arm the faults that a text describes, or none. Raises Malformed('fault_invalid')."""
    global _armed
    _armed = () if text is None else tuple(parse_fault(part) for part in text.split(","))


def arm_from_environment() -> None:
    """Arm what the environment says, and say so in the log. Raises Malformed('fault_invalid')."""
    text = os.environ.get(VARIABLE)
    arm(text)
    if text is not None:
        _log.warning("a fault is armed: this process is a test's, not a validator's", extra={"fault": text})


def before(point: str) -> None:
    """A point is about to be passed. Raises OSError if an armed fault says so."""
    if _armed:
        _happen(point, BEFORE)


def after(point: str) -> None:
    """A point was passed."""
    if _armed:
        _happen(point, AFTER)


def tears(point: str) -> bool:
    """Whether the write at this point is to be torn: its caller writes half of it and calls `die`."""
    return any(fault.action == TORN and fault.is_due(point, BEFORE) for fault in _armed)


def die() -> None:
    """End this process as a power cut would end it."""
    os.kill(os.getpid(), signal.SIGKILL)


def _happen(point: str, moment: str) -> None:
    for fault in _armed:
        if fault.action != TORN and fault.is_due(point, moment):
            fault.happen()
