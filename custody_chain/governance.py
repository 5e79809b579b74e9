"""What a quorum of organisations may decide: regions, their recovery, the custody chain's validators and signers.

Operations::

    region.register    {"region": REGION SETTINGS AND TRUST ROOT, "reason"}
    region.recover     {"region": network, "trust_root": ROOT WITH CHECKPOINT, "from_height",
                        "previous_anchored_id", "reason"}
    validators.change  {"validators": [{"name", "organisation", "public_key"}], "effective_height", "replaces"?,
                        "reason"}
    protocol.activate  {"version", "height", "replaces"?, "reason"}
    parameters.set     {"values": {parameter: integer or null}, "height", "replaces"?, "reason"}
    policy.set         {"rules": [{"operation_type", "maker"?, "checkers"?}], "height", "replaces"?, "reason"}
    rules.set          {"id", "parameters": {name: integer} or null, "from_height", "replaces"?, "reason"}
    signer.set         {"public_key", "organisation", "role", "person"?, "label"?, "reason"}
    signer.remove      {"public_key", "reason"}

Invariants:
  * A recovery names the id that is anchored now, so a proposal that was made before another recovery does nothing.
  * It goes forward only: `from_height` is above the anchored height, and the root's checkpoint is the block before it.
    What was anchored stays where it is and stays provable; heights in between hold an empty id, and are named in `gaps`
    of the region's record with the checkpoint's own: they were not completely taken in.
  * What a recovery has judged is judged: the evidence for which the region was frozen freezes it no more (`judged` of
    the region's record), any other does.
  * A region that starts again from a new genesis is another chain: it is registered under a new network id, with the
    same letters once the chain that it follows is silent, expired or frozen. No chain is a region twice.

Reference: protocol rules 8, 20 and 21. Left out: who may (`common.chain.policy`), the rules that both tiers share
(`common.chain.governance`), what a supervisory rule judges (`supervision.rules`).
"""

from __future__ import annotations

from typing import Any, Final

from msgspec.structs import replace

from common.chain import governance as shared
from common.chain import governed_parameters, signers
from common.chain.application import BlockContext, StateView
from common.chain.schedule import check_lead, check_replaces, schedule_protocol
from common.core.errors import Conflict, Malformed, RuleBroken
from common.core.exact_fields import complaint
from common.core.names import check_identifier, check_label, check_network
from common.core.validators import MAX_VALIDATORS
from crosslink.lightclient.client_state import ClientState
from crosslink.lightclient.json_fields import Fields
from crosslink.lightclient.trust_root import MAX_ID_BYTES, Checkpoint, TrustRoot
from custody_chain import operation_names as ops
from custody_chain import regions
from custody_chain.ingest import write_log
from custody_chain.records import Records
from custody_chain.supervision.alerts import Moment
from custody_chain.supervision.judging import judge_touched
from custody_chain.supervision.rules import RULES
from custody_chain.tables.deliveries import RecoveredLine, RegisteredLine
from custody_chain.tables.regions import (
    FROZE,
    MISBEHAVIOURS,
    NAMED,
    REGIONS,
    AnchoredTip,
    MisbehaviourKey,
    MisbehaviourRecord,
    Region,
    RegionKey,
)
from custody_chain.tables.rules import RULE_SETTINGS, RuleSetting, RuleSettings
from custody_chain.tables.table import Only

MAX_RULES: Final = 1024
"""Rules of approval in one operation; there are fewer operation types."""
MAX_KEY_TEXT: Final = 1024
"""Characters of a public key in text form, in any suite."""


def check_shape(operation: dict[str, Any]) -> None:
    """Fields of a governance operation, for admission. Raises `Malformed`."""
    fields = Fields(operation, operation["type"])
    fields.any("type")
    match operation["type"]:
        case shared.VALIDATORS_CHANGE:
            fields.list("validators", max_count=MAX_VALIDATORS)
            _check_heights(fields, "effective_height")
        case shared.PROTOCOL_ACTIVATE:
            fields.integer("version", minimum=1)
            _check_heights(fields, "height")
        case shared.PARAMETERS_SET:
            _object(fields, "values")
            _check_heights(fields, "height")
        case shared.POLICY_SET:
            fields.list("rules", max_count=MAX_RULES)
            _check_heights(fields, "height")
        case ops.RULES_SET:
            check_identifier(fields.any("id"), "id")
            if operation.get("parameters") is None:
                fields.any("parameters")
            else:
                _object(fields, "parameters")
            _check_heights(fields, "from_height")
        case ops.REGION_REGISTER:
            fields.any("region")
        case ops.REGION_RECOVER:
            check_network(fields.any("region"))
            fields.any("trust_root")
            fields.integer("from_height", minimum=1)
            fields.hex("previous_anchored_id", max_size=MAX_ID_BYTES)
        case _:
            fields.text("public_key", max_size=MAX_KEY_TEXT)
            if operation["type"] == shared.SIGNER_SET:
                for name in ("organisation", "role", "person", "label"):
                    if name in operation or name in ("organisation", "role"):
                        fields.any(name)
                signers.signer_of(operation)
    check_label(fields.any("reason"), "reason")
    fields.end()


def _object(fields: Fields, name: str) -> None:
    if not isinstance(fields.any(name), dict):
        raise Malformed("field_type", f"{name} is an object.", field=name)


def _check_heights(fields: Fields, name: str) -> None:
    fields.integer(name, minimum=1)
    if fields.has("replaces"):
        fields.integer("replaces", minimum=1)


def register(records: Records, context: BlockContext, operation: dict[str, Any]) -> None:
    """Add a region.

    Raises `Conflict` with `region_known`, `region_chain_known`, `region_letters_taken`;
    `RuleBroken('regions_too_many')` or `Malformed`.
    """
    document = operation["region"]
    record = regions.new_region(
        document,
        custody_network=context.network,
        now_ms=context.time_ms,
        protocol_version=context.protocol_version,
    )
    if records.get(REGIONS, RegionKey(record.network)) is not None:
        raise Conflict("region_known", "This network is a region already.", region=record.network)
    known = [region for _, region in records.scan(REGIONS, regions.MAX_REGIONS)]
    if len(known) >= regions.MAX_REGIONS:
        raise RuleBroken("regions_too_many", "There is no room for another region.", limit=regions.MAX_REGIONS)
    _check_new(record, known, context.time_ms)
    regions.add_region(records, record)
    write_log(records, _moment(context, record), RegisteredLine(reason=operation["reason"]))


def _check_new(record: Region, known: list[Region], now_ms: int) -> None:
    """A chain has one network id, and a market one chain that lives. Raises `Conflict`."""
    for other in known:
        if other.client.genesis_id == record.client.genesis_id:
            raise Conflict("region_chain_known", "The chain is a region under another name.", region=other.network)
        lives = regions.derived_state(other, now_ms) in ("active", "lagging")
        if lives and other.region_letters == record.region_letters:
            raise Conflict("region_letters_taken", "A region that lives has these letters.", region=other.network)


def recover(records: Records, context: BlockContext, operation: dict[str, Any], tx_id: bytes) -> None:
    """Give a frozen, expired or lost region a new trusted tip.

    Raises `RuleBroken`, `Conflict`, `NotFound` or `Malformed`.
    """
    network = operation["region"]
    record = regions.load(records, network)
    root, checkpoint = _new_trust(record, context, operation)
    evidence = _evidence(records, record)
    judged = regions.judged_pairs(record, [shown for _, shown in evidence], checkpoint.height)
    recovered = _trusted_anew(record, root, checkpoint, judged, context.time_ms)
    records.put(REGIONS, RegionKey(network), recovered)
    regions.keep_anchored_id(records, recovered, checkpoint.height, checkpoint.id.hex())
    moment = _moment(context, recovered)
    for key, shown in evidence:
        records.put(MISBEHAVIOURS, key, replace(shown, recovered_height=context.height))
    judge_touched(records, moment)
    line = RecoveredLine(
        from_height=operation["from_height"],
        previous_height=record.anchored.height,
        previous_anchored_id=record.anchored.id,
        reason=operation["reason"],
        tx_id=tx_id.hex(),
    )
    write_log(records, moment, line)


def _new_trust(record: Region, context: BlockContext, operation: dict[str, Any]) -> tuple[TrustRoot, Checkpoint]:
    """The root and checkpoint of a recovery that is allowed. Raises `RuleBroken`, `Conflict` or `Malformed`."""
    network = record.network
    if regions.derived_state(record, context.time_ms) == "active":
        raise RuleBroken("region_active", "An active region needs no recovery.", region=network)
    if operation["previous_anchored_id"] != record.anchored.id:
        raise Conflict("recovery_outdated", "Another block is anchored than the proposal names.", region=network)
    root = TrustRoot.from_json(operation["trust_root"])
    checkpoint = root.checkpoint
    client = record.client
    if (root.network, root.genesis_id.hex(), root.client_type) != (
        network,
        client.genesis_id,
        client.client_type,
    ):
        raise Malformed("recovery_root", "The root is of another chain; register it as a new region.", region=network)
    if checkpoint is None or checkpoint.height != operation["from_height"] - 1:
        raise Malformed(
            "recovery_root", "The root needs a checkpoint at the height before from_height.", region=network
        )
    regions.check_time(root, context.time_ms)
    _check_forward(record, checkpoint)
    return root, checkpoint


def _evidence(records: Records, record: Region) -> list[tuple[MisbehaviourKey, MisbehaviourRecord]]:
    """For what a region is frozen, and what named the culprits if that did not."""
    network, frozen = record.network, record.frozen
    if frozen is None:
        return []
    keys = [MisbehaviourKey(network, frozen.custody_height, FROZE)]
    if frozen.named_custody_height is not None:
        keys.append(MisbehaviourKey(network, frozen.named_custody_height, NAMED))
    return [(key, shown) for key in keys if (shown := records.get(MISBEHAVIOURS, key)) is not None]


def _trusted_anew(
    record: Region, root: TrustRoot, checkpoint: Checkpoint, judged: tuple[regions.Pair, ...], now_ms: int
) -> Region:
    """A region's record once governance trusts `checkpoint`."""
    part = regions.delivered_part(record)
    return replace(
        record,
        client=regions.kept_client(ClientState.from_root(root, established_ms=now_ms)),
        anchored=AnchoredTip(checkpoint.height, checkpoint.id.hex(), checkpoint.time_ms),
        partial=None,
        frozen=None,
        recoveries=record.recoveries + 1,
        abandoned=part if part is not None and part.height > checkpoint.height else None,
        judged=judged,
        gaps=regions.gaps_with(record.gaps, record.anchored.height, checkpoint.height),
    )


def _check_forward(record: Region, checkpoint: Checkpoint) -> None:
    """The checkpoint is the anchored block as it is, or one above it.

    Raises `RuleBroken('recovery_backwards')`, `Malformed('recovery_root')`.
    """
    anchored = record.anchored
    if checkpoint.height > anchored.height:
        return
    if checkpoint.height < anchored.height or checkpoint.id.hex() != anchored.id:
        raise RuleBroken(
            "recovery_backwards", "A recovery leaves anchored blocks as they are.", anchored_height=anchored.height
        )
    if checkpoint.time_ms != anchored.time_ms and not regions.is_tip_given(record):
        raise Malformed("recovery_root", "The anchored block has another time.", time_ms=anchored.time_ms)


def change_validators(view: StateView, context: BlockContext, operation: dict[str, Any]) -> None:
    """Schedule another set. Raises as `common.chain.governance.change_validators`."""
    members = [_member(item) for item in operation["validators"]]
    shared.change_validators(view, context, members, operation["effective_height"], operation.get("replaces"))


def _member(item: Any) -> dict[str, Any]:
    wrong = complaint(item, {"name", "organisation", "public_key"})
    if wrong is not None or not isinstance(item["public_key"], str):
        raise Malformed("validators_invalid", "A validator has name, organisation and public_key.")
    return dict(item)


def activate_protocol(view: StateView, context: BlockContext, operation: dict[str, Any]) -> None:
    """Schedule the next protocol version. Raises as `schedule_protocol`."""
    schedule_protocol(view, context, operation["version"], operation["height"], operation.get("replaces"))


def set_parameters(view: StateView, context: BlockContext, operation: dict[str, Any]) -> None:
    """Schedule other parameters. Raises as `common.chain.governed_parameters.set_parameters`."""
    governed_parameters.set_parameters(
        view, context, operation["values"], operation["height"], operation.get("replaces")
    )


def set_signer(view: StateView, context: BlockContext, operation: dict[str, Any]) -> None:
    """Register a key, or change whose it is. Raises as `common.chain.governance.set_signer`."""
    shared.set_signer(view, context, operation["public_key"], signers.signer_of(operation))


def remove_signer(view: StateView, context: BlockContext, operation: dict[str, Any]) -> None:
    """A key may sign nothing any more. Raises as `common.chain.governance.remove_signer`."""
    shared.remove_signer(view, context, operation["public_key"])


def set_rule(records: Records, context: BlockContext, operation: dict[str, Any]) -> None:
    """Put a supervisory rule into force with parameters from a height on; null takes it out of force.

    Raises `RuleBroken` with `rule_unknown`, `effective_height_out_of_range`; `Malformed` with
    `rule_parameter_unknown`, `rule_parameter_out_of_range`; `Conflict` with `change_pending`, `change_not_pending`.
    """
    rule = RULES.get(operation["id"])
    if rule is None or rule.since > context.protocol_version or not rule.governed:
        raise RuleBroken("rule_unknown", "Governance has no such supervisory rule.", rule=operation["id"])
    for name, value in (operation["parameters"] or {}).items():
        if name not in rule.parameters or type(value) is not int:
            shown = ascii(name)[1:-1][:64]
            raise Malformed("rule_parameter_unknown", "The rule has no such number to set.", parameter=shown)
        least, most = rule.bounds[name]
        if not least <= value <= most:
            raise Malformed(
                "rule_parameter_out_of_range",
                "The number makes no sense in the rule.",
                parameter=name,
                minimum=least,
                maximum=most,
            )
    check_lead(context, operation["from_height"])
    known = records.get(RULE_SETTINGS, Only()) or RuleSettings()
    settings = known.rules.get(rule.rule, ())
    past = [setting for setting in settings if setting.from_height <= context.height][-1:]
    pending = [setting.from_height for setting in settings if setting.from_height > context.height]
    check_replaces(pending[0] if pending else None, operation.get("replaces"))
    following = RuleSetting(operation["from_height"], operation["parameters"])
    records.put(RULE_SETTINGS, Only(), RuleSettings({**known.rules, rule.rule: (*past, following)}))


def _moment(context: BlockContext, record: Region) -> Moment:
    return Moment(
        suite=context.genesis.suite,
        network=record.network,
        letters=record.region_letters,
        custody_height=context.height,
        custody_time_ms=context.time_ms,
        height=record.anchored.height,
        index=0,
    )
