"""What the system says of a process: resident memory, descriptors, processor time, disk."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, field

from cli.localnet.layout import LocalNetwork, Process
from cli.localnet.processes import is_running
from tests.bench.network import disk_bytes, processor_seconds, resident_mebibytes

MIB = 1024 * 1024


@dataclass
class Sampler:
    """Samples every process of a network until the block ends; notes who has died."""

    network: LocalNetwork
    every_s: float = 10.0
    samples: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    dead: list[str] = field(default_factory=list)
    _stopping: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Sampler:
        self._began = time.monotonic()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(30)

    def _run(self) -> None:
        while True:
            for process in self.network.processes():
                self._sample(process)
            if self._stopping.wait(self.every_s):
                return

    def _sample(self, process: Process) -> None:
        if not is_running(process):
            if process.name not in self.dead:
                self.dead.append(process.name)
            return
        hours = (time.monotonic() - self._began) / 3600
        kept = self.samples.setdefault(process.name, [])
        seconds = processor_seconds(process)
        share = 0.0
        if kept:
            share = (seconds - kept[-1]["cpu_s"]) / ((hours - kept[-1]["hours"]) * 3600)
        kept.append(
            {
                "hours": hours,
                "rss_mib": resident_mebibytes(process),
                "anonymous_mib": resident_mebibytes(process, "RssAnon"),
                "descriptors": len(os.listdir(f"/proc/{process.pid}/fd")),
                "cpu_s": seconds,
                "cpu_share": round(share, 3),
                "disk_mib": disk_bytes(process) / MIB,
            }
        )
