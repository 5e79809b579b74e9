"""The custody chain's rules as the node's application (port: common.chain.application).

Invariants (A1-A4 of the port hold; besides):
  * Roles are judged in consensus, not only at admission.
  * A transaction is applied all or none, with one exception that is no failure: a delivery that proves misbehaviour is
    applied up to there and freezes the region.
  * Nothing that a region's chain contains can reach any operation but its own entry in `crosslink.submit` (attack R8).
  * The model's schemas are those that genesis names (protocol rule 18), until a later protocol version has others; a
    node whose schemas for genesis are others refuses to start.

Left out: queries (routes), what snapshots mean (`ingest`, `supervision`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from common.chain import evidence, work
from common.chain.application import BlockContext, Outcome, StateReader, StateView
from common.chain.policy import authorise, parse_policy, rules_at, write_initial_policy
from common.chain.schedule import MAX_SEATS_FIELD, check_genesis_seats
from common.chain.signers import parse_signers, read_signer, write_initial_signers
from common.core.codec import canonical_json
from common.core.errors import Malformed, Rejected, TooLarge
from common.core.exact_fields import complaint
from common.core.genesis import Genesis
from common.core.names import check_network
from common.core.suite import Suite, parse_hex
from common.core.transaction import SignedTransaction
from common.model.schemas import SCHEMA_SETS, model_schema_hash
from crosslink.lightclient.delivery import MAX_OPERATION_BYTES
from custody_chain import regions
from custody_chain.anchoring import Source
from custody_chain.intake import ANOMALY_CODES
from custody_chain.operation_names import RULES_SET
from custody_chain.operations import OPERATIONS, CustodyOperation, OperationScope, known_operations
from custody_chain.records import Records
from custody_chain.supervision import refile, rejudging
from custody_chain.supervision.alerts import Moment
from custody_chain.supervision.rules import RULES, parameters_of
from custody_chain.tables.objects import MODEL_SCHEMA, ModelSchema
from custody_chain.tables.regions import MISBEHAVIOURS, REGIONS, Region
from custody_chain.tables.rules import RULE_SETTINGS
from custody_chain.tables.table import Only

_REQUIRED: Final = {"regions", "signers", "model_schema_hash"}


class CustodyApplication:
    """The custody chain as its genesis sets it up. Raises `Malformed` for a bad genesis."""

    def __init__(self, genesis: Genesis) -> None:
        application = genesis.application
        wrong = complaint(application, _REQUIRED, {"policy", MAX_SEATS_FIELD})
        if wrong is not None:
            raise Malformed("genesis_application", f"application {wrong}.", field="application")
        check_genesis_seats(genesis)
        self._suite: Suite = genesis.suite
        self._signers = parse_signers(application["signers"], genesis.suite)
        types = OPERATIONS.at(genesis.protocol_version)
        self._policy = parse_policy(application.get("policy", {}), types, code="genesis_application")
        self._schema_hash = model_schema_hash(genesis.suite, genesis.protocol_version)
        pinned = application["model_schema_hash"]
        if not isinstance(pinned, str) or parse_hex(pinned, "model_schema_hash", 32) != self._schema_hash:
            raise Malformed("model_schema_hash", "This node's schemas are not those that the genesis names.")
        self._regions = _parse_regions(application["regions"], genesis)

    def initial_state(self, genesis: Genesis, view: StateView) -> None:
        """Signers, policy, schema hash and regions."""
        write_initial_signers(view, self._signers)
        write_initial_policy(view, self._policy)
        records = Records(view, genesis.protocol_version)
        records.put(MODEL_SCHEMA, Only(), ModelSchema(self._schema_hash.hex()))
        for record in self._regions:
            regions.add_region(records, record)
        records.flush()

    def check(self, tx: SignedTransaction, reader: StateReader, context: BlockContext) -> None:
        """Admission: types, roles, shapes. Raises `Rejected`; a refused operation is named by `operation_index`."""
        if evidence.is_evidence(tx):
            evidence.check(tx, reader, context.genesis, _registered(reader))
            return
        known = self._authorise(tx, reader, context)
        for number, operation in enumerate(tx.operations):
            try:
                _check_size(tx, operation)
                known[operation["type"]].check_shape(operation)
            except Rejected as refusal:
                refusal.parameters.setdefault("operation_index", number)
                raise

    def begin_block(self, context: BlockContext, view: StateView) -> Outcome:
        """Queued work is done, a bounded number of units a block, which the lanes share. It makes no snapshots."""
        records = Records(view, context.protocol_version)
        due = rejudging.rules_due(records, context.height)
        if not due and not work.is_queued(view):
            return Outcome()
        networks = [key.region for key, _ in records.scan(REGIONS, regions.MAX_REGIONS)]
        lanes = [context.network, *networks]
        rejudging.queue(records, due, lanes)
        records.flush()

        def moment_of(network: str) -> Moment:
            record = None if network == context.network else regions.load(records, network)
            return Moment(
                suite=self._suite,
                network=network,
                letters="" if record is None else record.region_letters,
                custody_height=context.height,
                custody_time_ms=context.time_ms,
                height=0 if record is None else record.anchored.height,
                index=0,
            )

        workers = refile.workers(records, moment_of)
        workers[rejudging.REJUDGE] = rejudging.worker(records, context.network, moment_of)
        work.take_up(view, lanes, refile.MAX_UNITS, context.height, workers)
        records.flush()
        return Outcome()

    def execute(self, tx: SignedTransaction, context: BlockContext, view: StateView) -> Outcome:
        """Apply all operations, or raise `Rejected`. The custody chain makes no snapshots of its own."""
        if evidence.is_evidence(tx):
            return evidence.execute(tx, context, view, _registered(view))
        known = self._authorise(tx, view, context)
        records = Records(view, context.protocol_version)
        for number, operation in enumerate(tx.operations):
            declared = known[operation["type"]]
            try:
                _check_size(tx, operation)
                if declared.governs:
                    declared.check_shape(operation)  # others are parsed by their rule
                source = Source(tx_id=tx.id, operation=number, submitter=tx.signers[0])
                declared.rule(OperationScope(view, records, context, source), operation)
            except Rejected as refusal:
                refusal.parameters.setdefault("operation_index", number)
                raise
        records.flush()
        return Outcome()

    @staticmethod
    def _authorise(tx: SignedTransaction, reader: StateReader, context: BlockContext) -> Mapping[str, CustodyOperation]:
        """The operations that the block knows, once the signers may make those of `tx`. Raises `Rejected`."""
        known = known_operations(tx, context.protocol_version)
        authorise(reader, tx.signers, tx.operation_types, known, context.height)
        return known

    def operation_types(self, version: int) -> list[str]:
        """Sorted."""
        return sorted([*OPERATIONS.at(version), *evidence.EVIDENCE_TYPES])

    def describe(self, reader: StateReader, context: BlockContext) -> dict[str, Any]:
        """For the options endpoint."""
        version = context.protocol_version
        stored = reader.get(RULE_SETTINGS.path(Only()))
        settings = None if stored is None else RULE_SETTINGS.decode(stored)
        known = [rule for rule in RULES.values() if rule.since <= version]
        rules = rules_at(reader, OPERATIONS.at(version), context.height)
        return {
            "model_schema_hash": model_schema_hash(self._suite, version).hex(),
            "object_kinds": SCHEMA_SETS.at(version).kinds(),
            "alert_rules": {
                rule.rule: rule.source for rule in known if parameters_of(settings, rule, context.height) is not None
            },
            "anomaly_codes": list(ANOMALY_CODES),
            "max_operation_bytes": MAX_OPERATION_BYTES,
            "policy": {name: rule.to_json() for name, rule in rules.items()},
        }

    def pending_rules(self, reader: StateReader, height: int) -> list[dict[str, Any]]:
        """See `node_ports.GovernedRules`."""
        stored = reader.get(RULE_SETTINGS.path(Only()))
        settings = {} if stored is None else RULE_SETTINGS.decode(stored).rules
        return [
            {"operation": RULES_SET, "height": setting.from_height, "id": rule, "parameters": setting.parameters}
            for rule in sorted(settings)
            for setting in settings[rule]
            if setting.from_height > height
        ]

    def region_evidence_prefix(self, network: str) -> bytes:
        """See `node_ports.RegionEvidence`. Raises `Malformed('network_name')`."""
        return MISBEHAVIOURS.prefix(check_network(network))

    def sub_networks(self, reader: StateReader) -> list[dict[str, Any]]:
        """The regions, for the list of networks (JR/T 0314-2024 chapter 7)."""
        records = [REGIONS.decode(value) for _, value in reader.scan(REGIONS.prefix(), regions.MAX_REGIONS)]
        return [
            {"network_id": record.network, "description": f"business chain, region {record.region_letters}"}
            for record in records
        ]


def _registered(reader: StateReader) -> Callable[[str], bool]:
    """Whether a public key, in text form, is registered here."""
    return lambda public_key: read_signer(reader, public_key) is not None


def _parse_regions(documents: Any, genesis: Genesis) -> list[Region]:
    if not isinstance(documents, list) or len(documents) > regions.MAX_REGIONS:
        raise Malformed("genesis_application", f"regions is not a list of at most {regions.MAX_REGIONS}.")
    records: dict[str, Region] = {}
    for document in documents:
        record = regions.new_region(
            document, custody_network=genesis.network, now_ms=genesis.time_ms, protocol_version=1
        )
        if record.network in records:
            raise Malformed("genesis_application", "A region is named twice.", field="regions")
        records[record.network] = record
    return [records[network] for network in sorted(records)]


def _check_size(tx: SignedTransaction, operation: Mapping[str, Any]) -> None:
    """A delivery must leave room for others in a block (attack N1)."""
    if len(tx.envelope) <= MAX_OPERATION_BYTES:
        return
    if len(canonical_json(operation)) > MAX_OPERATION_BYTES:
        raise TooLarge("operation_too_large", "An operation is too large.", limit=MAX_OPERATION_BYTES)
