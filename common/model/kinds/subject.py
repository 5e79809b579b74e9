"""Subjects (主体): companies, institutions and persons.

Invariant: no personal data in clear. A person's name and identity number fields hold salted commitments, and other
personal fields are left out.
Left out: who may be registered, and under which codes.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from common.model import codes
from common.model.document import encode_document
from common.model.enumerations import NOT_STATED, OTHER, SUBJECT_TYPES
from common.model.values import date_time, group_in, number_in, text_in

SUBJECT: Final = "subject"


def subject_body(
    *,
    subject_id: str,
    kind: str,
    maintained_at: str,
    shareholders: int,
    name: str | None,
    credit_code: str | None,
    name_commitment: str | None,
    identity_commitment: str | None,
    qualification_category: int | None,
    qualification_certified_at_ms: int | None,
) -> bytes:
    """Canonical JSON of a subject. `subject_id` is a code of the subject, or an identity of its own."""
    basic: dict[str, Any] = {
        "general_information_subject": {
            "subject_id": subject_id,
            "subject_type": SUBJECT_TYPES[kind],
            "subject_main_administrative_region": NOT_STATED,
            "subject_create_time": maintained_at,
        }
    }
    if qualification_category is not None and qualification_certified_at_ms is not None:
        suitability = {
            "subject_investor_qualification": OTHER,
            "subject_investor_qualification_sub": str(qualification_category),
            "subject_investor_qualification_description": "CSRC Decree 132 Art. 13",
            "subject_investor_qualification_certificate_time": date_time(qualification_certified_at_ms),
            "subject_investor_qualification_status": True,
        }
        basic["subject_qualification_information"] = [{"investor_suitability_information": [suitability]}]
    information: dict[str, Any] = {"basic_information_subject": basic}
    if kind == "person":
        information["personal_subject_information"] = {
            "personal_subject_basic_information": {
                "subject_investor_name": name_commitment,
                "subject_id_type": NOT_STATED,
                "subject_id_number": identity_commitment,
            }
        }
    else:
        description: dict[str, Any] = {"subject_company_name": name, "subject_shareholders_number": shareholders}
        if credit_code is not None:
            description["subject_document_information"] = [{"code": credit_code}]
        information["organization_subject_information"] = {
            "basic_information_of_enterprise": {"basic_information_description": description}
        }
    return encode_document({"subject_information": information})


def subject_metadata(
    *, enterprise_code: str | None, investor_code: str | None, qualification_category: int | None
) -> dict[str, Any]:
    """Codes of a subject, each under its own name, since `subject_id` has room for one."""
    stated = {
        "enterprise_code": enterprise_code,
        "investor_code": investor_code,
        "qualification_category": qualification_category,
    }
    return {name: value for name, value in stated.items() if value is not None}


class SubjectFacts(msgspec.Struct, frozen=True):
    """Who a subject is. Persons carry no name here: none is on chain in clear."""

    investor: str | None
    enterprise: str | None
    organisation: bool
    name: str | None
    shareholders: int | None


def subject_facts(body: dict[str, Any], metadata: Any) -> SubjectFacts:
    """Facts of a subject's body. `subject_id` carries an investor code or an enterprise code.

    An organisation that issues and invests has both: our business chains name each in `header.metadata`
    (`investor_code`, `enterprise_code`), which the data model reserves for the local chain.
    """
    info = group_in(body, "subject_information")
    general = group_in(info, "basic_information_subject", "general_information_subject")
    company = group_in(
        info, "organization_subject_information", "basic_information_of_enterprise", "basic_information_description"
    )
    named = text_in(general, "subject_id")
    local = metadata if isinstance(metadata, dict) else {}
    return SubjectFacts(
        investor=codes.investor_code(named) or codes.investor_code(text_in(local, "investor_code")),
        enterprise=codes.enterprise_key(named) or codes.enterprise_key(text_in(local, "enterprise_code")),
        organisation="organization_subject_information" in info,
        name=text_in(company, "subject_company_name"),
        shareholders=number_in(company, "subject_shareholders_number"),
    )
