"""What an evidence file proves about the anchoring of a business chain on the custody chain.

The file is the answer to ``GET /v1/regions/{network}?proof=true`` of a custody node, or its member `evidence`: a proof
of kind `state` for the region's record. It is verified with the trust root for the custody chain that the user holds.
"""

from __future__ import annotations

import json
from typing import Any

from cli.answer_evidence import evidence_in
from common.core.errors import Malformed, RuleBroken
from common.core.suite import HASH_SIZE, parse_hex
from common.node.store.chain_prune import Anchored
from crosslink.lightclient.evidence_check import Findings, verify_evidence_file
from crosslink.lightclient.evidence_file import MAX_TEXT
from crosslink.lightclient.trust import TrustFile


def anchored_block(data: bytes, trust: TrustFile, network: str) -> Anchored:
    """The newest block of `network` up to which the custody chain is proven to hold every block.

    Raises what `verify_evidence_file` raises; Malformed('anchoring_not_shown') if the file proves something else;
    RuleBroken('anchoring_gap') if the custody chain has skipped blocks (a recovery), which are then kept here alone.
    """
    record = _region_record(verify_evidence_file(evidence_in(data), trust), network)
    try:
        height, skipped = int(record["anchored"]["height"]), int(record["anchored"]["height"]) - int(record["blocks"])
        block_id = parse_hex(record["anchored"]["id"], "anchored.id", HASH_SIZE)
    except (KeyError, TypeError, ValueError) as error:
        raise Malformed("anchoring_not_shown", "The region's record has no anchored block.") from error
    if skipped:
        raise RuleBroken(
            "anchoring_gap",
            "the custody chain has skipped blocks of this chain: nobody but its own nodes has them",
            skipped=skipped,
        )
    return Anchored(network, height, block_id)


def _region_record(findings: Findings, network: str) -> dict[str, Any]:
    if findings.chain_root.tier != "custody":
        raise Malformed("anchoring_not_shown", "The proof is not of a custody chain.", network=findings.network)
    for entry in findings.state:
        if entry.key == f"region/{network}" and entry.value is not None and len(entry.value) <= MAX_TEXT:
            record = json.loads(entry.value)
            if isinstance(record, dict):
                return record
    raise Malformed("anchoring_not_shown", "The proof does not hold the record of this network.", network=network)
