"""Rules of `product.issue`: a security is set up under a code that starts with its issuer's enterprise code.

Source: JR/T 0326-2024, product code. Class letters other than DCFGFR are this project's own (docs/adr/0033).
Left out: whether the issue was approved or filed, and changes of a product's terms.
"""

from __future__ import annotations

from business_chain.ledger import Ledger
from business_chain.operations.operation_records import IssueProduct
from business_chain.operations.subjects import check_object_id_free
from business_chain.refusals import refuse
from business_chain.state import Product, issuer_product_prefix
from common.model.codes import parse_product_code


def issue_product(operation: IssueProduct, ledger: Ledger) -> None:
    """Create a product. Raises `object_id_used`, `subject_unknown`, `issuer_not_enterprise`, `product_code_issuer`."""
    check_object_id_free(ledger.state, operation.product)
    issuer = ledger.subject(operation.issuer)
    if issuer.enterprise_code is None:
        raise refuse("issuer_not_enterprise", issuer=operation.issuer)
    parts = parse_product_code(operation.product)
    if parts is None or parts.enterprise != issuer.enterprise_code:
        raise refuse("product_code_issuer", product=operation.product, enterprise_code=issuer.enterprise_code)
    product = Product(
        authorised_quantity=operation.authorised_quantity,
        currency=operation.currency,
        face_value_e4=operation.face_value_e4,
        holder_limit=operation.holder_limit,
        holders=0,
        issuer=operation.issuer,
        name=operation.name,
        product_type=operation.product_type,
        scale=operation.scale,
        totals=(),
        unit=operation.unit,
        version=0,
    )
    key = issuer_product_prefix(operation.issuer) + operation.product.encode("ascii")
    ledger.state.put_index(key, b"1")
    ledger.save_product(operation.product, product, total_before=0)
