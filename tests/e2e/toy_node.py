"""One node of the toy chain as a process: `python -m tests.e2e.toy_node node.toml`."""

from __future__ import annotations

import sys
from pathlib import Path

from common.node.main import run_node
from common.node.settings import load_settings
from tests.unit.node.toy import ToyApplication

if __name__ == "__main__":
    run_node(load_settings(Path(sys.argv[1])), lambda genesis: ToyApplication(), lambda service: [])
