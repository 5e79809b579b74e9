"""`tongjian verify` takes what a user saves: an evidence file, or the whole answer that holds one."""

from __future__ import annotations

import json

from cli.answer_evidence import evidence_in
from common.core.errors import Malformed
from crosslink.lightclient.evidence_check import verify_evidence_file
from tests.support.evidence import evidence_case
from tests.support.refusals import refused


def test_a_file_stays_as_it_is_and_an_answer_is_unwrapped() -> None:
    case = evidence_case()
    file = case.evidence.encode()
    answer = json.dumps({"as_of_ms": 1, "custody_height": 2, "data": {}, "evidence": json.loads(file)}).encode()
    assert evidence_in(file) == file
    assert verify_evidence_file(evidence_in(answer), case.trust).height == case.custody.height


def test_an_answer_without_evidence_says_so() -> None:
    with refused("evidence_absent", Malformed):
        evidence_in(b'{"data":[],"evidence":null}')


def test_what_is_neither_is_left_to_the_verifier() -> None:
    assert evidence_in(b'{"data":[]}') == b'{"data":[]}'
