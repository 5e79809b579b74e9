"""`python -m tests.flood [NAME …] [--seconds 15]`: flood a real node in every way, one after the other, and report its
memory and its honest clients. Exit code 0 only if memory stays bounded and honest clients are served."""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from tests.bench.__main__ import commit, machine
from tests.e2e.toy_network import ToyNetwork
from tests.flood.hostile import PEER_FLOODS
from tests.flood.measure import HTTP_FLOODS, under_flood

RSS_BOUND_MIB = 512.0
"""A validator is given 1 GiB (docs/operators.md)."""


def main() -> int:
    """Run the floods that are named, or all."""
    known = [*PEER_FLOODS, *HTTP_FLOODS]
    parser = argparse.ArgumentParser(prog="python -m tests.flood", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(known))
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--report", type=Path, default=Path("bench/results/flood.json"))
    arguments = parser.parse_args()
    if set(arguments.names) - set(known):
        parser.error(f"there are {', '.join(known)}")
    figures = {}
    with tempfile.TemporaryDirectory(prefix="tongjian-flood-") as folder:
        network = ToyNetwork(Path(folder), 4)
        try:
            network.start()
            for name in arguments.names or known:
                figures[name] = under_flood(network, name, arguments.seconds)
                print(f"{name}: {json.dumps(figures[name])}", flush=True)
        finally:
            network.stop()
    arguments.report.parent.mkdir(parents=True, exist_ok=True)
    document = {"commit": commit(), "machine": machine(), "seconds": arguments.seconds, "figures": figures}
    arguments.report.write_text(json.dumps(document, indent=2) + "\n")
    bad = [
        name
        for name, found in figures.items()
        if found["rss_max_mib"] > RSS_BOUND_MIB or not found["honest_receipts"] or found["honest_without_receipt"]
    ]
    print(f"failed: {', '.join(bad)}" if bad else "memory stays bounded, honest clients are served")
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
