"""Start processes of a local network kind by kind, each kind forked once what it needs is imported, and no more."""

from __future__ import annotations

import signal
from collections.abc import Iterable

from cli.localnet.layout import LocalNetwork, Process
from cli.localnet.processes import start, stop
from cli.running import ENTRIES, preload, run_process

INTERRUPTIONS = (signal.SIGINT, signal.SIGTERM)


def launch(network: LocalNetwork, wanted: Iterable[Process], *, tied_to_parent: bool) -> list[Process]:
    """Fork the wanted processes of the network; return them with pid and start time.

    Raises KeyboardInterrupt on Ctrl-C or SIGTERM, once every process that was forked by then is stopped.
    """
    kinds = {node.name: chain.tier for chain in network.chains for node in chain.nodes}
    groups: dict[str, list[Process]] = {kind: [] for kind in ENTRIES}
    for process in wanted:
        groups[kinds.get(process.name, "relay")].append(process)
    started: list[Process] = []
    interruptions: list[int] = []
    before = {number: signal.signal(number, lambda caught, _: interruptions.append(caught)) for number in INTERRUPTIONS}
    try:
        for kind, group in groups.items():
            if group and not interruptions:
                preload(kind)
                started += start(group, run_process, tied_to_parent=tied_to_parent)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if interruptions:
        stop(started)
        raise KeyboardInterrupt
    return started
