"""The frozen evidence file and trust file: `python -m tests.unit.crosslink.golden` writes them anew.

They are made from `tests/support/evidence.py` (public test seeds). A changed byte in them is a new version of a
format, not a fix.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.evidence import evidence_case

DIRECTORY = Path(__file__).parents[2] / "vectors"


def vectors() -> dict[str, Any]:
    """What `evidence_v1.json` holds: the two files as parsed JSON, the hash of their canonical bytes, and what is
    proven."""
    case = evidence_case()
    custody = case.custody
    suite = custody.suite
    return {
        "provenance": "made by tests/unit/crosslink/golden.py from tests/support/evidence.py",
        "evidence": case.evidence.to_json(),
        "evidence_sha256": suite.hash(case.evidence.encode()).hex(),
        "trust": case.trust.to_json(),
        "trust_sha256": suite.hash(case.trust.encode()).hex(),
        "fingerprints": {root.network: root.fingerprint().hex() for root in case.trust.roots},
        "proven": {
            "custody_height": custody.height,
            "custody_block_id": custody.tip_id.hex(),
            "region_height": 3,
            "region_block_id": case.region.id_at(3).hex(),
            "snapshot_index": 1,
            "object_id": "beijing:3:1",
        },
    }


if __name__ == "__main__":
    path = DIRECTORY / "evidence_v1.json"
    path.write_text(json.dumps(vectors(), ensure_ascii=False, indent=1, sort_keys=True) + "\n", encoding="utf-8")
