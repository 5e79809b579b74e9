"""Business queries: what the chain holds about products, registers, accounts and subjects, with proofs where asked.

Pure reading. Invariants
  Q1  One answer is read from one moment of the chain; its proofs are against that moment's state root.
  Q2  Everything is bounded by the caller's limit; pages follow each other by the last key seen. A cursor names a
      product or account that exists (none is ever deleted, a holding is): a wrong one must not read as an empty page.
  Q3  A register of the past is proven as that of the tip is, at every height whose tree this node keeps.

Left out: who may ask (routes); checking a proof (register_proof).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from business_chain.answers import (
    AsOf,
    HoldingEntry,
    HoldingsAnswer,
    NatureFigures,
    NatureTotal,
    ProductAnswer,
    ProductsAnswer,
    Provable,
    ProvenEntry,
    RegisterAnswer,
    RegisterEntry,
    StateEvidence,
    SubjectAnswer,
)
from business_chain.balances import Holding, decode_holding
from business_chain.state import (
    PRODUCT_PREFIX,
    Product,
    account_holding_prefix,
    account_key,
    decode_account,
    decode_product,
    decode_standing,
    decode_subject,
    holding_key,
    holding_prefix,
    issuer_product_prefix,
    product_key,
    standing_index_key,
    subject_account_prefix,
    subject_key,
)
from common.core.errors import InvariantBroken, Malformed, NotFound
from common.node.store.chain_moment import MAX_PROVEN, ChainMoment
from common.node.store.chain_store import ChainStore

_PARTS: Final = "~"
"""Between the two parts of a subject's cursor, account and product; no identifier holds it."""

Answer = TypeVar("Answer", bound=Provable)


def _as_of(moment: ChainMoment) -> AsOf:
    """The block that a moment stands at."""
    return AsOf(
        network=moment.reader.genesis.network,
        height=moment.height,
        block_id=moment.reader.block_id(moment.height).hex(),
        block_time_ms=moment.time_ms,
    )


class Queries:
    """Questions to one node's chain."""

    def __init__(self, chain: ChainStore) -> None:
        self._chain = chain

    def products(self, limit: int, cursor: str | None, proof: bool) -> ProductsAnswer:
        """Products in the order of their codes."""

        def read(moment: ChainMoment) -> ProductsAnswer:
            start = None if cursor is None else product_key(_checked(moment, cursor, product_key))
            found, more = _page(moment, PRODUCT_PREFIX, start, limit)
            return ProductsAnswer(
                as_of=_as_of(moment),
                products=[_product_answer(_name_of(key), decode_product(value)) for key, value in found],
                next_cursor=_name_of(found[-1][0]) if more else None,
            )

        return self._answer(read, None, proof, limit)

    def register(self, code: str, height: int | None, limit: int, cursor: str | None, proof: bool) -> RegisterAnswer:
        """The register of members. Raises `product_unknown`, `height_unknown`, `state_pruned`, `proof_pruned`."""

        def read(moment: ChainMoment) -> RegisterAnswer:
            product = _require_product(moment, code)
            start = None if cursor is None else holding_key(code, _checked(moment, cursor, account_key))
            found, more = _page(moment, holding_prefix(code), start, limit)
            return RegisterAnswer(
                as_of=_as_of(moment),
                product=_product_answer(code, product),
                holders=[_register_entry(moment, _name_of(key), decode_holding(value)) for key, value in found],
                next_cursor=_name_of(found[-1][0]) if more else None,
            )

        return self._answer(read, height, proof, limit)

    def holdings(self, account_id: str, limit: int, cursor: str | None, proof: bool) -> HoldingsAnswer:
        """What an account holds. Raises `account_unknown`."""

        def read(moment: ChainMoment) -> HoldingsAnswer:
            data = moment.read_proven(account_key(account_id))
            if data is None:
                raise NotFound("account_unknown", "There is no such account.", account=account_id, object_id=account_id)
            account = decode_account(data)
            prefix = account_holding_prefix(account_id)
            start = None if cursor is None else prefix + _checked(moment, cursor, product_key).encode("ascii")
            keys = [key for key, _ in moment.reader.index_scan(prefix, start, limit + 1)]
            codes = [_name_of(key) for key in keys[:limit]]
            return HoldingsAnswer(
                as_of=_as_of(moment),
                account=account_id,
                account_type=account.account_type,
                status=account.status,
                subject=account.subject,
                version=account.version,
                holdings=[_holding_entry(moment, code, account_id) for code in codes],
                next_cursor=codes[-1] if len(keys) > limit else None,
            )

        return self._answer(read, None, proof, limit)

    def subject(self, object_id: str, limit: int, cursor: str | None, proof: bool) -> SubjectAnswer:
        """A subject with a page of its accounts and of its products. Raises `subject_unknown`."""

        def read(moment: ChainMoment) -> SubjectAnswer:
            data = moment.read_proven(subject_key(object_id))
            if data is None:
                raise NotFound("subject_unknown", "There is no such subject.", object_id=object_id)
            subject = decode_subject(data)
            stored = moment.reader.index_get(standing_index_key(object_id))
            standing = None if stored is None else decode_standing(stored)
            prefixes = subject_account_prefix(object_id), issuer_product_prefix(object_id)
            starts = ("", "") if cursor is None else _subject_cursor(moment, prefixes, cursor)
            (accounts, last_account), (products, last_product) = (
                ([], None) if start is None else _names_below(moment, prefix, start, limit)
                for prefix, start in zip(prefixes, starts, strict=True)
            )
            more = last_account is not None or last_product is not None
            return SubjectAnswer(
                as_of=_as_of(moment),
                object_id=object_id,
                kind=subject.kind,
                version=0 if standing is None else standing.version,
                name=subject.name,
                name_commitment=subject.name_commitment,
                identity_commitment=subject.identity_commitment,
                investor_code=subject.investor_code,
                enterprise_code=subject.enterprise_code,
                credit_code=subject.credit_code,
                qualification_category=subject.qualification_category,
                shareholders=0 if standing is None else standing.shareholders,
                accounts=accounts,
                products=products,
                truncated=more,
                next_cursor=f"{last_account or ''}{_PARTS}{last_product or ''}" if more else None,
            )

        return self._answer(read, None, proof, 1)

    def _answer(self, read: Callable[[ChainMoment], Answer], height: int | None, proof: bool, limit: int) -> Answer:
        """Read at one moment, and add the proofs of what was read (Q1, Q3).

        Raises `proof_limit`, `proof_pruned`.
        """
        if proof and limit > MAX_PROVEN:
            raise Malformed("proof_limit", "One answer proves fewer entries than that.", limit=MAX_PROVEN)
        # Besides the entries of a list, what it belongs to is proven.
        moment = ChainMoment(self._chain, height, proof=proof, most=MAX_PROVEN + 1)
        answer = read(moment)
        if proof:
            answer.evidence = _evidence(moment)
        return answer


def _evidence(moment: ChainMoment) -> StateEvidence:
    reader, at = moment.reader, moment.height
    return StateEvidence(
        header=reader.header(at).encode().hex() if at else None,
        certificate=reader.certificate(at).encode().hex() if at else None,
        entries=[
            ProvenEntry(
                key=key.decode("ascii"),
                value=None if value is None else value.decode("utf-8"),
                proof=proof.to_json(),
            )
            for key, value, proof in moment.proofs()
        ],
    )


def _page(
    moment: ChainMoment, prefix: bytes, start_after: bytes | None, limit: int
) -> tuple[list[tuple[bytes, bytes]], bool]:
    """At most `limit` entries, each to be proven, and whether more follow."""
    found = moment.read_below(prefix, start_after, limit + 1)
    for key, value in found[:limit]:
        moment.prove(key, value)
    return found[:limit], len(found) > limit


def _names_below(moment: ChainMoment, prefix: bytes, start: str, limit: int) -> tuple[list[str], str | None]:
    """At most `limit` names of the index, after `start` if it is not empty; and the last of them if more follow."""
    found = moment.reader.index_scan(prefix, prefix + start.encode("ascii") if start else None, limit + 1)
    names = [_name_of(key) for key, _ in found[:limit]]
    return names, names[-1] if len(found) > limit else None


def _subject_cursor(moment: ChainMoment, prefixes: tuple[bytes, bytes], cursor: str) -> tuple[str | None, str | None]:
    """Where accounts and products go on, each None if it came to its end. Raises `Malformed('cursor')`."""
    parts = cursor.split(_PARTS)
    known = len(parts) == len(prefixes) and cursor != _PARTS and cursor.isascii()
    if not known or any(
        part and moment.reader.index_get(prefix + part.encode("ascii")) is None
        for prefix, part in zip(prefixes, parts, strict=True)
    ):
        raise Malformed("cursor", "Give the next_cursor of the page before.")
    return parts[0] or None, parts[1] or None


def _checked(moment: ChainMoment, cursor: str, key_of: Callable[[str], bytes]) -> str:
    """The cursor, if what it names exists. Raises `Malformed('cursor')`."""
    if moment.read(key_of(cursor)) is None:
        raise Malformed("cursor", "Give the next_cursor of the page before.")
    return cursor


def _name_of(key: bytes) -> str:
    """The last part of a key."""
    return key.rsplit(b"/", 1)[1].decode("ascii")


def _require_product(moment: ChainMoment, code: str) -> Product:
    data = moment.read_proven(product_key(code))
    if data is None:
        raise NotFound("product_unknown", "There is no such product.", product=code, object_id=code)
    return decode_product(data)


def _product_answer(code: str, product: Product) -> ProductAnswer:
    return ProductAnswer(
        product=code,
        name=product.name,
        issuer=product.issuer,
        product_type=product.product_type,
        unit=product.unit,
        scale=product.scale,
        currency=product.currency,
        face_value_e4=product.face_value_e4,
        holder_limit=product.holder_limit,
        authorised_quantity=product.authorised_quantity,
        registered_total=product.total,
        share_natures=[NatureTotal(share_nature=nature, registered=total) for nature, total in product.totals],
        holders=product.holders,
        version=product.version,
    )


def _figures(holding: Holding) -> dict[str, Any]:
    """The fields of `Balances`."""
    natures = [
        NatureFigures(
            share_nature=balance.share_nature,
            held=balance.held,
            available=balance.available,
            pledged=balance.pledged,
            frozen=balance.frozen,
        )
        for balance in holding.balances
    ]
    figures = holding.figures
    return {
        "held": figures.held,
        "available": figures.available,
        "pledged": figures.pledged,
        "frozen": figures.frozen,
        "share_natures": natures,
    }


def _register_entry(moment: ChainMoment, account_id: str, holding: Holding) -> RegisterEntry:
    account_data = moment.read(account_key(account_id))
    subject_id = None if account_data is None else decode_account(account_data).subject
    subject_data = None if subject_id is None else moment.read(subject_key(subject_id))
    if subject_id is None or subject_data is None:
        raise InvariantBroken(f"the holding of {account_id} has no account or subject")
    subject = decode_subject(subject_data)
    return RegisterEntry(
        account=account_id,
        subject=subject_id,
        subject_kind=subject.kind,
        name=subject.name,
        investor_code=subject.investor_code,
        enterprise_code=subject.enterprise_code,
        **_figures(holding),
    )


def _holding_entry(moment: ChainMoment, code: str, account_id: str) -> HoldingEntry:
    data = moment.read_proven(holding_key(code, account_id))
    product_data = moment.read(product_key(code))
    if data is None or product_data is None:
        raise InvariantBroken(f"the index lists {code} on {account_id}, the state does not")
    holding, product = decode_holding(data), decode_product(product_data)
    return HoldingEntry(
        product=code,
        name=product.name,
        unit=product.unit,
        scale=product.scale,
        **_figures(holding),
    )
