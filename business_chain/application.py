"""The business chain's rules as the node's application (port: common.chain.application).

A transaction is applied all or none: the first operation that is refused names its index and code, and the executor
drops every change. Invariants A1-A4 of the port hold; besides:
  B1  A business id is applied at most once for ever. Applied again, it is an included rejection `business_id_used`; the
      HTTP edge answers a resend of the same content with the first receipt (`first_application`).
  B2  Roles and approvals are judged in consensus, not only at admission.
  B3  Admission refuses what can never become valid (shape, codes, policy, a used business id) and nothing else.

Left out: queries (routes), the meaning of operations (operations).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from business_chain import block_work
from business_chain.ledger import Ledger
from business_chain.operations import operation_types
from business_chain.operations.operation_records import Operation
from business_chain.operations.operation_types import BusinessOperation
from business_chain.refusals import refuse
from business_chain.sealed_index import sealed_after
from business_chain.settings import parse_settings
from business_chain.state import (
    BusinessIds,
    Subject,
    check_unused,
    encode_value,
    read_business,
    subject_key,
)
from common.chain import evidence
from common.chain.application import BlockContext, Outcome, StateReader, StateView
from common.chain.policy import authorise, rules_at, write_initial_policy
from common.chain.schedule import check_genesis_seats
from common.chain.signers import read_signer, write_initial_signers
from common.core.codec import canonical_json_of_checked
from common.core.errors import Rejected
from common.core.genesis import Genesis
from common.core.suite import Suite
from common.core.transaction import SignedTransaction
from common.model.codes import holds_resident_number
from common.model.object_header import MODEL_PROTOCOL, MODEL_VERSION
from common.model.sealed import MAX_SEALED_BYTES, SealedBody
from common.model.values import date
from common.node.store.chain_reader import ChainReader

OPERATION_TAG: Final = "tongjian/operation/v1"
MAX_TRANSACTION_ENTRIES: Final = 1000
"""Holders of increases, and parts of pledges and freezes, that one transaction may list: as many as operations."""
MAX_KEPT_BYTES: Final = 16 * 1024 * 1024
"""Envelopes of the transactions whose records wait for their execution, together: 48,000 transfers in hundreds. Records
of transfers take about as much as their envelopes; at most they take twice as much, if all name sealed bodies.
"""


def operation_hash(suite: Suite, document: dict[str, Any]) -> bytes:
    """What "the same content" means: the tagged hash of an operation's canonical bytes. It was checked as a part of an
    envelope.
    """
    return suite.tagged_hash(OPERATION_TAG, canonical_json_of_checked(document))


def _registered(state: StateReader) -> Callable[[str], bool]:
    """Whether a public key, in text form, is registered here."""
    return lambda public_key: read_signer(state, public_key) is not None


class BusinessApplication:
    """The rules of one regional market's chain, as its genesis sets them. Raises `Malformed` for a bad genesis."""

    def __init__(self, genesis: Genesis) -> None:
        self._suite = genesis.suite
        check_genesis_seats(genesis)
        self._settings = parse_settings(
            genesis.application, genesis.suite, operation_types.OPERATIONS.at(genesis.protocol_version)
        )
        self._kept: OrderedDict[tuple[int, bytes], tuple[int, list[Operation]]] = OrderedDict()
        self._kept_bytes = 0

    def _keep(self, version: int, tx: SignedTransaction, operations: list[Operation]) -> None:
        """Remember the records of an admitted transaction, which is executed soon: reading them again would cost more
        than moving the shares. They are a function of protocol version and transaction id, so whether they are kept
        changes nothing. The oldest go first: those that were admitted and never executed do not keep others out.
        """
        key = version, tx.id
        if key in self._kept:
            return
        size_bytes = len(tx.envelope)
        self._kept[key] = size_bytes, operations
        self._kept_bytes += size_bytes
        while self._kept_bytes > MAX_KEPT_BYTES:
            self._kept_bytes -= self._kept.popitem(last=False)[1][0]

    def _take_kept(self, version: int, tx_id: bytes) -> list[Operation] | None:
        """The records kept for a transaction, now that it is executed."""
        kept = self._kept.pop((version, tx_id), None)
        if kept is None:
            return None
        self._kept_bytes -= kept[0]
        return kept[1]

    def initial_state(self, genesis: Genesis, state: StateView) -> None:
        """Signers, policy and the market's own subject."""
        settings = self._settings
        write_initial_signers(state, settings.signers)
        write_initial_policy(state, settings.policy)
        market = settings.market
        subject = Subject(credit_code=market.credit_code, kind="organisation", name=market.name)
        state.put(subject_key(market.object_id), encode_value(subject))

    def check(self, tx: SignedTransaction, state: StateReader, context: BlockContext) -> None:
        """Admission (B3). Raises `Rejected`; `business_id_used` if an id is applied in committed state already."""
        if evidence.is_evidence(tx):
            evidence.check(tx, state, context.genesis, _registered(state))
            return
        if holds_resident_number(tx.nonce):
            raise refuse("personal_identifier", field="nonce")
        types = operation_types.OPERATIONS.at(context.protocol_version)
        operations = self._read_operations(tx.operations, types)
        authorise(state, tx.signers, tx.operation_types, types, context.height)
        seen: set[str] = set()
        for index, operation in enumerate(operations):
            try:
                if operation.business_id in seen:
                    raise refuse("business_id_used", business_id=operation.business_id)
                seen.add(operation.business_id)
                check_unused(state, operation.business_id)
            except Rejected as refusal:
                refusal.parameters["operation_index"] = index
                raise
        self._keep(context.protocol_version, tx, operations)

    def begin_block(self, context: BlockContext, state: StateView) -> Outcome:
        """Work that operations queued is done; nothing else happens by itself."""
        return block_work.take_up(context, state)

    def execute(self, tx: SignedTransaction, context: BlockContext, state: StateView) -> Outcome:
        """Apply all operations, or raise `Rejected` with the index of the first that is refused."""
        if evidence.is_evidence(tx):
            return evidence.execute(tx, context, state, _registered(state))
        version = context.protocol_version
        types = operation_types.OPERATIONS.at(version)
        operations = self._take_kept(version, tx.id) or self._read_operations(tx.operations, types)
        authorise(state, tx.signers, tx.operation_types, types, context.height)
        ledger = Ledger(state, self._settings.market, context)
        business_ids = BusinessIds(state, self._suite, tx.id)
        latest_ms = context.time_ms + context.parameters.max_clock_ahead_ms
        for index, operation in enumerate(operations):
            ledger.begin(operation)
            try:
                business_ids.enter(operation.business_id, operation_hash(self._suite, tx.operations[index]))
                if operation.occurred_at_ms > latest_ms:
                    raise refuse("occurred_in_future", field="occurred_at_ms")
                if ledger.effective_date is not None and ledger.effective_date > date(latest_ms):
                    raise refuse("effective_date_in_future", effective_date=ledger.effective_date)
                types[operation.TYPE].rule(operation, ledger)
            except Rejected as refusal:
                refusal.parameters["operation_index"] = index
                raise
        business_ids.write()
        return Outcome(snapshots=ledger.snapshots, objects=ledger.objects)

    def first_application(self, tx: SignedTransaction, state: StateReader) -> bytes | None:
        """The id of the transaction that applied exactly these operations before, or None.

        The contract's answer to a resend: same business ids, same content, all from one transaction.
        """
        first: bytes | None = None
        for document in tx.operations:
            business_id = document.get("business_id")
            if not isinstance(business_id, str) or not business_id.isascii():
                return None
            record = read_business(state, business_id)
            if record is None or record.content != operation_hash(self._suite, document):
                return None
            if first is not None and record.tx_id != first:
                return None
            first = record.tx_id
        return first

    def business_transaction(self, business_id: str, state: StateReader) -> bytes | None:
        """The id of the transaction that applied this business id, or None."""
        record = read_business(state, business_id) if business_id.isascii() else None
        return None if record is None else record.tx_id

    def sealed_bodies(self, chain: ChainReader, after: bytes | None, limit: int) -> list[tuple[bytes, SealedBody]]:
        """Commitments to bodies off the chain, in the order of blocks, each with its cursor."""
        return sealed_after(chain, after, limit)

    def operation_types(self, version: int) -> list[str]:
        """The operation types that a block of this protocol version accepts, sorted."""
        return sorted([*operation_types.OPERATIONS.at(version), *evidence.EVIDENCE_TYPES])

    def describe(self, state: StateReader, context: BlockContext) -> dict[str, Any]:
        """Facts for the options endpoint."""
        settings = self._settings
        return {
            "region_letters": settings.region_letters,
            "name": settings.market.name,
            "market_object_id": settings.market.object_id,
            "data_model": {"protocol": MODEL_PROTOCOL, "version": MODEL_VERSION},
            "result_states": ["applied", "rejected"],
            "limits": {"transaction_entries": MAX_TRANSACTION_ENTRIES, "sealed_body_bytes": MAX_SEALED_BYTES},
            "policy": {
                operation_type: rule.to_json()
                for operation_type, rule in rules_at(
                    state, operation_types.OPERATIONS.at(context.protocol_version), context.height
                ).items()
            },
        }

    @staticmethod
    def _read_operations(
        documents: Sequence[dict[str, Any]], types: Mapping[str, BusinessOperation]
    ) -> list[Operation]:
        """Records of all operations, with what can be judged without state; each is one of `types`."""
        operations = []
        entries = 0
        for index, document in enumerate(documents):
            try:
                operation = operation_types.parse_operation(document, types)
                entries += operation_types.check_shape(operation)
                if entries > MAX_TRANSACTION_ENTRIES:
                    raise refuse("entries_limit", limit=MAX_TRANSACTION_ENTRIES)
            except Rejected as refusal:
                refusal.parameters["operation_index"] = index
                raise
            operations.append(operation)
        return operations
