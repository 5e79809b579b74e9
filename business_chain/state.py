"""State of a business chain: every key and value, and typed access to them.

Authenticated keys (committed by `state_root`; values canonical JSON, fields in ascending order, holdings as `balances`
says)::

    subject/<object id>            Subject     identity of a company, institution or person; written once
    account/<account>              Account     owner and standing
    product/<code>                 Product     terms, holder count and registered total by share nature
    holding/<code>/<account>       Holding     balances by share nature; absent when nothing is held
    binding/<business id>          Binding     what is left of a pledge or freeze; absent when nothing is
    business/<hex digit>           Bucket      chained hash over the business ids applied (protocol rule 12)
    signer/<public key>, governance, policy    who may sign, govern and approve (`common.chain`)

Index keys (derived, never proven)::

    business/<business id>         BusinessRecord  content hash and transaction id of its first application, b32 | b32
    standing/<subject>             Standing    version and number of shareholders of a subject that was updated
    shareholder/<issuer>/<subject> decimal     in how many (equity product, account) pairs the subject holds
    account-holding/<account>/<code>, subject-account/<subject>/<account>, issuer-product/<issuer>/<code>
    code/<enterprise|investor|credit>/<code>   object id of the subject that has the code
    sealed/<height>/<digest>       body off the chain that a block commits to (`sealed_index`)

Invariants
  S1  `product.holders` = number of `holding/<code>/…` keys, `product.totals` = what they hold together, by share
      nature. So the product's leaf makes a proven register provably complete (protocol rule 13).
  S2  A holding keeps invariants B1 to B3 of `balances`; a holding of nothing is no key.
  S3  A plain transfer touches two authenticated keys besides the shared buckets (protocol rule 13).
  S4  Versions of subjects are in the index, not in the state: `snapshot_root` commits them (protocol rule 13).

Left out: the rules (operations), the snapshots' form (snapshots), holdings and bindings as records (`balances`,
`bindings`).
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Final, Literal, NamedTuple, TypeVar

import msgspec

from business_chain.refusals import refuse
from common.chain.application import StateReader, StateView
from common.core.errors import InvariantBroken
from common.core.suite import HASH_SIZE, Suite

SubjectKind = Literal["organisation", "person"]
AccountType = Literal["cash", "securities"]
AccountStatus = Literal["closed", "frozen", "open"]

BUSINESS_CHAIN_TAG: Final = "tongjian/business-id-chain/v1"
EQUITY_TYPES: Final = (1, 2)
"""Product types whose holders are shareholders: private equity interest and private shares."""

_EMPTY_CHAIN: Final = "00" * 32


class Subject(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Identity of a subject. A person has commitments instead of a name."""

    credit_code: str | None = None
    enterprise_code: str | None = None
    identity_commitment: str | None = None
    investor_code: str | None = None
    kind: SubjectKind
    name: str | None = None
    name_commitment: str | None = None
    qualification_category: int | None = None
    qualification_certified_at_ms: int | None = None


class Account(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An account and its owner; `subject_kind` is copied from the subject, which never changes it."""

    account_type: AccountType
    closed_at_ms: int | None = None
    frozen_at_ms: int | None = None
    """The latest freeze, in force or not."""
    frozen_by: str | None = None
    """Its authority and order."""
    opened_at_ms: int
    status: AccountStatus
    subject: str
    subject_kind: SubjectKind
    thawed_at_ms: int | None = None
    version: int


class Product(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A product's terms, its holder count and registered totals (quantities in its scale).

    `totals` has a pair (share nature, registered quantity) for each nature of which something is registered, ascending.
    """

    authorised_quantity: int
    currency: str
    face_value_e4: int | None = None
    holder_limit: int | None = None
    holders: int
    issue_price_e4: int | None = None
    """Of the latest issue that had a price."""
    issuer: str
    name: str
    product_type: int
    scale: int
    totals: tuple[tuple[int, int], ...]
    unit: str
    version: int

    @property
    def total(self) -> int:
        """What is registered of all share natures."""
        return sum([total for _, total in self.totals])


class Bucket(msgspec.Struct, frozen=True, kw_only=True):
    """Number of the business ids of one bucket, and the chained hash (hex) over them."""

    count: int
    hash: str


class BusinessRecord(NamedTuple):
    """First application of a business id: hash of the operation's canonical bytes, and id of the transaction."""

    content: bytes
    tx_id: bytes


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Version and shareholder number of a subject whose object was updated; other subjects are at version 0."""

    shareholders: int
    version: int


_FIRST_STANDING: Final = Standing(shareholders=0, version=0)
_FIRST_BUCKET: Final = Bucket(count=0, hash=_EMPTY_CHAIN)

_Value = TypeVar("_Value", bound=msgspec.Struct)
_encoder: Final = msgspec.json.Encoder()


def encode_value(value: msgspec.Struct) -> bytes:
    """Canonical JSON: the records above declare their fields in ascending order, and their text needs no escapes."""
    return _encoder.encode(value)


def _decoder_for(record: type[_Value]) -> msgspec.json.Decoder[_Value]:
    return msgspec.json.Decoder(record)


_subject_decoder: Final = _decoder_for(Subject)
_account_decoder: Final = _decoder_for(Account)
_product_decoder: Final = _decoder_for(Product)
_bucket_decoder: Final = _decoder_for(Bucket)
_standing_decoder: Final = _decoder_for(Standing)


def subject_key(object_id: str) -> bytes:
    """Key of a `Subject`."""
    return b"subject/" + object_id.encode("ascii")


def account_key(account: str) -> bytes:
    """Key of an `Account`."""
    return b"account/" + account.encode("ascii")


PRODUCT_PREFIX: Final = b"product/"


@lru_cache(maxsize=128)
def product_key(code: str) -> bytes:
    """Key of a `Product`. Cached, as what it holds is."""
    return PRODUCT_PREFIX + code.encode("ascii")


def holding_prefix(code: str) -> bytes:
    """Prefix of a product's holdings (`balances.Holding`): its register of members."""
    return f"holding/{code}/".encode("ascii")


def holding_key(code: str, account: str) -> bytes:
    """Key of a `Holding`."""
    return f"holding/{code}/{account}".encode("ascii")


def binding_key(business_id: str) -> bytes:
    """Key of a `bindings.Binding`: the business id of the pledge or freeze."""
    return b"binding/" + business_id.encode("ascii")


@cache
def bucket_key(digit: int) -> bytes:
    """Key of a bucket of business ids, `digit` 0 to 15."""
    return b"business/%x" % digit


def business_index_key(business_id: str) -> bytes:
    """Index key of a `BusinessRecord`."""
    return b"business/" + business_id.encode("ascii")


def standing_index_key(subject: str) -> bytes:
    """Index key of a `Standing`."""
    return b"standing/" + subject.encode("ascii")


def shareholder_index_key(issuer: str, subject: str) -> bytes:
    """Index key of the number of equity holdings a subject has with an issuer."""
    return f"shareholder/{issuer}/{subject}".encode("ascii")


def account_holding_prefix(account: str) -> bytes:
    """Index prefix of an account's products."""
    return f"account-holding/{account}/".encode("ascii")


def subject_account_prefix(subject: str) -> bytes:
    """Index prefix of a subject's accounts."""
    return f"subject-account/{subject}/".encode("ascii")


def issuer_product_prefix(issuer: str) -> bytes:
    """Index prefix of an issuer's products."""
    return f"issuer-product/{issuer}/".encode("ascii")


def code_index_key(kind: Literal["enterprise", "investor", "credit"], code: str) -> bytes:
    """Index key of the subject that has a code; an enterprise code without its tier letter."""
    return f"code/{kind}/{code}".encode("ascii")


@lru_cache(maxsize=1024)
def decode_account(data: bytes) -> Account:
    """Cached: accounts are read with every movement and rarely change."""
    return _account_decoder.decode(data)


def decode_subject(data: bytes) -> Subject:
    """A subject from its stored bytes."""
    return _subject_decoder.decode(data)


@lru_cache(maxsize=128)
def decode_product(data: bytes) -> Product:
    """Cached: products are read with every movement and change with their holders alone."""
    return _product_decoder.decode(data)


def decode_standing(data: bytes) -> Standing:
    """A standing from its stored bytes."""
    return _standing_decoder.decode(data)


def read_standing(state: StateReader, subject: str) -> Standing:
    """Version and shareholder number of a subject."""
    data = state.get_index(standing_index_key(subject))
    return _FIRST_STANDING if data is None else decode_standing(data)


def read_business(state: StateReader, business_id: str) -> BusinessRecord | None:
    """The first application of a business id, or None."""
    data = state.get_index(business_index_key(business_id))
    return None if data is None else BusinessRecord(data[:HASH_SIZE], data[HASH_SIZE:])


def check_unused(state: StateReader, business_id: str) -> bytes:
    """The index key of a business id that was not applied before.

    Raises `business_id_used`, naming the transaction that applied it.
    """
    key = business_index_key(business_id)
    data = state.get_index(key)
    if data is not None:
        raise refuse("business_id_used", business_id=business_id, first_tx_id=data[HASH_SIZE:].hex())
    return key


class BusinessIds:
    """The business ids that one transaction applies: entered for ever, by an index record and in a chained hash.

    digit  first of the operation's content hash: the bucket
    hash'  tagged_hash("tongjian/business-id-chain/v1", hash | transaction id | entries), once a transaction and bucket;
           an entry is u8 length | business id | content, in the order of the operations; 32 zero bytes come first
    """

    __slots__ = ("_entries", "_state", "_suite", "_tx_id")

    def __init__(self, state: StateView, suite: Suite, tx_id: bytes) -> None:
        self._state = state
        self._suite = suite
        self._tx_id = tx_id
        self._entries: dict[int, list[bytes]] = {}

    def enter(self, business_id: str, content: bytes) -> None:
        """Apply an id; what follows in the transaction finds it used. Raises as `check_unused`."""
        self._state.put_index(check_unused(self._state, business_id), content + self._tx_id)
        entry = b"%c%b%b" % (len(business_id), business_id.encode("ascii"), content)
        self._entries.setdefault(content[0] >> 4, []).append(entry)

    def write(self) -> None:
        """Chain what was entered: the transaction is applied."""
        for digit, entries in sorted(self._entries.items()):
            key = bucket_key(digit)
            data = self._state.get(key)
            bucket = _FIRST_BUCKET if data is None else _bucket_decoder.decode(data)
            step = b"".join((bytes.fromhex(bucket.hash), self._tx_id, *entries))
            chained = self._suite.tagged_hash(BUSINESS_CHAIN_TAG, step).hex()
            self._state.put(key, encode_value(Bucket(count=bucket.count + len(entries), hash=chained)))


def adjust_shareholder(state: StateView, issuer: str, subject: str, change: int) -> int:
    """Count a subject's equity holdings with an issuer up or down by one; the change in distinct shareholders."""
    key = shareholder_index_key(issuer, subject)
    data = state.get_index(key)
    before = 0 if data is None else int(data)
    after = before + change
    if after < 0:
        raise InvariantBroken(f"negative number of holdings of {subject} with {issuer}")
    if after == 0:
        state.delete_index(key)
    else:
        state.put_index(key, b"%d" % after)
    return (after > 0) - (before > 0)
