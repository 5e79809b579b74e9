"""The formats of evidence and trust files stay what they are, byte for byte."""

from __future__ import annotations

import json

from common.core.codec import canonical_json
from crosslink.lightclient.evidence_check import verify_evidence_file
from crosslink.lightclient.trust import parse_trust_file
from tests.unit.crosslink.golden import DIRECTORY, vectors

FROZEN = json.loads((DIRECTORY / "evidence_v1.json").read_text(encoding="utf-8"))


def test_the_frozen_files_are_what_is_built_today() -> None:
    assert vectors() == FROZEN


def test_the_frozen_evidence_file_verifies_under_the_frozen_trust_file() -> None:
    trust = parse_trust_file(canonical_json(FROZEN["trust"]))
    findings = verify_evidence_file(canonical_json(FROZEN["evidence"]), trust)
    proven = FROZEN["proven"]
    assert findings.fingerprints == FROZEN["fingerprints"]
    assert findings.block_id.hex() == proven["custody_block_id"]
    assert findings.region_block_id is not None
    assert findings.region_block_id.hex() == proven["region_block_id"]
    assert (findings.height, findings.region_height, findings.snapshot_index) == (
        proven["custody_height"], proven["region_height"], proven["snapshot_index"],
    )  # fmt: skip
