"""Golden bytes of every hashed or signed structure of `common.core`.

Inputs and results are frozen in `tests/vectors/*_v1.json`, so that an accidental change of a byte fails a test and
a second implementation has something to check against. Changing them on purpose is a new wire version: run `python
-m tests.unit.core.golden --write`, review the difference, and say why in the commit.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from common.core.block import Block
from common.core.certificate import commit_payload
from common.core.header import Header
from common.core.receipt import Receipt, receipt_root
from common.core.snapshot import snapshot_root
from common.core.transaction import parse_envelope, transaction_id
from common.model.object_header import build_snapshot
from tests.unit.core import builders
from tests.unit.core.builders import SUITE

DIRECTORY = Path(__file__).parents[2] / "vectors"


def _header_fields(header: Header) -> dict[str, Any]:
    return {name: value.hex() if isinstance(value, bytes) else value for name, value in asdict(header).items()}


def _transaction() -> dict[str, Any]:
    value = builders.transaction(signers=[builders.key_text(1), builders.key_text(2)])
    data = builders.sign_envelope(value, [builders.seed(1), builders.seed(2)], SUITE)
    parsed = parse_envelope(data, SUITE)
    return {
        "seeds": [builders.seed(1).hex(), builders.seed(2).hex()],
        "transaction": value,
        "transaction_id": transaction_id(value, SUITE).hex(),
        "envelope": data.decode(),
        "envelope_hash": parsed.envelope_hash.hex(),
    }


def _validators() -> dict[str, Any]:
    validators = builders.validator_set(4)
    return {
        "validators": validators.to_json(SUITE),
        "bytes": validators.encode().hex(),
        "hash": validators.hash(SUITE).hex(),
        "quorum": validators.quorum,
    }


def _genesis() -> dict[str, Any]:
    value = builders.genesis()
    return {"document": value.document.decode(), "id": value.id.hex()}


def _block_and_header() -> tuple[dict[str, Any], dict[str, Any]]:
    envelopes = (builders.envelope(), builders.envelope(nonce="n-2"), builders.envelope(nonce="n-3"))
    header = builders.header(builders.validator_set(4), envelopes)
    described = {"fields": _header_fields(header), "bytes": header.encode().hex(), "id": header.id(SUITE).hex()}
    block = {"envelopes": [item.decode() for item in envelopes], "bytes": Block(header, envelopes).encode().hex()}
    return described, block


def _certificate() -> dict[str, Any]:
    header = builders.header(builders.validator_set(4))
    payload = commit_payload(SUITE, header.genesis_id, header.network, header.height, 2, header.id(SUITE))
    value = builders.certificate(header, [0, 2, 3], view=2)
    return {
        "seeds": [builders.seed(1000 + at).hex() for at in range(4)],
        "header": header.encode().hex(),
        "view": 2,
        "signers": [0, 2, 3],
        "commit_payload": payload.hex(),
        "bytes": value.encode().hex(),
    }


def _receipts() -> dict[str, Any]:
    receipts = [
        Receipt(bytes(range(32)), "applied", objects=(("b-1:0", 0), ("BJ000001.ESVUFR2601", 3))),
        Receipt(bytes(range(1, 33)), "rejected", "insufficient_balance", 0, {"account": "A1", "available": 5}),
    ]
    return {"bytes": [item.encode().decode() for item in receipts], "root": receipt_root(SUITE, receipts).hex()}


def _snapshots() -> dict[str, Any]:
    common: dict[str, Any] = {"kind": "account", "object_id": "A1", "timestamp_s": 1_700_000_000}
    snapshots = [
        build_snapshot(**common, version=0, operation="create", body={"account_object_information": {"账户": 1}}),
        build_snapshot(**common, version=1, operation="update", body={"account_object_information": {"账户": 2}}),
        build_snapshot(**common, version=2, operation="delete", body=None, remark="销户"),
    ]
    return {
        "snapshots": [item.decode() for item in snapshots],
        "roots": [snapshot_root(SUITE, snapshots[:count]).hex() for count in range(len(snapshots) + 1)],
    }


def documents() -> dict[str, dict[str, Any]]:
    """All golden documents by file name without the suffix."""
    header, block = _block_and_header()
    return {
        "block_v1": block,
        "certificate_v1": _certificate(),
        "genesis_v1": _genesis(),
        "header_v1": header,
        "receipt_v1": _receipts(),
        "snapshot_v1": _snapshots(),
        "transaction_v1": _transaction(),
        "validators_v1": _validators(),
    }


def render(document: dict[str, Any]) -> str:
    """File content of one document; keys sorted, so that differences are easy to review."""
    provenance = "made by tests/unit/core/golden.py with the public test seeds of tests/unit/core/builders.py"
    return json.dumps({"provenance": provenance} | document, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def main(arguments: list[str]) -> int:
    """Write the files with `--write`; otherwise say what it does."""
    if arguments != ["--write"]:
        print(__doc__)
        return 2
    for name, document in documents().items():
        (DIRECTORY / f"{name}.json").write_text(render(document), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
