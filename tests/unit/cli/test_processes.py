"""Processes of a local network: started, known by more than their number, stopped without leftovers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

from cli.localnet.layout import Process
from cli.localnet.processes import is_running, start_ticks, stop

SCRIPT = """
import os, signal, sys, time
from pathlib import Path
from cli.localnet import processes
from cli.localnet.layout import Process
folder = Path(sys.argv[1])
def run(config):
    if config.name == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("running", flush=True)
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


def test_stop_asks_then_insists(tmp_path: Path) -> None:
    started, pids = parent(tmp_path, "polite,stubborn")
    try:
        for name in ("polite", "stubborn"):
            log = tmp_path / f"{name}.log"
            while "running" not in (log.read_text() if log.exists() else ""):
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
