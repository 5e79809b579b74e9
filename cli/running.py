"""Run one process of the suite from its settings file: a node of either tier, or a relay."""

from __future__ import annotations

import time
from pathlib import Path

from business_chain.main import run as run_business
from crosslink.relay.main import run_relay
from custody_chain.main import run as run_custody

from common.core.errors import Unavailable
from common.core.genesis import parse_genesis
from common.node.settings import load_settings

FILE_PATIENCE_S = 120.0


def wait_for_file(path: Path) -> None:
    """Return once `path` exists. Raises Unavailable after two minutes."""
    deadline = time.monotonic() + FILE_PATIENCE_S
    while not path.is_file():
        if time.monotonic() > deadline:
            raise Unavailable("no_settings", f"{path} did not appear within {FILE_PATIENCE_S:.0f} s")
        time.sleep(0.2)


def run_node(config: Path) -> None:
    """Run a node until it is told to end; its genesis document says which tier it belongs to. Raises Rejected."""
    settings = load_settings(config)
    genesis = parse_genesis(settings.genesis_file.read_bytes())
    if genesis.tier == "custody":
        run_custody(settings)
    else:
        run_business(settings)


def run_process(config: Path) -> None:
    """Run what a settings file describes, by its name: `relay.toml` or a node's."""
    if config.name == "relay.toml":
        run_relay(config)
    else:
        run_node(config)
