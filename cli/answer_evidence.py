"""The evidence in what a user saved: an evidence file, or an answer to `?proof=true`, whose member `evidence` it is.

Left out: verification (`crosslink.lightclient.evidence_check`).
"""

from __future__ import annotations

from common.core.codec import canonical_json, parse_json
from common.core.errors import Malformed
from crosslink.lightclient.evidence_file import EVIDENCE_FORMAT, MAX_EVIDENCE_BYTES


def evidence_in(data: bytes) -> bytes:
    """The bytes of the evidence file. Raises `Malformed`; `evidence_absent` for an answer that has none."""
    document = parse_json(data, max_size=MAX_EVIDENCE_BYTES)
    if not isinstance(document, dict) or document.get("format") == EVIDENCE_FORMAT or "evidence" not in document:
        return data
    if document["evidence"] is None:
        raise Malformed("evidence_absent", "This answer rests on no value of the state, so it comes with no evidence.")
    return canonical_json(document["evidence"])
