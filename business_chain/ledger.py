"""One transaction at work: typed reads and writes of state, and the snapshots it makes, in business order.

The operations speak to this class alone. Invariants
  L1  Whatever changes an object makes its snapshot: `create` with version 0, then `update` with the next version,
      always in full (never incremental), so that each stands for itself.
  L2  References name the version that the object had when the business began; what it became comes after.
  L3  A movement goes through `move`, which keeps S2 of `state` and makes the holder's registration snapshot; `issue`
      counts what is registered newly, and `settle` keeps S1.
  L4  The market's own subject object is created by the first transaction that refers to it, since genesis makes no
      snapshots.

Left out: the rules.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from business_chain.balances import NOTHING_HELD, Holding, decode_holding, encode_holding
from business_chain.movement import AffectedHolder, Movement
from business_chain.operations.operation_records import Operation, Registration
from business_chain.refusals import refuse
from business_chain.sealed_index import note_sealed
from business_chain.settings import Market
from business_chain.state import (
    EQUITY_TYPES,
    Account,
    Product,
    Standing,
    Subject,
    account_holding_prefix,
    account_key,
    adjust_shareholder,
    decode_account,
    decode_product,
    decode_subject,
    encode_value,
    holding_key,
    product_key,
    read_standing,
    standing_index_key,
    subject_key,
)
from common.chain.application import BlockContext, StateView
from common.core.errors import InvariantBroken
from common.model.document import encode_document
from common.model.enumerations import NOT_TRADING, TRADING
from common.model.kinds.account import ACCOUNT, account_body
from common.model.kinds.product import PRODUCT, product_body, product_metadata
from common.model.kinds.registration import REGISTRATION, RegistrationMetadata, registration_body, stated_natures
from common.model.kinds.subject import SUBJECT, subject_body, subject_metadata
from common.model.object_header import CREATE, UPDATE, assemble_snapshot
from common.model.quantities import exact_quantity
from common.model.sealed import sealed_metadata
from common.model.values import date_time, reference

_MARKET_CREATED_KEY: Final = b"market-created"


class Ledger:
    """State, the block that it runs in, and the snapshots that one transaction made so far.

    `operation` is the one being applied.
    """

    __slots__ = (
        "context",
        "effective_date",
        "maintained_at",
        "market",
        "metadata",
        "objects",
        "occurred_at",
        "operation",
        "snapshots",
        "state",
    )

    def __init__(self, state: StateView, market: Market, context: BlockContext) -> None:
        self.context = context
        self.state = state
        self.market = market
        self.maintained_at = date_time(context.time_ms)
        self.snapshots: list[bytes] = []
        self.objects: list[tuple[str, int]] = []
        self.operation: Operation
        self.occurred_at: str
        self.effective_date: str | None
        self.metadata: dict[str, Any]

    def begin(self, operation: Operation) -> None:
        """Start on the next operation: its id, type, basis and sealed bodies go into the metadata of what it makes."""
        self.operation = operation
        self.occurred_at = date_time(operation.occurred_at_ms)
        self.effective_date = operation.effective_date if isinstance(operation, Registration) else None
        self.metadata = {"business_id": operation.business_id, "operation": operation.TYPE}
        if operation.basis is not None:
            basis = msgspec.structs.asdict(operation.basis)
            self.metadata["basis"] = {name: value for name, value in basis.items() if value is not None}
        if operation.sealed_bodies:
            self.metadata |= sealed_metadata(operation.sealed_bodies)
            note_sealed(self.state, self.context.height, operation.sealed_bodies)

    def emit(self, kind: str, object_id: str, version: int, body: bytes, metadata: Any) -> None:
        """Add a snapshot of a body in canonical JSON: a create if `version` is 0, else an update."""
        self.snapshots.append(
            assemble_snapshot(
                kind=kind,
                object_id=object_id,
                version=version,
                operation=CREATE if version == 0 else UPDATE,
                timestamp_s=self.operation.occurred_at_ms // 1000,
                body=body,
                metadata=encode_document(metadata),
            )
        )
        self.objects.append((object_id, version))

    # subjects, accounts, products

    def subject(self, object_id: str) -> Subject:
        """Raises `subject_unknown`."""
        data = self.state.get(subject_key(object_id))
        if data is None:
            raise refuse("subject_unknown", object_id=object_id)
        return decode_subject(data)

    def subject_reference(self, object_id: str) -> str:
        """Reference to a subject that exists, at its present version."""
        return reference(object_id, read_standing(self.state, object_id).version)

    def emit_subject(self, object_id: str, subject: Subject, standing: Standing) -> None:
        """Snapshot of a subject as it is now."""
        body = subject_body(
            subject_id=subject.investor_code or subject.enterprise_code or subject.credit_code or object_id,
            kind=subject.kind,
            maintained_at=self.maintained_at,
            shareholders=standing.shareholders,
            name=subject.name,
            credit_code=subject.credit_code,
            name_commitment=subject.name_commitment,
            identity_commitment=subject.identity_commitment,
            qualification_category=subject.qualification_category,
            qualification_certified_at_ms=subject.qualification_certified_at_ms,
        )
        metadata = subject_metadata(
            enterprise_code=subject.enterprise_code,
            investor_code=subject.investor_code,
            qualification_category=subject.qualification_category,
        )
        self.emit(SUBJECT, object_id, standing.version, body, self.metadata | metadata)

    def market_reference(self) -> str:
        """Reference to the market's subject; makes its create snapshot the first time (L4)."""
        if self.state.get_index(_MARKET_CREATED_KEY) is None:
            self.state.put_index(_MARKET_CREATED_KEY, b"1")
            subject = self.subject(self.market.object_id)
            self.emit_subject(self.market.object_id, subject, Standing(shareholders=0, version=0))
        return self.subject_reference(self.market.object_id)

    def account(self, account_id: str) -> Account:
        """Raises `account_unknown`."""
        data = self.state.get(account_key(account_id))
        if data is None:
            raise refuse("account_unknown", account=account_id)
        return decode_account(data)

    def save_account(self, account_id: str, account: Account) -> None:
        """Write an account and make its snapshot."""
        depository_ref = self.market_reference()
        self.state.put(account_key(account_id), encode_value(account))
        body = account_body(
            account=account_id,
            account_type=account.account_type,
            status=account.status,
            opened_at_ms=account.opened_at_ms,
            frozen_at_ms=account.frozen_at_ms,
            frozen_by=account.frozen_by,
            thawed_at_ms=account.thawed_at_ms,
            closed_at_ms=account.closed_at_ms,
            subject_ref=self.subject_reference(account.subject),
            depository_ref=depository_ref,
            maintained_at=self.maintained_at,
        )
        self.emit(ACCOUNT, account_id, account.version, body, self.metadata)

    def product(self, code: str) -> Product:
        """Raises `product_unknown`."""
        data = self.state.get(product_key(code))
        if data is None:
            raise refuse("product_unknown", product=code)
        return decode_product(data)

    def save_product(self, code: str, product: Product, *, total_before: int) -> None:
        """Write a product and make its snapshot."""
        market_ref = self.market_reference()
        self.state.put(product_key(code), encode_value(product))
        body = product_body(
            code=code,
            name=product.name,
            product_type=product.product_type,
            unit=product.unit,
            currency=product.currency,
            scale=product.scale,
            authorised_quantity=product.authorised_quantity,
            holder_limit=product.holder_limit,
            total_before=total_before,
            total=product.total,
            holders=product.holders,
            face_value_e4=product.face_value_e4,
            issue_price_e4=product.issue_price_e4,
            market_ref=market_ref,
            market_name=self.market.name,
            issuer_ref=self.subject_reference(product.issuer),
            issuer_name=self.subject(product.issuer).name or "",
            maintained_at=self.maintained_at,
        )
        metadata = product_metadata(
            product_type=product.product_type,
            holders=product.holders,
            total=product.total,
            scale=product.scale,
            face_value_e4=product.face_value_e4,
        )
        self.emit(PRODUCT, code, product.version, body, self.metadata | metadata)

    # balances

    def movement(self, code: str) -> Movement:
        """Begin to move quantity of a product. Raises `product_unknown`."""
        product = self.product(code)
        return Movement(code, product, reference(code, product.version))

    def holder(self, movement: Movement, account_id: str) -> AffectedHolder:
        """An account with what it holds of the product. Raises `account_unknown`."""
        account = self.account(account_id)
        key = holding_key(movement.code, account_id)
        data = self.state.get(key)
        before = NOTHING_HELD if data is None else decode_holding(data)
        return AffectedHolder(account_id, account, self.subject_reference(account.subject), key, before)

    def open_holder(self, movement: Movement, account_id: str, *, or_frozen: bool = False) -> AffectedHolder:
        """The same of an account on which securities may move. Raises `account_unknown`, `account_type_wrong`,
        `account_closed`, `account_frozen`.
        """
        holder = self.holder(movement, account_id)
        account = holder.account
        if account.account_type != "securities":
            raise refuse("account_type_wrong", account=account_id)
        if account.status == "closed":
            raise refuse("account_closed", account=account_id)
        if account.status == "frozen" and not or_frozen:
            raise refuse("account_frozen", account=account_id)
        return holder

    def registration_id(self, number: int) -> str:
        """Object id of this operation's n-th registration, counting from 1; 0 is its transfer report."""
        return f"{self.operation.business_id}:{number}"

    def move(
        self,
        movement: Movement,
        holder: AffectedHolder,
        after: Holding,
        *,
        report_ref: str | None = None,
        trading: bool = False,
        freeze_description: str | None = None,
        encumbrance: dict[str, Any] | None = None,
    ) -> None:
        """Set the balances of one holder and make the registration (create) that says so (L3).

        `encumbrance` names the pledge or freeze to which the registration belongs.
        """
        account, before, product = holder.account, holder.before, movement.product
        if after.balances:
            self.state.put(holder.key, encode_holding(after))
        else:
            self.state.delete(holder.key)
        if bool(before.balances) != bool(after.balances):
            self._count_holder(movement, holder.account_id, account.subject, 1 if after.balances else -1)
        figures_before, figures_after = before.figures, after.figures
        body = registration_body(
            figures_before,
            figures_after,
            business_id=self.operation.business_id,
            event_type=TRADING if trading else NOT_TRADING,
            product_ref=movement.product_ref,
            unit=product.unit,
            currency=product.currency,
            scale=product.scale,
            account_ref=reference(holder.account_id, account.version),
            subject_ref=holder.subject_ref,
            subject_kind=account.subject_kind,
            report_ref=report_ref,
            registered_at=self.occurred_at,
            maintained_at=self.maintained_at,
            note=self.operation.TYPE,
            freeze_description=freeze_description,
        )
        movement.registrations += 1
        stated = RegistrationMetadata(
            business_id=self.operation.business_id,
            operation=self.operation.TYPE,
            basis=self.metadata.get("basis"),
            sealed_bodies=self.metadata.get("sealed_bodies"),
            effective_date=self.effective_date,
            held_before=exact_quantity(figures_before.held, product.scale),
            held_after=exact_quantity(figures_after.held, product.scale),
            share_natures=stated_natures(product.scale, after.balances),
        )
        if encumbrance is not None:
            stated = msgspec.structs.replace(stated, **encumbrance)
        self.emit(REGISTRATION, self.registration_id(movement.registrations), 0, body, stated)

    def _count_holder(self, movement: Movement, account_id: str, subject: str, change: int) -> None:
        movement.holders_change += change
        index_key = account_holding_prefix(account_id) + movement.code.encode("ascii")
        if change > 0:
            self.state.put_index(index_key, b"1")
        else:
            self.state.delete_index(index_key)
        if movement.product.product_type in EQUITY_TYPES:
            movement.shareholders_change += adjust_shareholder(self.state, movement.product.issuer, subject, change)

    def settle(self, movement: Movement) -> None:
        """Bring product and issuer up to date after the last movement, where they changed (S1).

        Raises `holder_limit_exceeded`.
        """
        old = movement.product
        authorised = old.authorised_quantity if movement.authorised_quantity is None else movement.authorised_quantity
        holders, totals = old.holders + movement.holders_change, movement.totals()
        if old.holder_limit is not None and holders > old.holder_limit and movement.holders_change > 0:
            raise refuse("holder_limit_exceeded", product=movement.code, holders=holders, limit=old.holder_limit)
        if movement.holders_change or totals != old.totals or authorised != old.authorised_quantity:
            price = old.issue_price_e4 if movement.issue_price_e4 is None else movement.issue_price_e4
            product = msgspec.structs.replace(
                old,
                authorised_quantity=authorised,
                holders=holders,
                issue_price_e4=price,
                totals=totals,
                version=old.version + 1,
            )
            if product.total > authorised:
                raise InvariantBroken(f"{movement.code} has more registered than authorised: the rule did not check")
            self.save_product(movement.code, product, total_before=old.total)
        if movement.shareholders_change:
            standing = read_standing(self.state, old.issuer)
            standing = Standing(
                shareholders=standing.shareholders + movement.shareholders_change, version=standing.version + 1
            )
            self.state.put_index(standing_index_key(old.issuer), encode_value(standing))
            self.emit_subject(old.issuer, self.subject(old.issuer), standing)
