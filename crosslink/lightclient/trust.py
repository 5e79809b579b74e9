"""The trust file `tongjian/trust/v1`: the roots that a user holds. Format: docs/protocol-evidence.md.

Invariants:
  F1  At most one root a network: which deployment is meant is never a guess.
  F2  Every root passes the checks of `TrustRoot`; one bad root makes the whole file refused (attack R4).

Left out: reading files (the command line does).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from common.core.codec import canonical_json, parse_json
from common.core.errors import Malformed, NotFound
from crosslink.lightclient.json_fields import Fields
from crosslink.lightclient.trust_root import TrustRoot

TRUST_FORMAT = "tongjian/trust/v1"
MAX_TRUST_BYTES = 8 * 1024 * 1024
"""Roots of 40 networks with checkpoints and 100 validators each take 1.5 MB."""

MAX_ROOTS = 1000


@dataclass(frozen=True, slots=True)
class TrustFile:
    """A user's roots by network."""

    roots: tuple[TrustRoot, ...]

    def find(self, network: str) -> TrustRoot | None:
        """The root of a network, or None."""
        return next((root for root in self.roots if root.network == network), None)

    def root(self, network: str) -> TrustRoot:
        """The root of a network. Raises `NotFound('evidence_no_root')`."""
        root = self.find(network)
        if root is None:
            raise NotFound("evidence_no_root", "The trust file has no root for this network.", network=network)
        return root

    def to_json(self) -> dict[str, Any]:
        """The file's document."""
        return {"format": TRUST_FORMAT, "roots": [root.to_json() for root in self.roots]}

    def encode(self) -> bytes:
        """The file's canonical bytes."""
        return canonical_json(self.to_json())


def build_trust_file(roots: Iterable[TrustRoot]) -> TrustFile:
    """A trust file of these roots. Raises `Malformed('trust_duplicate')`."""
    held = tuple(roots)
    names = [root.network for root in held]
    if len(set(names)) != len(names):
        raise Malformed("trust_duplicate", "A trust file has one root a network.")
    return TrustFile(held)


def parse_trust_file(data: bytes) -> TrustFile:
    """Parse and check a trust file. Raises `Malformed` or `TooLarge`."""
    fields = Fields(parse_json(data, max_size=MAX_TRUST_BYTES), "trust")
    if fields.text("format") != TRUST_FORMAT:
        raise Malformed("trust_format", "Not a trust file of a known format.")
    roots = [TrustRoot.from_json(item) for item in fields.list("roots", max_count=MAX_ROOTS)]
    fields.end()
    return build_trust_file(roots)
