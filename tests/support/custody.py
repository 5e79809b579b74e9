"""A custody chain's application at work in memory, fed by test chains: what a relay would deliver, without nodes.

State and index are plain dicts under the node's own overlay, so a rejected transaction leaves nothing; every applied
one makes a block. Bodies are minimal documents of the data model v2.0.0.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from common.chain.application import BlockContext, Outcome, OverlayView
from common.chain.governed_parameters import parameters_at
from common.core.codec import canonical_json
from common.core.errors import Rejected
from common.core.genesis import Genesis, build_genesis
from common.core.suite import ED25519_SHA256
from common.core.transaction import SignedTransaction, parse_envelope, sign_envelope
from common.model.object_header import build_snapshot
from common.model.schemas import model_schema_hash
from crosslink.lightclient.delivery import BlockDelivery, Delivery, SnapshotItem
from custody_chain.application import CustodyApplication
from custody_chain.operation_names import REGION_RECOVER
from tests.support.chains import START_MS, BuiltBlock, ChainBuilder, checkpoint, seed_of, validator_set
from tests.support.dict_state import DictState

SUITE = ED25519_SHA256
LETTERS = {"beijing": "BJ", "shanghai": "SH", "jiangsu": "JS", "zhejiang": "ZJ", "shenzhen": "SZX"}
ROLES = {
    "relay": "relay",
    "second-relay": "relay",
    "operator": "operator",
    "governance-1": "governance",
    "governance-2": "governance",
    "governance-3": "governance",
    "governance-4": "governance",
}
"""Registered keys of the test chain; each governance key belongs to an organisation of its own."""

GOVERNORS = ("governance-1", "governance-2", "governance-3")
"""A quorum of those that govern."""

TIME = "2026-01-01T08:00:00+08:00"


def public_key(name: str) -> str:
    """The text form of a test signer's key."""
    return SUITE.format_key(SUITE.public_key(seed_of(name)))


def custody_genesis(chains: Sequence[ChainBuilder], **settings: Any) -> Genesis:
    """A custody genesis that trusts `chains`; `settings` are added to every region."""
    regions = []
    for chain in chains:
        root = chain.trust_root().to_json()
        root.pop("tier", None)
        regions.append({**root, "region_letters": LETTERS[chain.network], "silent_after_ms": 120_000, **settings})
    return build_genesis(
        network="custody",
        tier="custody",
        suite=SUITE,
        time_ms=START_MS,
        validators=validator_set(["custody-1", "custody-2", "custody-3", "custody-4"]),
        application={
            "regions": regions,
            "signers": [
                {"public_key": public_key(name), "organisation": name, "role": role} for name, role in ROLES.items()
            ],
            "policy": {"crosslink.submit": {"maker": ["relay"], "checkers": []}},
            "model_schema_hash": model_schema_hash(SUITE).hex(),
        },
    )


def entry_of(block: BuiltBlock, *, first: int = 0, last: int | None = None, header: bool = True) -> BlockDelivery:
    """A block as a relay would deliver it: whole, or the snapshots `first`..`last` with proofs."""
    whole = first == 0 and last is None and header
    chosen = range(first, len(block.snapshots) if last is None else last)
    items = tuple(
        SnapshotItem(index, block.snapshots[index], None if whole else block.proof(index)) for index in chosen
    )
    if not header:
        return BlockDelivery(height=block.height, snapshots=items)
    return BlockDelivery(header=block.signed, snapshots=items)


def recovery(chain: ChainBuilder, height: int, anchored_id: str, **changes: Any) -> dict[str, Any]:
    """Trust a region from the block after `height` on; `anchored_id` is of the block that was anchored last."""
    block = chain.block(height)
    trusted = checkpoint(height=height, id=block.id, time_ms=block.header.time_ms, validators=chain.validators)
    return {
        "type": REGION_RECOVER,
        "region": chain.network,
        "trust_root": chain.trust_root(checkpoint=trusted, tier="").to_json(),
        "from_height": height + 1,
        "previous_anchored_id": anchored_id,
        "reason": "the market has replaced its validators",
        **changes,
    }


@dataclass
class Custody:
    """The custody chain: `submit` and `run` make one block each, unless the transaction is rejected."""

    chains: Sequence[ChainBuilder]
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.genesis = custody_genesis(self.chains, **self.settings)
        self.application = CustodyApplication(self.genesis)
        self.state = DictState()
        view = OverlayView(self.state)
        self.application.initial_state(self.genesis, view)
        self.state.commit(view)
        self.height = 0
        self.protocol_version = 1
        self.time_ms = START_MS + 1_000_000
        self._nonce = 0

    def context(self) -> BlockContext:
        """The next block's context."""
        return BlockContext(
            network="custody",
            height=self.height + 1,
            time_ms=self.time_ms + 1000,
            genesis=self.genesis,
            validators=self.genesis.validators,
            protocol_version=self.protocol_version,
            parameters=parameters_at(self.state, self.genesis, self.height + 1),
        )

    def sign(self, operations: Sequence[dict[str, Any]], signers: Sequence[str] = ("relay",)) -> SignedTransaction:
        """A signed transaction of test signers."""
        self._nonce += 1
        transaction = {
            "network": "custody",
            "genesis": self.genesis.id.hex(),
            "signers": [public_key(name) for name in signers],
            "nonce": str(self._nonce),
            "expires_at_height": self.height + 1000,
            "operations": list(operations),
        }
        return parse_envelope(sign_envelope(transaction, [seed_of(name) for name in signers], SUITE), SUITE)

    def run(self, operations: Sequence[dict[str, Any]], signers: Sequence[str] = ("relay",)) -> Outcome:
        """Admit and execute one transaction in a block of its own. Raises `Rejected` and keeps nothing."""
        tx = self.sign(operations, signers)
        self.application.check(tx, self.state, self.context())
        return self.execute(tx)

    def execute(self, tx: SignedTransaction) -> Outcome:
        """One block with one transaction. Raises `Rejected` and keeps nothing of it."""
        context, view = self.context(), OverlayView(self.state)
        self.application.begin_block(context, view)
        view.checkpoint()
        outcome = self.application.execute(tx, context, view)
        self._commit(context, view)
        return outcome

    def _commit(self, context: BlockContext, view: OverlayView) -> None:
        self.state.commit(view)
        self.height, self.time_ms = context.height, context.time_ms

    def empty_block(self) -> None:
        """A heartbeat."""
        context, view = self.context(), OverlayView(self.state)
        self.application.begin_block(context, view)
        self._commit(context, view)

    def submit(self, network: str, *entries: BlockDelivery | BuiltBlock, signers: Sequence[str] = ("relay",)) -> None:
        """One delivery. Raises `Rejected`."""
        blocks = tuple(entry if isinstance(entry, BlockDelivery) else entry_of(entry) for entry in entries)
        self.run([Delivery(network, blocks).to_operation()], signers)

    def refused(self, network: str, *entries: BlockDelivery | BuiltBlock) -> str:
        """The code with which a delivery is refused; fails the test if it is accepted or leaves a trace."""
        before = dict(self.state.values), dict(self.state.index)
        try:
            self.submit(network, *entries)
        except Rejected as refusal:
            assert (self.state.values, self.state.index) == before
            return refusal.code
        raise AssertionError("the delivery was accepted")

    def deliver(self, chain: ChainBuilder, *snapshots: bytes) -> BuiltBlock:
        """Append a block with these snapshots to a region's chain and deliver it."""
        block = chain.extend(snapshots)
        self.submit(chain.network, block)
        return block

    def report(self, *snapshots: bytes) -> BuiltBlock:
        """The first region appends a block with these snapshots, which is delivered."""
        return self.deliver(self.chains[0], *snapshots)

    def get(self, *path: str) -> Any:
        """An authenticated value by its path."""
        data = self.state.values.get("/".join(path).encode())
        return None if data is None else json.loads(data)

    def region(self, network: str = "beijing") -> dict[str, Any]:
        """A region's record."""
        record = self.get("region", network)
        assert isinstance(record, dict)
        return record

    def scan(self, prefix: str) -> dict[str, Any]:
        """Authenticated values below a prefix."""
        return {key.decode(): json.loads(value) for key, value in self.state.scan(prefix.encode(), 10**6)}

    def alerts(self, rule: str | None = None, *, opened: bool = True) -> list[dict[str, Any]]:
        """Alerts of a rule, open ones unless told."""
        found = self.scan("alert/").values()
        return [a for a in found if rule in (None, a["rule"]) and (not opened or a["state"] == "open")]

    def position(self, investor: str, product: str, account: str, network: str = "beijing") -> tuple[int, int, int]:
        """Available, pledged and frozen; zeros if there is no position."""
        value = self.get("position", investor, network, product, account)
        return (0, 0, 0) if value is None else (value["available"], value["pledged"], value["frozen"])


def snapshot(
    kind: str, object_id: str, body: dict[str, Any] | None, *, version: int = 0, operation: str = "", **more: Any
) -> bytes:
    """A canonical snapshot; the operation follows from the version unless it is given."""
    chosen = operation or ("create" if version == 0 else "update")
    return build_snapshot(
        kind=kind,
        object_id=object_id,
        version=version,
        operation=chosen,
        timestamp_s=START_MS // 1000,
        body=body,
        **more,
    )


def person(object_id: str, code: str, **options: Any) -> bytes:
    """A natural person with an investor code."""
    general = {
        "subject_id": code,
        "subject_type": 2,
        "subject_main_administrative_region": 0,
        "subject_create_time": TIME,
    }
    names = {"subject_investor_name": "ab" * 32, "subject_id_type": 0, "subject_id_number": "cd" * 32}
    body = {
        "basic_information_subject": {"general_information_subject": general},
        "personal_subject_information": {"personal_subject_basic_information": names},
    }
    return snapshot("subject", object_id, {"subject_information": body}, **options)


def company(object_id: str, code: str, name: str = "样例公司", **options: Any) -> bytes:
    """An organisation with an enterprise code."""
    general = {
        "subject_id": code,
        "subject_type": 1,
        "subject_main_administrative_region": 0,
        "subject_create_time": TIME,
    }
    body = {
        "basic_information_subject": {"general_information_subject": general},
        "organization_subject_information": {
            "basic_information_of_enterprise": {"basic_information_description": {"subject_company_name": name}}
        },
    }
    return snapshot("subject", object_id, {"subject_information": body}, **options)


def account(object_id: str, subject: str, **options: Any) -> bytes:
    """A securities account of a subject."""
    basic = {
        "account_subject_ref": f"{subject}/0",
        "account_depository_ref": "market/0",
        "account_type": 1,
        "account_purpose": [0],
        "account_status": 1,
        "account_create_time": TIME,
    }
    return snapshot("account", object_id, {"account_information": {"basic_account_information": basic}}, **options)


def product(code: str, issuer: str, *, object_id: str = "", **options: Any) -> bytes:
    """A security of an issuer (object id of the subject)."""
    basic = {
        "product_trading_market_category": 1,
        "product_market_subject_ref": "market/0",
        "product_market_subject_name": "样例市场",
        "product_issuer_subject_ref": f"{issuer}/0",
        "product_issuer_name": "样例公司",
        "product_code": code,
        "product_name": "普通股",
        "product_type": 2,
        "product_create_time": TIME,
    }
    body = {"product_information": {"essential_information": {"basic_product_information": basic}}}
    return snapshot("product", object_id or code, body, **options)


Triple = tuple[int, int, int]


def registration(
    object_id: str,
    code: str,
    account_id: str,
    *,
    before: Triple = (0, 0, 0),
    change: Triple = (0, 0, 0),
    after: Triple | None = None,
    report: str | None = None,
    **options: Any,
) -> bytes:
    """A registration of rights; `after` is before + change unless it is given."""
    result = after or (before[0] + change[0], before[1] + change[1], before[2] + change[2])
    description = {
        "register_time": TIME,
        "register_subject_type": 2,
        "register_subject_account_ref": f"{account_id}/0",
        "register_asset_type": 255,
        "register_asset_unit": 4,
        "register_asset_currency": "156",
        "register_product_ref": f"{code}/0",
        "register_create_time": TIME,
    }
    if report is not None:
        description["register_transaction_ref"] = f"{report}/0"
    rights = {
        "basic_information_description": description,
        "available_registration": {
            "register_asset_balance_before": before[0],
            "register_asset_balance_change": change[0],
            "register_asset_balance_after": result[0],
        },
        "pledge_registration": {
            "register_pledge_balance_before": before[1],
            "register_pledge_balance_change": change[1],
            "register_pledge_balance_after": result[1],
        },
        "freezing_registration": {
            "register_frozen_balance": before[2],
            "register_frozen_balance_change": change[2],
            "register_frozen_balance_after": result[2],
        },
    }
    body = {
        "register_basic_information": {"register_object_type": 1, "register_event_type": 255},
        "registration_rights": {"basic_information_rights": rights},
    }
    return snapshot("registration", object_id, {"registration_information": body}, **options)


def holder(number: int, shares: int, code: str = "BJ000001.ESVUFR2601") -> list[bytes]:
    """A person, the person's account, and an initial registration."""
    return [
        person(f"person-{number}", f"Q{number:09d}"),
        account(f"A{number}", f"person-{number}"),
        registration(f"initial-{number}", code, f"A{number}", change=(shares, 0, 0)),
    ]


def small_holders(numbers: Iterable[int], code: str = "BJ000001.ESVUFR2601") -> list[bytes]:
    """Holders of one share each."""
    return [snapshot for number in numbers for snapshot in holder(number, 1, code)]


def market_with_product(code: str = "BJ000001.ESVUFR2601") -> list[bytes]:
    """The issuer and one product."""
    return [company("issuer", code.partition(".")[0]), product(code, "issuer")]


def raw(document: Any) -> bytes:
    """Canonical bytes of any document, for snapshots that the builder refuses to make."""
    return canonical_json(document)
