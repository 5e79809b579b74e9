"""Joins the toy chain as a process: `python -m tests.e2e.toy_join node.toml PATIENCE_S`."""

from __future__ import annotations

import sys
from pathlib import Path

from common.node.settings import load_settings
from common.node.store import fault_points
from common.node.upkeep.join_process import join_node

if __name__ == "__main__":
    fault_points.arm_from_environment()
    joined = join_node(
        load_settings(Path(sys.argv[1])), lambda progress: print(progress, flush=True), patience_s=float(sys.argv[2])
    )
    print("joined at", joined.height, flush=True)
