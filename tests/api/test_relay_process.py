"""The relay as a process: ends at SIGTERM, survives SIGKILL, sleeps while nothing happens (attack R9, rule 24)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.api.relay_servers import RelayFixture, Sites, build_world, wait_for
from tests.support.chains import ChainBuilder

RUN = "import sys; from pathlib import Path; from crosslink.relay.main import run_relay; run_relay(Path(sys.argv[1]))"


def start(world: RelayFixture) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", RUN, str(world.config)], stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
    )


def chain_of(blocks: int) -> ChainBuilder:
    chain = ChainBuilder()
    chain.grow(blocks, snapshots_each=1)
    return chain


def test_sigterm_ends_the_process_at_once_and_logs_are_json(tmp_path: Path) -> None:
    with Sites(tmp_path) as sites:
        world = build_world(sites, [chain_of(5)], pace={"wait_s": 10})
        process = start(world)
        try:
            wait_for(world.complete, "all anchored")
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
            process.wait()
        assert process.returncode == 0
        lines = [json.loads(line) for line in errors.splitlines()]
        assert [line["message"] for line in lines] == ["relay started", "relay stopped"]


def test_r9_sigkill_at_any_moment_loses_nothing(tmp_path: Path) -> None:
    with Sites(tmp_path) as sites:
        world = build_world(sites, [chain_of(30)])
        for round_number in range(3):
            process = start(world)
            wait_for(lambda: world.model.results, "the relay works")
            time.sleep(0.03 * round_number)
            process.kill()
            process.communicate(timeout=60)
            world.chains["beijing"].grow(3, snapshots_each=1)
        process = start(world)
        try:
            wait_for(world.complete, "all anchored")
        finally:
            process.terminate()
            process.communicate(timeout=60)
        assert all(result.applied for result in world.model.results)


@pytest.mark.skipif(not hasattr(os, "sysconf") or not Path("/proc").is_dir(), reason="reads /proc")
def test_an_idle_relay_sleeps(tmp_path: Path) -> None:
    with Sites(tmp_path) as sites:
        world = build_world(sites, [chain_of(2)], pace={"wait_s": 10})
        process = start(world)
        try:
            wait_for(world.complete, "all anchored")
            time.sleep(0.5)

            def cpu_ticks() -> int:
                fields = Path(f"/proc/{process.pid}/stat").read_text().rsplit(") ", 1)[1].split()
                return int(fields[11]) + int(fields[12])

            before = cpu_ticks()
            time.sleep(3)
            used_s = (cpu_ticks() - before) / os.sysconf("SC_CLK_TCK")
            assert used_s <= 0.1, f"{used_s} s of processor time in 3 s of idleness"
        finally:
            process.terminate()
            process.communicate(timeout=60)
