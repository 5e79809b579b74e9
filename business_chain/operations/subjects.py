"""Rules of `subject.register`: who may be known to the market, under which codes.

Sources: JR/T 0326-2024 (codes), GB 32100-2015 (credit code), CSRC Decree 132 Art. 13 (qualification), and this
project's rule that no personal identifier stands in clear on any chain (docs/adr/0032).
Left out: whether an investor code was really allocated by the supervision chain; it is asserted by the market.
"""

from __future__ import annotations

import re
from typing import Final, Literal

from business_chain.ledger import Ledger
from business_chain.operations.operation_records import RegisterSubject
from business_chain.refusals import refuse
from business_chain.state import (
    Standing,
    Subject,
    account_key,
    code_index_key,
    encode_value,
    product_key,
    subject_key,
)
from common.chain.application import StateView
from common.model.codes import parse_enterprise_code

_REGISTRATION_ID: Final = re.compile(r".*:[0-9]+")
_NATURAL_PERSON_CATEGORY: Final = 5


def check_subject_shape(operation: RegisterSubject) -> None:
    """What can be said without state; also judged at admission.

    An enterprise of another region is no refusal: it may hold shares here. Whether a company is served outside its
    province is the supervisor's question, and the custody chain's alert `issuer_outside_region`.

    Raises `personal_name_refused`, `field_missing`, `subject_fields_mismatch`, `subject_code_missing`,
    `investor_code_kind`, `qualification_mismatch`.
    """
    person = operation.kind == "person"
    required: tuple[str, ...] = ("name",)
    foreign: tuple[str, ...] = ("name_commitment", "identity_commitment")
    if person:
        if operation.name is not None:
            raise refuse("personal_name_refused", field="name")
        required, foreign = foreign, ("enterprise_code", "credit_code")
    for field in required:
        if getattr(operation, field) is None:
            raise refuse("field_missing", field=field)
    for field in foreign:
        if getattr(operation, field) is not None:
            raise refuse("subject_fields_mismatch", field=field)
    if operation.investor_code is None and (person or operation.enterprise_code is None):
        raise refuse("subject_code_missing")
    if operation.investor_code is not None and (operation.investor_code[0] == "Q") != person:
        raise refuse("investor_code_kind", investor_code=operation.investor_code)
    if operation.qualification is not None:
        if (operation.qualification.category == _NATURAL_PERSON_CATEGORY) != person:
            raise refuse("qualification_mismatch", category=operation.qualification.category)
        if operation.qualification.certified_at_ms > operation.occurred_at_ms:
            raise refuse("occurred_in_future", field="qualification.certified_at_ms")


def check_object_id_free(state: StateView, object_id: str) -> None:
    """Raises `object_id_reserved`, `object_id_used`: subjects, accounts and products share one name space."""
    if _REGISTRATION_ID.fullmatch(object_id) is not None:
        raise refuse("object_id_reserved", object_id=object_id)
    for key in (subject_key(object_id), account_key(object_id), product_key(object_id)):
        if state.get(key) is not None:
            raise refuse("object_id_used", object_id=object_id)


def register_subject(operation: RegisterSubject, ledger: Ledger) -> None:
    """Create a subject. Raises `object_id_used`, `…_code_used` and what `check_subject_shape` raises."""
    state = ledger.state
    check_object_id_free(state, operation.object_id)
    if operation.enterprise_code is not None:
        parts = parse_enterprise_code(operation.enterprise_code)
        if parts is not None:
            _claim_code(state, "enterprise", parts.key, operation.object_id)
    if operation.investor_code is not None:
        _claim_code(state, "investor", operation.investor_code, operation.object_id)
    if operation.credit_code is not None:
        _claim_code(state, "credit", operation.credit_code, operation.object_id)
    qualification = operation.qualification
    subject = Subject(
        credit_code=operation.credit_code,
        enterprise_code=operation.enterprise_code,
        identity_commitment=operation.identity_commitment,
        investor_code=operation.investor_code,
        kind="person" if operation.kind == "person" else "organisation",
        name=operation.name,
        name_commitment=operation.name_commitment,
        qualification_category=None if qualification is None else qualification.category,
        qualification_certified_at_ms=None if qualification is None else qualification.certified_at_ms,
    )
    state.put(subject_key(operation.object_id), encode_value(subject))
    ledger.emit_subject(operation.object_id, subject, Standing(shareholders=0, version=0))


def _claim_code(state: StateView, kind: Literal["enterprise", "investor", "credit"], code: str, object_id: str) -> None:
    key = code_index_key(kind, code)
    owner = state.get_index(key)
    if owner is not None:
        raise refuse(f"{kind}_code_used", code_value=code, owner=owner.decode("ascii"))
    state.put_index(key, object_id.encode("ascii"))
