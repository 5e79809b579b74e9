"""Published test vectors by others (Wycheproof, ed25519-speccheck, JCS, RFC 6962, JSONTestSuite).

They are kept beside the project, in `../shared/vectors` or wherever TONGJIAN_VECTORS points; without them these
tests are skipped. Every deviation from a vector's own verdict is listed here and argued in
docs/adr/0002-canonical-json.md.
"""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

from common.core import merkle
from common.core.codec import canonical_json, parse_json
from common.core.errors import Malformed, ProofInvalid
from tests.support.refusals import refused
from tests.unit.core.builders import SUITE

DIRECTORY = Path(os.environ.get("TONGJIAN_VECTORS", Path(__file__).parents[4] / "shared" / "vectors"))

pytestmark = pytest.mark.skipif(
    not DIRECTORY.is_dir(),
    reason=f"the published vectors are not at {DIRECTORY} (set TONGJIAN_VECTORS to their folder)",
)


def load(path: str) -> Any:
    return json.loads((DIRECTORY / path).read_text(encoding="utf-8"))


def lines(path: str) -> list[Any]:
    return [json.loads(line) for line in (DIRECTORY / path).read_text(encoding="utf-8").splitlines()]


def test_e3_wycheproof_ed25519() -> None:
    document = load("wycheproof/ed25519_test.json")
    seen = 0
    for group in document["testGroups"]:
        key = bytes.fromhex(group["publicKey"]["pk"])
        SUITE.check_public_key(key)
        for case in group["tests"]:
            verdict = SUITE.verify(key, bytes.fromhex(case["msg"]), bytes.fromhex(case["sig"]))
            assert verdict == (case["result"] == "valid"), case
            seen += 1
    assert seen == document["numberOfTests"] == 151


def test_e3_speccheck_pattern_is_pinned() -> None:
    """Only case 3 verifies, and its key (of mixed order) is refused at enrolment, so no case is ever accepted."""
    cases = load("ed25519_speccheck/cases.json")
    verified, enrolled = "", ""
    for case in cases:
        key, signature = bytes.fromhex(case["pub_key"]), bytes.fromhex(case["signature"])
        verified += "V" if SUITE.verify(key, bytes.fromhex(case["message"]), signature) else "X"
        try:
            SUITE.check_public_key(key)
            enrolled += "V"
        except Malformed:
            enrolled += "X"
    assert verified == "XXXVXXXXXXXX"
    assert enrolled == "XXXXXXVVXXXX"


JCS_WITH_FLOATS = {"structures", "values"}


@pytest.mark.parametrize("name", ["arrays", "french", "structures", "unicode", "values", "weird"])
def test_e1_jcs_outputs_byte_for_byte_and_floats_refused(name: str) -> None:
    data = (DIRECTORY / "jcs/input" / f"{name}.json").read_bytes()
    output = (DIRECTORY / "jcs/output" / f"{name}.json").read_bytes()
    if name in JCS_WITH_FLOATS:
        with refused("json_float", Malformed):
            parse_json(data, max_size=1 << 20)
        # Everything but the numbers still has to agree: put an integer in their place on both sides.
        data = json.dumps(json.loads(data, parse_float=lambda text: 7, parse_int=lambda text: 7)).encode()
        output = canonical_json(json.loads(output, parse_float=lambda text: 7, parse_int=lambda text: 7))
    assert canonical_json(parse_json(data, max_size=1 << 20)) == output


def test_e8_rfc6962_inclusion_proofs() -> None:
    cases = lines("merkle_rfc6962/inclusion.jsonl")
    for case in cases:
        root = base64.b64decode(case["root"] or "")
        proof = [base64.b64decode(item) for item in case["proof"] or []]
        leaf_hash = base64.b64decode(case["leafHash"] or "")
        try:
            computed = merkle.root_from_leaf_hash(SUITE.hash, leaf_hash, case["leafIdx"], case["treeSize"], proof)
            holds = computed == root
        except ProofInvalid:
            holds = False
        assert holds == (not case["wantErr"]), case["path"]
    assert len(cases) == 98


JSON_DEVIATIONS = {
    "json_duplicate_key": {"y_object_duplicated_key.json", "y_object_duplicated_key_and_value.json"},
    "json_negative_zero": {"y_number_minus_zero.json", "y_number_negative_zero.json"},
    "json_float": {
        "y_number.json",
        "y_number_0e+1.json",
        "y_number_0e1.json",
        "y_number_double_close_to_zero.json",
        "y_number_int_with_exp.json",
        "y_number_real_capital_e.json",
        "y_number_real_capital_e_neg_exp.json",
        "y_number_real_capital_e_pos_exp.json",
        "y_number_real_exponent.json",
        "y_number_real_fraction_exponent.json",
        "y_number_real_neg_exp.json",
        "y_number_real_pos_exponent.json",
        "y_number_simple_real.json",
        "y_object_extreme_numbers.json",
        "y_structure_lonely_negative_real.json",
    },
}


def test_e1_json_test_suite() -> None:
    """All `n` refused; all `y` accepted but the argued deviations; all `i` refused, because parsers differ on them."""
    verdicts: dict[str, dict[str, set[str]]] = {"y": {}, "n": {}, "i": {}}
    for case in lines("json_parsing/test_parsing.jsonl"):
        try:
            parse_json(bytes.fromhex(case["bytes_hex"]), max_size=1 << 20)
            verdict = "accepted"
        except Malformed as error:
            verdict = error.code
        verdicts[case["expect"]].setdefault(verdict, set()).add(case["name"])
    assert len(verdicts["y"].pop("accepted")) == 76
    assert verdicts["y"] == JSON_DEVIATIONS
    assert "accepted" not in verdicts["n"] | verdicts["i"]
    assert [sum(map(len, verdicts[kind].values())) for kind in "ni"] == [187, 35]


def test_e1_the_file_left_out_of_the_json_test_suite() -> None:
    rebuild = load("json_parsing/skipped.json")[0]["rebuild"]
    data = bytes.fromhex(rebuild["unit_hex"]) * rebuild["times"] + bytes.fromhex(rebuild["suffix_hex"])
    with refused("json_depth", Malformed):
        parse_json(data, max_size=1 << 20)
