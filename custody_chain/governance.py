"""What a quorum of organisations may decide: add a region, bring one back, change the custody chain's validators.

Operations::

    region.register    {"region": REGION SETTINGS AND TRUST ROOT, "reason"}
    region.recover     {"region": network, "trust_root": ROOT WITH CHECKPOINT, "from_height", "previous_anchored_id",
    "reason"} validators.change  {"validators": [{"name", "organisation", "public_key"}], "reason"}

Invariants:
  * A recovery names the id that is anchored now, so a proposal that was made before another recovery does nothing.
  * It goes forward only: `from_height` is above the anchored height, and the root's checkpoint is the block before it.
    What was anchored stays where it is and stays provable; heights in between hold an empty id.
  * A region that starts again from a new genesis is another chain: it is registered under a new network id.

Reference: protocol rules 20 and 21. Left out: who may (`policy`), signers and policy changes.
"""

from __future__ import annotations

from typing import Any

from common.core.errors import Conflict, Malformed, RuleBroken
from common.core.names import check_label, check_network
from common.core.validators import MAX_VALIDATORS, ValidatorSet
from common.node.application import BlockContext
from crosslink.lightclient.fields import Fields
from crosslink.lightclient.port import client_for
from crosslink.lightclient.trust_root import TrustRoot
from custody_chain import regions, state
from custody_chain.ingest import write_log
from custody_chain.records import Records
from custody_chain.supervision.alerts import Moment, clear_alert


def check_shape(operation: dict[str, Any]) -> None:
    """Fields of a governance operation, for admission. Raises `Malformed`."""
    fields = Fields(operation, operation["type"])
    fields.any("type")
    if operation["type"] == "validators.change":
        fields.list("validators", max_count=MAX_VALIDATORS)
    elif operation["type"] == "region.register":
        fields.any("region")
    else:
        check_network(fields.any("region"))
        fields.any("trust_root")
        fields.integer("from_height", minimum=1)
        fields.hex("previous_anchored_id", size=32)
    check_label(fields.any("reason"), "reason")
    fields.end()


def register(records: Records, context: BlockContext, operation: dict[str, Any]) -> None:
    """Add a region. Raises `Conflict('region_known')`, `RuleBroken('regions_too_many')` or `Malformed`."""
    document = operation["region"]
    record, _ = regions.new_region(document, custody_network=context.network, now_ms=context.time_ms)
    if records.get(state.region(record["network"])) is not None:
        raise Conflict("region_known", "This network is a region already.", region=record["network"])
    if len(records.scan(state.REGIONS, regions.MAX_REGIONS)) >= regions.MAX_REGIONS:
        raise RuleBroken("regions_too_many", "There is no room for another region.", limit=regions.MAX_REGIONS)
    regions.add_region(records, record)
    write_log(records, _moment(context, record), {"type": "registered", "reason": operation["reason"]})


def recover(records: Records, context: BlockContext, operation: dict[str, Any], tx_id: bytes) -> None:
    """Give a frozen, expired or lost region a new trusted tip.

    Raises `RuleBroken`, `Conflict`, `NotFound` or `Malformed`.
    """
    network = operation["region"]
    record = regions.load(records, network)
    if regions.derived_state(record, context.time_ms) == "active":
        raise RuleBroken("region_active", "An active region needs no recovery.", region=network)
    anchored, from_height = record["anchored"], operation["from_height"]
    if operation["previous_anchored_id"] != anchored["id"]:
        raise Conflict("recovery_outdated", "Another block is anchored than the proposal names.", region=network)
    root = TrustRoot.from_json(operation["trust_root"])
    checkpoint = root.checkpoint
    if root.network != network or root.genesis_id.hex() != record["client"]["genesis_id"]:
        raise Malformed("recovery_root", "The root is of another chain; register it as a new region.", region=network)
    if checkpoint is None or checkpoint.height != from_height - 1:
        raise Malformed(
            "recovery_root", "The root needs a checkpoint at the height before from_height.", region=network
        )
    if checkpoint.height < anchored["height"] or (
        checkpoint.height == anchored["height"] and checkpoint.id.hex() != anchored["id"]
    ):
        raise RuleBroken(
            "recovery_backwards", "A recovery leaves anchored blocks as they are.", anchored_height=anchored["height"]
        )
    client = client_for(root.client_type).initial_state(root, established_ms=context.time_ms)
    recovered = {
        **record,
        "client": client.to_json(),
        "anchored": {"height": checkpoint.height, "id": checkpoint.id.hex(), "time_ms": checkpoint.time_ms},
        "partial": None,
        "frozen": None,
        "recoveries": record["recoveries"] + 1,
    }
    records.put(state.region(network), recovered)
    regions.keep_anchored_id(records, network, checkpoint.height, checkpoint.id.hex())
    moment = _moment(context, recovered)
    frozen = record["frozen"]
    if frozen is not None:
        clear_alert(records, moment, "region_misbehaved", [str(frozen["height"])])
    entry = {
        "type": "recovered",
        "from_height": from_height,
        "previous_height": anchored["height"],
        "previous_anchored_id": anchored["id"],
        "reason": operation["reason"],
        "tx_id": tx_id.hex(),
    }
    write_log(records, moment, entry)


def change_validators(context: BlockContext, operation: dict[str, Any]) -> ValidatorSet:
    """The set that signs from the next height on. Raises `Malformed` for unsafe keys and repeated members."""
    return ValidatorSet.from_json(operation["validators"], context.genesis.suite)


def _moment(context: BlockContext, record: dict[str, Any]) -> Moment:
    return Moment(
        suite=context.genesis.suite,
        network=record["network"],
        letters=record["region_letters"],
        custody_height=context.height,
        custody_time_ms=context.time_ms,
        height=record["anchored"]["height"],
        index=0,
    )
