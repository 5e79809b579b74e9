"""The demonstration as its user runs it: right answer, ports of its own, nothing left when interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from cli.localnet.layout import load_network
from cli.localnet.processes import start_ticks
from tests.support.running import COMMAND


def heed_interrupts() -> None:
    """In the child: a suite in the background of a shell has interrupts ignored, which children inherit."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def wait_for(process: subprocess.Popen[str], text: str, *, patience_s: float = 120.0) -> None:
    """Read the process's output until a line holds `text`."""
    assert process.stdout is not None
    deadline = time.monotonic() + patience_s
    for line in process.stdout:
        if text in line:
            return
        assert time.monotonic() < deadline, f"no {text!r} within {patience_s} s"
    raise AssertionError(f"the demonstration ended without {text!r}")


def test_two_demonstrations_side_by_side_and_an_interrupted_one_leaves_no_process(tmp_path: Path) -> None:
    command = [*COMMAND, "demo", "--validators", "2"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    first = subprocess.Popen(
        [*command, "--directory", str(tmp_path / "first")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
        preexec_fn=heed_interrupts,
    )
    try:
        wait_for(first, "Ctrl-C")
        pids = [process.pid for process in load_network(tmp_path / "first").processes()]
        assert len(pids) == 13
        assert all(pid is not None and start_ticks(pid) is not None for pid in pids)

        second = subprocess.run([*command, "--once"], capture_output=True, text=True, timeout=180, check=False)
        assert second.returncode == 0, second.stdout + second.stderr
        assert "The answer is right" in second.stdout

        first.send_signal(signal.SIGINT)
        assert first.wait(timeout=30) == 0
        assert all(pid is not None and start_ticks(pid) is None for pid in pids)
    finally:
        first.kill()
        first.wait()


def test_a_demonstration_that_is_interrupted_early_leaves_no_process(tmp_path: Path) -> None:
    directory = tmp_path / "network"
    process = subprocess.Popen(
        [sys.executable, "-m", "cli.main", "demo", "--validators", "2", "--directory", str(directory)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        preexec_fn=heed_interrupts,
    )
    try:
        wait_for(process, "2. Starting")
        time.sleep(1.0)
        process.send_signal(signal.SIGINT)
        process.wait(timeout=30)
        left = [entry.name for entry in Path("/proc").iterdir() if entry.name.isdigit() and _works_in(entry, directory)]
        assert left == []
    finally:
        process.kill()
        process.wait()


def _works_in(entry: Path, directory: Path) -> bool:
    """Whether a process has a file of the directory open: every node's log is."""
    try:
        return any(os.readlink(link).startswith(str(directory)) for link in (entry / "fd").iterdir())
    except OSError:
        return False
