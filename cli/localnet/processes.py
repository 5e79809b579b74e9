"""Start and end the processes of a local network.

Nodes are forked from one parent that has imported everything once: two dozen cold imports would cost half a minute of
a small machine (protocol rule 24). Each child leads its own session and writes to its own log. It is known afterwards
by its pid *and* start time: `down` never signals a process that merely took over the number. Children of a foreground
network get a signal when their parent dies, however it dies: an interrupted demonstration leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from cli.localnet import network_lock
from cli.localnet.layout import LocalNetwork, Process
from common.core.errors import Rejected
from common.node.logs import JsonFormatter

PR_SET_PDEATHSIG = 1
STOP_PATIENCE_S = 8.0

RunProcess = Callable[[Path], None]
"""Runs one node or relay from its config file until it is told to end."""


def start_ticks(pid: int) -> int | None:
    """The start time of a process in clock ticks since boot, or None if there is no such process (zombies count as
    gone)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def is_running(process: Process) -> bool:
    """Whether the very process that was started is still there."""
    if process.pid is None:
        return False
    ticks = start_ticks(process.pid)
    return ticks is not None and (process.started_ticks is None or ticks == process.started_ticks)


def start(processes: Iterable[Process], run: RunProcess, *, tied_to_parent: bool) -> list[Process]:
    """Fork one child for each process; return them with pid and start time.

    `tied_to_parent` ends the children when the caller dies. Must be called from a process with one thread.
    """
    gc.collect()
    gc.freeze()  # keeps the collector from touching, and so copying, the pages that parent and children share
    sys.stdout.flush()
    sys.stderr.flush()
    started = []
    parent = os.getpid()
    for process in processes:
        pid = os.fork()
        if pid == 0:
            _become(process, run, parent if tied_to_parent else None)
        started.append(replace(process, pid=pid, started_ticks=start_ticks(pid)))
    gc.unfreeze()
    return started


def _become(process: Process, run: RunProcess, parent: int | None) -> None:
    """In the child: detach from the terminal, log to the process's file, run. Never returns."""
    status = 1
    try:
        network_lock.close_in_child()
        os.setsid()
        if parent is not None:
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
            if os.getppid() != parent:
                os._exit(1)
        process.log.parent.mkdir(parents=True, exist_ok=True)
        log = os.open(process.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        run(process.config)
        status = 0
    except SystemExit as exit_:
        status = exit_.code if isinstance(exit_.code, int) else 1
    except BaseException as error:
        _log_end(process, error)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _log_end(process: Process, error: BaseException) -> None:
    """The last line of a process's log: why it ended, as one JSON object (attack N6); with a stack trace inside only
    if it is a bug."""
    code, detail = type(error).__name__, str(error)
    ours = True
    if isinstance(error, Rejected):
        code, detail, ours = error.code, error.detail, False
    elif isinstance(error, OSError):
        code, detail, ours = "file_unusable", f"{error.filename or 'a file'}: {error.strerror or error}", False
    record = logging.LogRecord(
        "tongjian.process",
        logging.CRITICAL,
        __file__,
        0,
        "the process cannot run",
        None,
        (type(error), error, error.__traceback__) if ours else None,
    )
    record.__dict__ |= {"process_name": process.name, "code": code, "detail": detail}
    print(JsonFormatter().format(record), file=sys.stderr)


def stop(processes: Iterable[Process], *, patience_s: float = STOP_PATIENCE_S) -> list[str]:
    """End processes: ask, wait, then insist. Returns the names of those that had to be killed."""
    running = [process for process in processes if is_running(process)]
    for process in running:
        signal_process(process, signal.SIGTERM)
    deadline = time.monotonic() + patience_s
    while running and time.monotonic() < deadline:
        time.sleep(0.05)
        _reap()
        running = [process for process in running if is_running(process)]
    for process in running:
        signal_process(process, signal.SIGKILL)
    while any(is_running(process) for process in running):
        time.sleep(0.02)
        _reap()
    return [process.name for process in running]


def signal_process(process: Process, number: int) -> None:
    """Send a signal to the very process that was started, if it is still there."""
    if process.pid is not None and is_running(process):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)


def _reap() -> None:
    """Collect the exit status of own children that have ended."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def record_started(network: LocalNetwork, started: Iterable[Process]) -> LocalNetwork:
    """The network with pids filled in, saved."""
    for process in started:
        network = network.with_process(process)
    network.save()
    return network


def record_stopped(network: LocalNetwork, ended: Iterable[Process]) -> LocalNetwork:
    """The network with the pids of these processes cleared, saved; what was started again since keeps its own."""
    for process in ended:
        if network.process(process.name) == process:
            network = network.with_process(replace(process, pid=None, started_ticks=None))
    network.save()
    return network
