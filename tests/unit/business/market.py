"""A market in memory: the business application over a dict, with operations that are easy to write.

`Market.apply` runs one transaction as a node would (overlay, rollback on refusal) and keeps the snapshots it made.
"""

from __future__ import annotations

import hashlib
from typing import Any

from business_chain.application import BusinessApplication
from business_chain.balances import Holding, decode_holding
from business_chain.state import (
    Product,
    decode_product,
    holding_key,
    holding_prefix,
    product_key,
)
from common.chain.application import BlockContext, OverlayView
from common.chain.governance import GOVERNANCE_TYPES
from common.chain.governed_parameters import parameters_at
from common.core.codec import canonical_json
from common.core.genesis import Genesis, build_genesis
from common.core.snapshot import MAX_SNAPSHOT_BYTES
from common.core.suite import ED25519_SHA256
from common.core.transaction import SignedTransaction
from common.core.validators import Validator, ValidatorSet
from common.model.document import parse_document
from tests.support.dict_state import DictState

NOW_MS = 1_770_000_000_000
PRODUCT = "BJ000001.ESVUFR2601"
ISSUER = "BJ000001"
COMPANY = "北京样例智能科技股份有限公司"
CREDIT_CODE = "91110000FAKE00013H"


def seed(name: str) -> bytes:
    """A secret key derived from a name."""
    return hashlib.sha256(f"business tests {name}".encode()).digest()


def key(name: str) -> str:
    """The public key of `seed(name)`, in text form."""
    return ED25519_SHA256.format_key(ED25519_SHA256.public_key(seed(name)))


def signers_for(operation: dict[str, Any]) -> tuple[str, ...]:
    """Who makes an operation in the markets of these tests."""
    return ("governor",) if operation["type"] in GOVERNANCE_TYPES else ("operator",)


def commitment(text: str) -> str:
    """A stand-in for a salted commitment."""
    return hashlib.sha256(text.encode()).hexdigest()


def genesis(**application: Any) -> Genesis:
    """A business chain in Beijing with one operator; `application` overrides parts of `genesis.application`."""
    contents: dict[str, Any] = {
        "region_letters": "BJ",
        "name": "北京样例股权交易中心",
        "signers": [
            {"public_key": key("operator"), "organisation": "market", "role": "operator"},
            {"public_key": key("governor"), "organisation": "market", "role": "governance"},
        ],
        "policy": {},
        "max_seats_per_organisation": 1,
    }
    validator = Validator("v1", "market", ED25519_SHA256.public_key(seed("v1")))
    return build_genesis(
        network="beijing",
        tier="business",
        suite=ED25519_SHA256,
        time_ms=NOW_MS - 1000,
        validators=ValidatorSet((validator,)),
        application=contents | application,
    )


class Operations:
    """Makes operations with fresh business ids."""

    def __init__(self) -> None:
        self._numbers = 0

    def op(self, operation_type: str, business_id: str | None = None, **fields: Any) -> dict[str, Any]:
        """An operation with a fresh business id."""
        self._numbers += 1
        return {
            "type": operation_type,
            "business_id": business_id or f"b-{self._numbers}",
            "occurred_at_ms": NOW_MS - 60_000,
            **fields,
        }

    def issuer(self, **changes: Any) -> dict[str, Any]:
        """Registration of the company that issues."""
        fields: dict[str, Any] = {
            "object_id": ISSUER,
            "kind": "organisation",
            "name": COMPANY,
            "enterprise_code": ISSUER,
            "credit_code": CREDIT_CODE,
        }
        return self.op("subject.register", **(fields | changes))

    def person(self, number: int, **changes: Any) -> dict[str, Any]:
        """Registration of the natural person P<number>."""
        fields: dict[str, Any] = {
            "object_id": f"P{number}",
            "kind": "person",
            "investor_code": f"Q{number:09d}",
            "name_commitment": commitment(f"name {number}"),
            "identity_commitment": commitment(f"identity {number}"),
        }
        return self.op("subject.register", **(fields | changes))

    def account(self, number: int, **changes: Any) -> dict[str, Any]:
        """Opening of the account A<number> of P<number>."""
        fields = {"account": f"A{number}", "subject": f"P{number}", "account_type": "securities"}
        return self.op("account.open", **(fields | changes))

    def product(self, **changes: Any) -> dict[str, Any]:
        """Issue of the company's shares, 1,000 authorised."""
        fields: dict[str, Any] = {
            "product": PRODUCT,
            "issuer": ISSUER,
            "name": "普通股",
            "product_type": 2,
            "unit": "share",
            "scale": 0,
            "authorised_quantity": 1000,
        }
        return self.op("product.issue", **(fields | changes))

    def initial(self, number: int, quantity: int, **changes: Any) -> dict[str, Any]:
        """First registration on A<number>."""
        return self.op(
            "registration.initial", **{"product": PRODUCT, "account": f"A{number}", "quantity": quantity, **changes}
        )

    def transfer(self, seller: int, buyer: int, quantity: int, **changes: Any) -> dict[str, Any]:
        """Transfer from A<seller> to A<buyer>."""
        fields = {"product": PRODUCT, "from_account": f"A{seller}", "to_account": f"A{buyer}", "quantity": quantity}
        return self.op("registration.transfer", **(fields | changes))  # type: ignore[arg-type]

    def pledge(self, number: int, quantity: int, pledgee: str = "P2", **changes: Any) -> dict[str, Any]:
        """Pledge of A<number>'s quantity."""
        fields: dict[str, Any] = {
            "product": PRODUCT,
            "account": f"A{number}",
            "quantity": quantity,
            "pledgee": pledgee,
            "contract_number": "质押〔2026〕1号",
        }
        return self.op("registration.pledge", **(fields | changes))

    def freeze(self, number: int, quantity: int, **changes: Any) -> dict[str, Any]:
        """Freeze of A<number>'s quantity."""
        fields: dict[str, Any] = {
            "product": PRODUCT,
            "account": f"A{number}",
            "quantity": quantity,
            "authority": "样例人民法院",
            "order_number": "(2026)京01执1号",
        }
        return self.op("registration.freeze", **(fields | changes))

    def foundations(self, *holdings: int) -> list[dict[str, Any]]:
        """The issuer, its shares, and persons 1.. with accounts that hold `holdings` (at least three persons)."""
        count = max(3, len(holdings))
        return [
            self.issuer(),
            *(self.person(number) for number in range(1, count + 1)),
            *(self.account(number) for number in range(1, count + 1)),
            self.product(),
            *(self.initial(number, quantity) for number, quantity in enumerate(holdings, 1) if quantity),
        ]


class Market(Operations):
    """One chain's application and state."""

    def __init__(self, chain_genesis: Genesis | None = None) -> None:
        super().__init__()
        self.genesis = chain_genesis or genesis()
        self.application = BusinessApplication(self.genesis)
        self.store = DictState()
        view = OverlayView(self.store)
        self.application.initial_state(self.genesis, view)
        self.store.commit(view)
        self.height = 0
        self.time_ms = NOW_MS
        self.last_changes: dict[bytes, bytes | None] = {}
        self.last_objects: list[tuple[str, int]] = []
        self.protocol_version = 1

    def transaction(self, *operations: dict[str, Any], signers: tuple[str, ...] = ("operator",)) -> SignedTransaction:
        """An envelope as the node hands it over; signatures are the node's business."""
        self._numbers += 1
        envelope = canonical_json(list(operations))
        identity = hashlib.sha256(envelope + b"%d" % self._numbers).digest()
        return SignedTransaction(
            network=self.genesis.network,
            genesis=self.genesis.id,
            signers=tuple(key(name) for name in signers),
            nonce=str(self._numbers),
            expires_at_height=1000,
            operations=operations,
            operation_types=frozenset(str(operation.get("type")) for operation in operations),
            signatures=(b"",) * len(signers),
            id=identity,
            envelope=envelope,
            envelope_hash=identity,
        )

    def context(self) -> BlockContext:
        """The next block's context."""
        height = self.height + 1
        return BlockContext(
            network="beijing",
            height=height,
            time_ms=self.time_ms + 1000,
            genesis=self.genesis,
            validators=self.genesis.validators,
            protocol_version=self.protocol_version,
            parameters=parameters_at(self.store, self.genesis, height),
        )

    def execute(self, tx: SignedTransaction) -> list[dict[str, Any]]:
        """Apply a transaction in a block of its own; parsed snapshots. Raises `Rejected`, changing nothing."""
        context = self.context()
        self.height, self.time_ms = context.height, context.time_ms
        view = OverlayView(self.store)
        outcome = self.application.execute(tx, context, view)
        self.store.commit(view)
        self.last_changes = view.state_changes
        self.last_objects = list(outcome.objects)
        return [parse_document(snapshot, max_size=MAX_SNAPSHOT_BYTES) for snapshot in outcome.snapshots]

    def apply(self, *operations: dict[str, Any], signers: tuple[str, ...] = ("operator",)) -> list[dict[str, Any]]:
        """Apply operations as one transaction."""
        return self.execute(self.transaction(*operations, signers=signers))

    def check(self, *operations: dict[str, Any], signers: tuple[str, ...] = ("operator",)) -> None:
        """Admission."""
        self.application.check(self.transaction(*operations, signers=signers), self.store, self.context())

    def open_for_business(self, *holdings: int) -> Market:
        """Apply the foundations."""
        self.apply(*self.foundations(*holdings))
        return self

    # state

    def state_product(self, code: str = PRODUCT) -> Product:
        """The product's leaf."""
        return decode_product(self.store.values[product_key(code)])

    def holding(self, number: int, code: str = PRODUCT) -> Holding | None:
        """A<number>'s balances."""
        data = self.store.values.get(holding_key(code, f"A{number}"))
        return None if data is None else decode_holding(data)

    def register(self, code: str = PRODUCT) -> dict[str, Holding]:
        """All holdings of a product by account."""
        prefix = holding_prefix(code)
        return {item[len(prefix) :].decode(): decode_holding(data) for item, data in self.store.scan(prefix, 10**6)}
