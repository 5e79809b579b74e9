"""Ways to make a substitute out of an original."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from common.core.certificate import Certificate, commit_payload
from common.core.errors import Rejected
from common.core.header import Header
from common.core.suite import Suite
from common.core.validators import ValidatorSet

Make = Callable[[Any], Any]


def ignoring(original: Any, *codes: str) -> Any:
    """The original without the checks that refuse with these codes (and what comes behind them)."""

    @functools.wraps(original)
    def lenient(*arguments: Any, **named: Any) -> Any:
        try:
            return original(*arguments, **named)
        except Rejected as refusal:
            if refusal.code not in codes:
                raise
            return None

    return lenient


def answering(original: Any, answer: Any) -> Any:
    """Always the same answer."""

    @functools.wraps(original)
    def fixed(*arguments: Any, **named: Any) -> Any:
        return answer

    return fixed


def doing_nothing(original: Any) -> Any:
    """Never does anything."""
    return answering(original, None)


def lenient_certificate(
    original: Any, *, too_few: bool = False, duplicates: bool = False, block: bool = False, signatures: bool = False
) -> Any:
    """`verify_certificate` without some of its checks."""

    @functools.wraps(original)
    def verify_certificate(suite: Suite, validators: ValidatorSet, header: Header, certificate: Certificate) -> None:
        if not block and (certificate.height, certificate.block_id) != (header.height, header.id(suite)):
            raise Rejected("certificate_wrong_block", "another block")
        indexes = [index for index, _ in certificate.signatures]
        if max(indexes, default=0) >= validators.size or (not duplicates and len(set(indexes)) != len(indexes)):
            raise Rejected("certificate_unknown_signer", "signers")
        if not too_few and len(indexes) < validators.quorum:
            raise Rejected("certificate_too_few", "too few")
        payload = commit_payload(
            suite, header.genesis_id, header.network, certificate.height, certificate.view, certificate.block_id
        )
        for index, signature in certificate.signatures:
            if not signatures and not suite.verify(validators.members[index].public_key, payload, signature):
                raise Rejected("certificate_bad_signature", "bad")

    return verify_certificate
