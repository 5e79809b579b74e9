"""Networks under measurement: real processes of a temporary local network, and what the system says of them."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from cli.localnet import processes
from cli.localnet.free_ports import reserved_base_port
from cli.localnet.initialise import Plan, initialise
from cli.localnet.launch import launch
from cli.localnet.layout import LocalNetwork, Process
from cli.localnet.readiness import wait_until_committing

VALIDATORS = 4
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def local_network(regions: Sequence[str], *, only: Sequence[str] | None = None) -> Iterator[LocalNetwork]:
    """A running network of `regions`; with `only`, just those chains (and no relay) run."""
    folder = Path(tempfile.mkdtemp(prefix="tongjian-bench-"))
    started: list[Process] = []
    with reserved_base_port(VALIDATORS) as base_port:
        try:
            plan = Plan(directory=folder / "network", regions=regions, base_port=base_port, validators=VALIDATORS)
            network = initialise(plan, now_ms=time.time_ns() // 1_000_000, progress=lambda text: None)
            if only is not None:
                chains = tuple(chain for chain in network.chains if chain.network_id in only)
                network = replace(network, chains=chains, relays=())
            started = launch(network, network.processes(), tied_to_parent=True)
            for process in started:
                network = network.with_process(process)
            wait_until_committing(network, patience_s=120, progress=lambda text: None, children=started)
            yield network
        finally:
            processes.stop(started)
            shutil.rmtree(folder, ignore_errors=True)


def cpu_seconds(network: LocalNetwork) -> float:
    """Processor time of all processes of the network so far."""
    return sum(processor_seconds(process) for process in network.processes() if processes.is_running(process))


def processor_seconds(process: Process) -> float:
    """Processor time of one process so far."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


def resident_mebibytes(process: Process, kind: str = "VmRSS") -> float:
    """Resident memory of a process, shared pages included; of `RssAnon` without mapped files, which the system takes
    back when it needs room."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith(f"{kind}:"):
            return int(line.split()[1]) / 1024
    return 0.0


def disk_bytes(process: Process) -> int:
    """Bytes on disk below a node's data directory."""
    if process.data_dir is None:
        return 0
    return sum(file.stat().st_size for file in process.data_dir.rglob("*") if file.is_file())
