"""What a quorum of organisations may decide: regions, their recovery, the custody chain's validators and signers.

Operations::

    region.register    {"region": REGION SETTINGS AND TRUST ROOT, "reason"}
    region.recover     {"region": network, "trust_root": ROOT WITH CHECKPOINT, "from_height",
                        "previous_anchored_id", "reason"}
    validators.change  {"validators": [{"name", "organisation", "public_key"}], "effective_height", "replaces"?,
                        "reason"}
    protocol.activate  {"version", "height", "replaces"?, "reason"}
    signer.set         {"public_key", "organisation", "role", "person"?, "reason"}
    signer.remove      {"public_key", "reason"}

Invariants:
  * A recovery names the id that is anchored now, so a proposal that was made before another recovery does nothing.
  * It goes forward only: `from_height` is above the anchored height, and the root's checkpoint is the block before it.
    What was anchored stays where it is and stays provable; heights in between hold an empty id, and are named in `gaps`
    of the region's record with the checkpoint's own: they were not completely taken in.
  * What a recovery has judged is judged: the evidence for which the region was frozen freezes it no more (`judged` of
    the region's record), any other does.
  * A region that starts again from a new genesis is another chain: it is registered under a new network id.
  * Governance cannot end itself: a change that leaves no organisation with a governance key is refused, and one that
    leaves a single one where maker and checker could be of two.

Reference: protocol rules 8, 20 and 21. Left out: who may (`policy`), when a scheduled change takes effect
(`common.chain.schedule`), policy changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from common.chain.application import BlockContext, StateView
from common.chain.schedule import schedule_protocol, schedule_validators
from common.core.errors import Conflict, Malformed, NotFound, RuleBroken
from common.core.names import check_identifier, check_label, check_network
from common.core.validators import MAX_VALIDATORS, ValidatorSet
from crosslink.lightclient.client_state import ClientState
from crosslink.lightclient.fields import Fields
from crosslink.lightclient.trust_root import MAX_ID_BYTES, Checkpoint, TrustRoot
from custody_chain import policy, regions, state
from custody_chain.ingest import write_log
from custody_chain.records import Records
from custody_chain.supervision.alerts import Moment, clear_alert

MAX_KEY_TEXT: Final = 1024
"""Characters of a public key in text form, in any suite."""


def check_shape(operation: dict[str, Any]) -> None:
    """Fields of a governance operation, for admission. Raises `Malformed`."""
    fields = Fields(operation, operation["type"])
    fields.any("type")
    match operation["type"]:
        case policy.VALIDATORS_CHANGE:
            fields.list("validators", max_count=MAX_VALIDATORS)
            _check_heights(fields, "effective_height")
        case policy.PROTOCOL_ACTIVATE:
            fields.integer("version", minimum=1)
            _check_heights(fields, "height")
        case policy.REGION_REGISTER:
            fields.any("region")
        case policy.REGION_RECOVER:
            check_network(fields.any("region"))
            fields.any("trust_root")
            fields.integer("from_height", minimum=1)
            fields.hex("previous_anchored_id", max_size=MAX_ID_BYTES)
        case _:
            fields.text("public_key", max_size=MAX_KEY_TEXT)
            if operation["type"] == policy.SIGNER_SET:
                check_label(fields.any("organisation"), "organisation")
                check_identifier(fields.any("role"), "role")
                if fields.has("person"):
                    check_label(fields.any("person"), "person")
    check_label(fields.any("reason"), "reason")
    fields.end()


def _check_heights(fields: Fields, name: str) -> None:
    fields.integer(name, minimum=1)
    if fields.has("replaces"):
        fields.integer("replaces", minimum=1)


def register(records: Records, context: BlockContext, operation: dict[str, Any]) -> None:
    """Add a region. Raises `Conflict('region_known')`, `RuleBroken('regions_too_many')` or `Malformed`."""
    document = operation["region"]
    record, _ = regions.new_region(
        document,
        custody_network=context.network,
        now_ms=context.time_ms,
        protocol_version=context.protocol_version,
    )
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
    root, checkpoint = _new_trust(record, context, operation)
    recovered = _trusted_anew(record, root, checkpoint, _evidence(records, record), context.time_ms)
    records.put(state.region(network), recovered)
    regions.keep_anchored_id(records, recovered, checkpoint.height, checkpoint.id.hex())
    moment = _moment(context, recovered)
    if record["frozen"] is not None:
        clear_alert(records, moment, "region_misbehaved", [str(record["frozen"]["height"])])
    entry = {
        "type": "recovered",
        "from_height": operation["from_height"],
        "previous_height": record["anchored"]["height"],
        "previous_anchored_id": record["anchored"]["id"],
        "reason": operation["reason"],
        "tx_id": tx_id.hex(),
    }
    write_log(records, moment, entry)


def _new_trust(
    record: dict[str, Any], context: BlockContext, operation: dict[str, Any]
) -> tuple[TrustRoot, Checkpoint]:
    """The root and checkpoint of a recovery that is allowed. Raises `RuleBroken`, `Conflict` or `Malformed`."""
    network = record["network"]
    if regions.derived_state(record, context.time_ms) == "active":
        raise RuleBroken("region_active", "An active region needs no recovery.", region=network)
    if operation["previous_anchored_id"] != record["anchored"]["id"]:
        raise Conflict("recovery_outdated", "Another block is anchored than the proposal names.", region=network)
    root = TrustRoot.from_json(operation["trust_root"])
    checkpoint = root.checkpoint
    client = record["client"]
    if (root.network, root.genesis_id.hex(), root.client_type) != (
        network,
        client["genesis_id"],
        client["client_type"],
    ):
        raise Malformed("recovery_root", "The root is of another chain; register it as a new region.", region=network)
    if checkpoint is None or checkpoint.height != operation["from_height"] - 1:
        raise Malformed(
            "recovery_root", "The root needs a checkpoint at the height before from_height.", region=network
        )
    regions.check_time(root, context.time_ms)
    _check_forward(record, checkpoint)
    return root, checkpoint


def _evidence(records: Records, record: dict[str, Any]) -> list[dict[str, Any]]:
    """For what a region is frozen, and what named the culprits if that did not."""
    network, frozen = record["network"], record["frozen"]
    if frozen is None:
        return []
    keys = [state.misbehaviour(network, frozen["custody_height"])]
    if "named_custody_height" in frozen:
        keys.append(state.named_culprits(network, frozen["named_custody_height"]))
    return [records.get(key) for key in keys]


def _trusted_anew(
    record: dict[str, Any], root: TrustRoot, checkpoint: Checkpoint, evidence: Sequence[dict[str, Any]], now_ms: int
) -> dict[str, Any]:
    """A region's record once governance trusts `checkpoint`."""
    anchored_height = record["anchored"]["height"]
    abandoned = record.get("abandoned") if record["partial"] is None else regions.delivered_part(record)
    judged = regions.judged_pairs(record, evidence, checkpoint.height)
    recovered = {name: value for name, value in record.items() if name not in ("abandoned", "judged")} | {
        "client": ClientState.from_root(root, established_ms=now_ms).to_json(),
        "anchored": {"height": checkpoint.height, "id": checkpoint.id.hex(), "time_ms": checkpoint.time_ms},
        "partial": None,
        "frozen": None,
        "recoveries": record["recoveries"] + 1,
        **regions.gaps_with(record.get("gaps", []), anchored_height, checkpoint.height),
    }
    if abandoned is not None and abandoned["height"] > checkpoint.height:
        recovered["abandoned"] = abandoned
    if judged:
        recovered["judged"] = judged
    return recovered


def _check_forward(record: dict[str, Any], checkpoint: Checkpoint) -> None:
    """The checkpoint is the anchored block as it is, or one above it.

    Raises `RuleBroken('recovery_backwards')`, `Malformed('recovery_root')`.
    """
    anchored = record["anchored"]
    if checkpoint.height > anchored["height"]:
        return
    if checkpoint.height < anchored["height"] or checkpoint.id.hex() != anchored["id"]:
        raise RuleBroken(
            "recovery_backwards", "A recovery leaves anchored blocks as they are.", anchored_height=anchored["height"]
        )
    if checkpoint.time_ms != anchored["time_ms"] and not regions.is_tip_given(record):
        raise Malformed("recovery_root", "The anchored block has another time.", time_ms=anchored["time_ms"])


def change_validators(view: StateView, context: BlockContext, operation: dict[str, Any]) -> None:
    """Schedule another set. Raises `Malformed` for unsafe keys and repeated members, or as `schedule_validators`."""
    validators = ValidatorSet.from_json(operation["validators"], context.genesis.suite)
    schedule_validators(view, context, validators, operation["effective_height"], operation.get("replaces"))


def activate_protocol(view: StateView, context: BlockContext, operation: dict[str, Any]) -> None:
    """Schedule the next protocol version. Raises as `schedule_protocol`."""
    schedule_protocol(view, context, operation["version"], operation["height"], operation.get("replaces"))


def set_signer(records: Records, context: BlockContext, operation: dict[str, Any]) -> None:
    """Register a key, or give it another organisation, role or person.

    Raises `Malformed`, `RuleBroken` with `signers_too_many` or `governance_lost`.
    """
    suite = context.genesis.suite
    signer = policy.parse_signer(operation, suite)
    key = state.signer(suite.format_key(suite.parse_key(operation["public_key"])))
    if records.get(key) is None and len(records.scan(state.SIGNERS, policy.MAX_SIGNERS)) >= policy.MAX_SIGNERS:
        raise RuleBroken("signers_too_many", "There is no room for another signer.", limit=policy.MAX_SIGNERS)
    records.put(key, signer)
    _count_organisations(records)


def remove_signer(records: Records, context: BlockContext, operation: dict[str, Any]) -> None:
    """A key may sign nothing any more. Raises `NotFound('signer_unknown')`, `RuleBroken('governance_lost')`."""
    suite = context.genesis.suite
    key = state.signer(suite.format_key(suite.parse_key(operation["public_key"])))
    if records.get(key) is None:
        raise NotFound("signer_unknown", "This key is not registered on the custody chain.")
    records.put(key, None)
    _count_organisations(records)


def _count_organisations(records: Records) -> None:
    """Keep how many organisations govern, which decides their quorum."""
    signers = [records.get(key) for key in records.scan(state.SIGNERS, policy.MAX_SIGNERS)]
    organisations = len(policy.organisations_with_governance(signers))
    known = records.get(state.POLICY)
    if organisations < min(known["organisations"], 2):
        raise RuleBroken("governance_lost", "Too few organisations would be left to govern the chain.")
    records.put(state.POLICY, {**known, "organisations": organisations})


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
