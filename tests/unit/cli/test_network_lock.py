"""One command at a time changes or founds a local network: no node runs that `network.json` does not know."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli.localnet import network_lock, processes
from cli.localnet.initialise import Plan, initialise
from cli.localnet.layout import LocalNetwork, load_network
from cli.localnet.network_lock import changing, founding
from cli.main import main
from common.core.errors import Conflict

ROOT = Path(__file__).parents[3]
NODE = "beijing-1"
INIT = ("--regions", "beijing", "--validators", "2")

SLOW_START = """
import sys, time
import cli.commands.localnet as command
from cli.localnet import network_lock, processes
from cli.main import main
def run(config):
    print('{"message": "node started"}', flush=True)
    time.sleep(60)
def launch(network, wanted, *, tied_to_parent):
    time.sleep(0.5)
    return processes.start(wanted, run, tied_to_parent=tied_to_parent)
command.launch = launch
main(["localnet", "start", *sys.argv[1:]])
"""

HELD_WHILE_FORKING = """
import sys, time
from pathlib import Path
from cli.localnet import network_lock, processes
from cli.localnet.network_lock import changing
def run(config):
    print('{"message": "node started"}', flush=True)
    time.sleep(60)
with changing(Path(sys.argv[1])) as network:
    started = processes.start([network.process(sys.argv[2])], run, tied_to_parent=False)
    processes.record_started(network, started)
    while "node started" not in (started[0].log.read_text() if started[0].log.exists() else ""):
        time.sleep(0.02)
    print("held", flush=True)
    time.sleep(60)
"""


def tongjian(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["localnet", *arguments])


def script(text: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", text, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


@pytest.fixture
def network(tmp_path: Path) -> Iterator[LocalNetwork]:
    plan = Plan(directory=tmp_path / "net", regions=("beijing",), validators=2)
    yield initialise(plan, now_ms=1_800_000_000_000, progress=lambda text: None)
    processes.stop(load_network(tmp_path / "net").processes())


@pytest.mark.parametrize("command", [("up",), ("down",), ("start", NODE), ("kill", NODE), ("add", "beijing")])
def test_a_network_that_another_command_changes_is_refused_untouched(
    network: LocalNetwork, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setattr(network_lock, "PATIENCE_S", 0.1)
    before = (network.directory / "network.json").read_bytes()
    with changing(network.directory):
        result = tongjian(command[0], str(network.directory), *command[1:])
    assert result.exit_code == 1
    assert "error: network_busy: another command is changing the network" in result.output
    assert (network.directory / "network.json").read_bytes() == before


def test_of_two_starts_at_once_one_starts_the_node_and_the_other_sees_it(network: LocalNetwork) -> None:
    both = [script(SLOW_START, str(network.directory), NODE) for _ in range(2)]
    ends = [(*one.communicate(timeout=30), one.returncode) for one in both]
    assert sorted(code for _, _, code in ends) == [0, 1], ends
    (refused,) = (error for _, error, code in ends if code == 1)
    assert "error: already_running: " in refused
    assert processes.is_running(load_network(network.directory).process(NODE))
    assert (network.directory / "beijing" / NODE / "node.log").read_text().count("node started") == 1


def test_a_forked_node_does_not_keep_the_lock_of_a_command_that_was_killed(
    network: LocalNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network_lock, "PATIENCE_S", 1.0)
    command = script(HELD_WHILE_FORKING, str(network.directory), NODE)
    try:
        assert command.stdout is not None
        assert command.stdout.readline() == "held\n"
        with pytest.raises(Conflict, match="network_busy"), changing(network.directory):
            pass
    finally:
        command.send_signal(signal.SIGKILL)
        command.wait()
    with changing(network.directory) as reread:
        assert processes.is_running(reread.process(NODE))


def test_a_pid_recorded_since_is_not_cleared_with_the_old_one(network: LocalNetwork) -> None:
    old = replace(network.process(NODE), pid=os.getpid(), started_ticks=1)
    again = replace(old, started_ticks=2)
    network = processes.record_started(network, [again])
    assert processes.record_stopped(network, [old]).process(NODE) == again
    assert processes.record_stopped(network, [again]).process(NODE).pid is None


def test_no_lock_file_is_left_where_there_is_no_network(tmp_path: Path) -> None:
    assert "error: no_local_network: " in tongjian("down", str(tmp_path)).output
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_another_command_founds_is_refused(tmp_path: Path) -> None:
    with founding(tmp_path / "net") as workspace:
        (workspace / "theirs").write_text("")
        result = tongjian("init", str(tmp_path / "net"), *INIT)
        assert result.exit_code == 1
        assert "error: network_busy: " in result.output
        assert (workspace / "theirs").exists()
    assert [entry.name for entry in (tmp_path / "net").iterdir()] == ["theirs"]


def test_two_inits_at_once_found_one_network(tmp_path: Path) -> None:
    text = "from cli.main import main; import sys; main(sys.argv[1:])"
    both = [script(text, "localnet", "init", str(tmp_path / "net"), *INIT) for _ in range(2)]
    ends = [(*one.communicate(timeout=30), one.returncode) for one in both]
    assert sorted(code for _, _, code in ends) == [0, 1], ends
    (refused,) = (error.splitlines()[-1] for _, error, code in ends if code == 1)
    assert refused.startswith(("error: network_busy: ", "error: directory_in_use: "))
    assert len(load_network(tmp_path / "net").processes()) == 5
    assert [entry.name for entry in tmp_path.iterdir()] == ["net"]


def test_a_target_that_fills_while_it_is_founded_is_not_written_over(tmp_path: Path) -> None:
    target = tmp_path / "net"

    def found_while_another_writes() -> None:
        with founding(target):
            target.mkdir()
            (target / "theirs").write_text("")

    with pytest.raises(Conflict, match="directory_in_use"):
        found_while_another_writes()
    assert [entry.name for entry in tmp_path.iterdir()] == ["net"]
    assert [entry.name for entry in target.iterdir()] == ["theirs"]


def test_what_an_interrupted_init_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".net.partial" / "ca").mkdir(parents=True)
    (tmp_path / ".net.partial" / "file").write_text("")
    with founding(tmp_path / "net") as workspace:
        assert list(workspace.iterdir()) == []


def test_status_prints_pids_as_names_not_as_amounts(network: LocalNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    processes.record_started(network, [replace(network.process(NODE), pid=1_017_354)])
    monkeypatch.setattr(processes, "is_running", lambda process: process.pid is not None)
    try:
        lines = tongjian("status", str(network.directory)).output.splitlines()
    finally:
        processes.record_started(network, [network.process(NODE)])
    (line,) = (line for line in lines if line.startswith(NODE))
    assert line.split()[:3] == [NODE, "yes", "1017354"]
