"""Run one process of the suite from its settings file: a node of either tier, or a relay.

What a process does not need it does not import: a business node holds no supervision, a relay neither tier.
"""

from __future__ import annotations

import importlib
import time
from pathlib import Path

from common.core.errors import Unavailable
from common.node.genesis_file import read_genesis
from common.node.settings import load_settings

FILE_PATIENCE_S = 120.0
RELAY_SETTINGS = "relay.toml"
ENTRIES = {"business": "business_chain.main", "custody": "custody_chain.main", "relay": "crosslink.relay.main"}
"""Kind of process -> the module that runs it."""


def wait_for_file(path: Path) -> None:
    """Return once `path` exists. Raises Unavailable after two minutes."""
    deadline = time.monotonic() + FILE_PATIENCE_S
    while not path.is_file():
        if time.monotonic() > deadline:
            raise Unavailable("no_settings", f"{path} did not appear within {FILE_PATIENCE_S:.0f} s")
        time.sleep(0.2)


def preload(kind: str) -> None:
    """Import all that a kind of process (`business`, `custody`, `relay`) needs, so that forked ones share it."""
    importlib.import_module(ENTRIES[kind])


def run_node(config: Path) -> None:
    """Run a node until it is told to end; its genesis document says which tier it belongs to. Raises Rejected."""
    settings = load_settings(config)
    genesis = read_genesis(settings.genesis_file)
    importlib.import_module(ENTRIES[genesis.tier]).run(settings)


def run_relay(config: Path) -> None:
    """Run a relay until it is told to end. Raises Rejected."""
    importlib.import_module(ENTRIES["relay"]).run_relay(config)


def run_process(config: Path) -> None:
    """Run what a settings file describes, by its name: `relay.toml` or a node's."""
    if config.name == RELAY_SETTINGS:
        run_relay(config)
    else:
        run_node(config)
