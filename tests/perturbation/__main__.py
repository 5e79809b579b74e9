"""`python -m tests.perturbation [MANIFEST …] [--report FILE]`: run manifests, by name or path, or all; exit
code 0 only if every invariant held in each."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from tests.bench.__main__ import commit, machine
from tests.perturbation.manifest import MANIFESTS, read_manifest
from tests.perturbation.run import run


def main() -> int:
    """Run the manifests that are named, or all."""
    parser = argparse.ArgumentParser(prog="python -m tests.perturbation", description=__doc__)
    known = sorted(path.stem for path in MANIFESTS.glob("*.toml"))
    parser.add_argument("manifests", nargs="*", metavar="MANIFEST", help=", ".join(known))
    parser.add_argument("--report", type=Path, help="write a JSON report here")
    arguments = parser.parse_args()
    paths = [Path(name) if name.endswith(".toml") else MANIFESTS / f"{name}.toml" for name in arguments.manifests]
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        parser.error(f"no manifest {', '.join(missing)}; there are {', '.join(known)}")
    reports = [
        run(read_manifest(path), lambda text: print(text, flush=True))
        for path in paths or sorted(MANIFESTS.glob("*.toml"))
    ]
    if arguments.report:
        document = {"commit": commit(), "machine": machine(), "runs": [report.document() for report in reports]}
        arguments.report.parent.mkdir(parents=True, exist_ok=True)
        arguments.report.write_text(json.dumps(document, indent=2) + "\n")
    for report in reports:
        print(f"{report.manifest}: {'passed' if report.passed else 'FAILED'} in {report.seconds:.0f} s")
    return 0 if all(report.passed for report in reports) else 1


if __name__ == "__main__":
    raise SystemExit(main())
