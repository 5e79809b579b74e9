"""Start processes of a local network kind by kind, each kind forked once what it needs is imported, and no more."""

from __future__ import annotations

from collections.abc import Iterable

from cli.localnet.layout import LocalNetwork, Process
from cli.localnet.processes import start
from cli.running import ENTRIES, preload, run_process


def launch(network: LocalNetwork, wanted: Iterable[Process], *, tied_to_parent: bool) -> list[Process]:
    """Fork the wanted processes of the network; return them with pid and start time."""
    kinds = {node.name: chain.tier for chain in network.chains for node in chain.nodes}
    groups: dict[str, list[Process]] = {kind: [] for kind in ENTRIES}
    for process in wanted:
        groups[kinds.get(process.name, "relay")].append(process)
    started = []
    for kind, group in groups.items():
        if group:
            preload(kind)
            started += start(group, run_process, tied_to_parent=tied_to_parent)
    return started
