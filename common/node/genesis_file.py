"""The genesis document as a file: read once at the start, the same bytes on every node of a chain.

Left out: what it says (`common.core.genesis`).
"""

from __future__ import annotations

from pathlib import Path

from common.core.errors import Malformed, NotFound, Rejected
from common.core.genesis import Genesis, parse_genesis

MAX_GENESIS_BYTES = 16 * 1024 * 1024


def read_genesis(path: Path) -> Genesis:
    """The genesis document. Raises NotFound('genesis_missing') or Malformed('genesis_file_invalid') (attack S2)."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_GENESIS_BYTES + 1)
    except OSError as error:
        raise NotFound("genesis_missing", f"genesis file {path} cannot be read: {error.strerror}") from error
    try:
        return parse_genesis(data)
    except Rejected as refusal:
        raise Malformed(
            "genesis_file_invalid",
            f"genesis file {path} cannot be used ({refusal}): put a copy of the chain's document there, which every "
            "other node of the chain has",
        ) from refusal
