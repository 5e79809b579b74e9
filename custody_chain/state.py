"""THE table of the custody chain's state and index keys, and the functions that build them. Nobody else builds a key.

Authenticated state (history is kept, so that regulators may ask for the past)::

    region/<network>                                   trust, anchored tip, partial block, freeze, counts
    anchored/<network>/<height // 64>                  ids of anchored blocks, element h % 64 is the id of height h
    misbehaviour/<network>/<custody height>            evidence for which a region was frozen
    misbehaviour/<network>/<custody height>/named      evidence that named the culprits of such a freeze
    signer/<public key>, governance, policy, rules     who may sign, govern, approve; rules chosen (`common.chain`)
    model_schema                                       hash of the JSON Schemas (protocol rule 18)

Index (derived, not proven; the region record chains a hash over every entry's verdict)::

    delivery/<region>/<height>/<first index>           which transaction brought these snapshots
    header/<region>/<height>                           which transaction brought the header
    log/<region>/<custody height>/<number>             the cross-chain log

Invariants:
  * Foreign identifiers are percent-encoded outside ``[A-Za-z0-9._:-]``, so no identifier can contain ``/`` or imitate a
    key of another kind (attacks E4, R8). The encoding is injective.
  * Numbers in index keys are fixed-width hexadecimal, so that key order is number order.

Left out: families that have a table (`custody_chain.tables`), and values of the others (each module documents its own;
all are canonical JSON).
"""

from __future__ import annotations

from typing import Final

from custody_chain.tables import table
from custody_chain.tables.table import number_step

UNRESOLVED: Final = table.UNRESOLVED
component: Final = table.component
identifier: Final = table.identifier

BUCKET_SIZE: Final = 64
"""Block ids in one `anchored/` value (docs/protocol-evidence.md)."""


def _path(*steps: str) -> bytes:
    return "/".join(steps).encode("ascii")


MODEL_SCHEMA: Final = b"model_schema"
REGIONS: Final = b"region/"


def region(network: str) -> bytes:
    """The region's record."""
    return _path("region", network)


def anchored(network: str, height: int) -> bytes:
    """The bucket that holds the id of `height`."""
    return _path("anchored", network, str(height // BUCKET_SIZE))


def misbehaviour(network: str, custody_height: int) -> bytes:
    """Evidence for which a region was frozen."""
    return _path("misbehaviour", network, number_step(custody_height))


def named_culprits(network: str, custody_height: int) -> bytes:
    """Evidence that named the culprits of a freeze that had no names."""
    return _path("misbehaviour", network, number_step(custody_height), "named")


def misbehaviours_of(network: str) -> bytes:
    """Prefix of the evidence about a region."""
    return _path("misbehaviour", network, "")


def anomalies_of(network: str) -> bytes:
    """Prefix of a region's anomalies."""
    return _path("anomaly", network, "")


def object_record(network: str, object_id: str) -> bytes:
    """Index: version and verdict of an object."""
    return _path("object", network, component(object_id))


def delivery(network: str, height: int, first: int) -> bytes:
    """Index: which transaction brought the snapshots of `height` from index `first` on."""
    return _path("delivery", network, number_step(height), number_step(first))


def deliveries_of(network: str, height: int) -> bytes:
    """Index: prefix of a block's deliveries."""
    return _path("delivery", network, number_step(height), "")


def header(network: str, height: int) -> bytes:
    """Index: which transaction brought the header of `height`."""
    return _path("header", network, number_step(height))


def revision(network: str, object_id: str, height: int, index: int) -> bytes:
    """Index: one snapshot of an object."""
    return _path("revision", network, component(object_id), number_step(height), number_step(index))


def revisions_of(network: str, object_id: str) -> bytes:
    """Index: prefix of an object's snapshots."""
    return _path("revision", network, component(object_id), "")


def revisions_at(network: str, object_id: str, height: int) -> bytes:
    """Index: prefix of an object's snapshots in one block."""
    return _path("revision", network, component(object_id), number_step(height), "")


def log_entry(network: str, custody_height: int, number: int) -> bytes:
    """Index: one line of the cross-chain log."""
    return _path("log", network, number_step(custody_height), number_step(number))


def log_of(network: str) -> bytes:
    """Index: prefix of a region's cross-chain log."""
    return _path("log", network, "")
