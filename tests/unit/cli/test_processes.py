"""Processes of a local network: started, known by more than their number, stopped without leftovers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import pytest

from cli.localnet.layout import Process
from cli.localnet.processes import is_running, start_ticks, stop
from cli.localnet.readiness import log_size, wait_until_started
from common.core.errors import Unavailable

SCRIPT = """
import os, signal, sys, time
from pathlib import Path
from cli.localnet import processes
from cli.localnet.layout import Process
from common.core.errors import Malformed
folder = Path(sys.argv[1])
def run(config):
    if config.name == "refused":
        raise Malformed("settings_invalid", "the first line\\nthe second")
    if config.name == "absent":
        open(config)
    if config.name == "buggy":
        raise KeyError("a bug")
    if config.name == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print('{"message": "node started"}', flush=True)
    while True:
        time.sleep(0.05)
names = sys.argv[2].split(",")
wanted = [Process(name=n, api="", config=folder / n, data_dir=None, log=folder / f"{n}.log") for n in names]
started = processes.start(wanted, run, tied_to_parent=True)
print(" ".join(str(process.pid) for process in started), flush=True)
time.sleep(60)
"""


def parent(tmp_path: Path, names: str) -> tuple[subprocess.Popen[str], list[int]]:
    """A parent process with children; they log to files of their own."""
    script = tmp_path / "parent.py"
    script.write_text(textwrap.dedent(SCRIPT))
    started = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path), names],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert started.stdout is not None
    return started, [int(pid) for pid in started.stdout.readline().split()]


def gone(pid: int, *, within_s: float = 10.0) -> bool:
    deadline = time.monotonic() + within_s
    while start_ticks(pid) is not None and time.monotonic() < deadline:
        time.sleep(0.02)
    return start_ticks(pid) is None


def process(tmp_path: Path, name: str, pid: int) -> Process:
    return Process(
        name=name,
        api="",
        config=tmp_path / name,
        data_dir=None,
        log=tmp_path / f"{name}.log",
        pid=pid,
        started_ticks=start_ticks(pid),
    )


def test_children_die_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    started, pids = parent(tmp_path, "one,two")
    assert all(start_ticks(pid) is not None for pid in pids)
    started.send_signal(signal.SIGKILL)
    started.wait()
    assert all(gone(pid) for pid in pids)


def test_n6_a_process_that_cannot_run_says_why_in_one_line(tmp_path: Path) -> None:
    """A refusal and a missing file with code and detail; only a bug with a stack trace, inside the line."""
    started, pids = parent(tmp_path, "refused,absent,buggy")
    try:
        assert all(gone(pid) for pid in pids)
        last = {}
        for name in ("refused", "absent", "buggy"):
            (line,) = (tmp_path / f"{name}.log").read_text().splitlines()
            last[name] = json.loads(line)
        assert {line["level"] for line in last.values()} == {"critical"}
        assert last["refused"]["code"] == "settings_invalid"
        assert last["refused"]["detail"] == "the first line\nthe second"
        assert last["absent"]["code"] == "file_unusable"
        assert str(tmp_path / "absent") in last["absent"]["detail"]
        assert "exception" not in last["absent"]
        assert "KeyError" in last["buggy"]["exception"]
    finally:
        started.kill()
        started.wait()


def test_a_start_is_believed_when_the_log_says_so_and_refused_when_the_process_ends(tmp_path: Path) -> None:
    started, pids = parent(tmp_path, "lives,refused")
    try:
        lives, refused = (process(tmp_path, name, pid) for name, pid in zip(("lives", "refused"), pids, strict=True))
        wait_until_started(lives, 0, patience_s=10.0)
        with pytest.raises(Unavailable, match="settings_invalid") as caught:
            wait_until_started(refused, 0, patience_s=10.0)
        assert caught.value.code == "process_ended"
        began = time.monotonic()
        wait_until_started(lives, log_size(lives), patience_s=0.3)
        assert time.monotonic() - began >= 0.3
    finally:
        started.kill()
        started.wait()


def test_stop_asks_then_insists(tmp_path: Path) -> None:
    started, pids = parent(tmp_path, "polite,stubborn")
    try:
        for name in ("polite", "stubborn"):
            log = tmp_path / f"{name}.log"
            while "node started" not in (log.read_text() if log.exists() else ""):
                time.sleep(0.02)
        children = [process(tmp_path, name, pid) for name, pid in zip(("polite", "stubborn"), pids, strict=True)]
        assert stop(children, patience_s=0.5) == ["stubborn"]
        assert all(gone(pid) for pid in pids)
    finally:
        started.kill()
        started.wait()


def test_a_pid_that_another_process_took_over_is_not_signalled(tmp_path: Path) -> None:
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        ours = process(tmp_path, "old", other.pid)
        stale = replace(ours, started_ticks=(ours.started_ticks or 0) - 1)
        assert is_running(ours)
        assert not is_running(stale)
        assert stop([stale], patience_s=0.1) == []
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()
