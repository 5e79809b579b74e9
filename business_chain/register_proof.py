"""Checking a proven register of members: everything is in the proven state, and nobody is missing.

Pure: for whoever holds a register's evidence and the state root of a header that they trust (its certificate is checked
with common.core.certificate). Completeness follows from the product's own value, which commits the number of holdings
and their sums by share nature (invariant S1 of `state`).

Left out: fetching pages; a register in several pages must come from one block.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from business_chain.balances import Holding, decode_holding
from business_chain.state import Product, decode_product, holding_prefix, product_key
from common.core.errors import ProofInvalid
from common.core.state_proof import StateProof, verify_state_proof
from common.core.suite import Suite


@dataclass(frozen=True, slots=True)
class ProvenValue:
    """One authenticated value with its proof."""

    key: bytes
    value: bytes
    proof: StateProof


def verify_register(
    suite: Suite, state_root: bytes, code: str, values: Iterable[ProvenValue]
) -> tuple[Product, dict[str, Holding]]:
    """The product and all its holdings by account, if `values` prove the whole register of `code`.

    Raises `ProofInvalid`: a code of `verify_state_proof`, `register_foreign_value` (a value of something else),
    `register_value` (not a register's value), `register_repeated` (a value given twice), `register_product_missing`,
    `register_incomplete` (holders are missing).
    """
    product: Product | None = None
    holdings: dict[str, Holding] = {}
    prefix = holding_prefix(code)
    for item in values:
        verify_state_proof(suite, state_root, item.key, item.value, item.proof)
        account = item.key.removeprefix(prefix).decode("ascii", "replace")
        try:
            if item.key == product_key(code):
                product = decode_product(item.value)
            elif not item.key.startswith(prefix):
                raise ProofInvalid("register_foreign_value", "A value belongs to something else than this register.")
            elif account in holdings:
                raise ProofInvalid("register_repeated", "A holding is given twice.", account=account)
            else:
                holdings[account] = decode_holding(item.value)
        except msgspec.MsgspecError:
            raise ProofInvalid("register_value", "A proven value is not that of a product or a holding.") from None
    if product is None:
        raise ProofInvalid("register_product_missing", "The product's own value is missing.")
    totals: dict[int, int] = {}
    for holding in holdings.values():
        for balance in holding.balances:
            totals[balance.share_nature] = totals.get(balance.share_nature, 0) + balance.held
    if len(holdings) != product.holders or totals != dict(product.totals):
        raise ProofInvalid("register_incomplete", "Holdings are missing.", holders=product.holders, given=len(holdings))
    return product, holdings
