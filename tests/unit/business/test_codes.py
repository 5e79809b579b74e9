"""Codes of JR/T 0326-2024, the unified social credit code, resident identity numbers, and text in fields."""

from __future__ import annotations

import time
from typing import Any

import pytest

from business_chain.operations.fields import Text
from business_chain.operations.operation_records import IDENTIFIER
from common.core.errors import Rejected
from common.model import codes
from common.model.enumerations import SHARE_NATURES

CREDIT_CODES = [
    *("91000000FAKE00013N", "91000000FAKE00021H", "12000000FAKE0003XE", "91110000FAKE00013H", "91310000FAKE00013Y"),
    *("91320000FAKE000133", "91330000FAKE000137", "91440300FAKE00013H"),
]
RESIDENT_NUMBERS = ["000000190001010017", "000000190001010025", "00000019000101005X"]


@pytest.mark.parametrize("code", CREDIT_CODES)
def test_credit_codes_with_a_right_check_character_pass(code: str) -> None:
    assert codes.is_credit_code(code)


def test_credit_code_catches_every_substitution_and_adjacent_swap() -> None:
    """GB 32100-2015: as the fact sheet says of the first example."""
    code = CREDIT_CODES[0]
    for place in range(18):
        for character in "0123456789ABCDEFGHJKLMNPQRTUWXY":
            changed = code[:place] + character + code[place + 1 :]
            assert codes.is_credit_code(changed) == (changed == code)
    for place in range(17):
        swapped = code[:place] + code[place + 1] + code[place] + code[place + 2 :]
        assert codes.is_credit_code(swapped) == (swapped == code)


@pytest.mark.parametrize(
    "code", ["", "91000000FAKE00013", "91000000FAKE00013NN", "91000000fake00013N", "9１000000FAKE00013N"]
)
def test_credit_codes_of_another_form_fail(code: str) -> None:
    assert not codes.is_credit_code(code)


def in_digits_from(zero: str, number: str) -> str:
    """The number in digits of another width or script."""
    return "".join(chr(ord(zero) + int(digit)) for digit in number)


@pytest.mark.parametrize(
    "text",
    [
        *RESIDENT_NUMBERS,
        *("00000019000101005x", "案000000190001010017号", "A:000000190001010017"),
        *("00000019000101005Ｘ", in_digits_from("０", "000000190001010017"), in_digits_from("٠", "000000190001010017")),
        *[in_digits_from(zero, "000000190001010017") for zero in "๐০߀𝟎"],
        *("〇〇〇〇〇〇一九〇〇〇一〇一〇〇一七", "⓪⓪⓪⓪⓪⓪①⑨⓪⓪⓪①⓪①⓪⓪①⑦", "⁰⁰⁰⁰⁰⁰¹⁹⁰⁰⁰¹⁰¹⁰⁰¹⁷"),
        *(
            "000000 19000101 0017",
            "000000-1900-0101-0017",
            "证件 0 0 0 0 0 0 1 9 0 0 0 1 0 1 0 0 1 7",
            "000000/19000101/005X",
        ),
        *("000000 - 19000101 - 0017", "000000  190001010017", "(000000)190001010017", "000000，19000101，0017"),
        *(
            "〔000000〕 1900·01·01 －00－17",
            "000000|1900_01_01|005X",
            "1. 000000 19000101 0017",
            "12,000000,19000101,0017,3",
        ),
        "000000 1900 0101 0018 / 000000 1900 0101 0017",
    ],
)
def test_privacy_resident_identity_numbers_are_found(text: str) -> None:
    assert codes.holds_resident_number(text)


@pytest.mark.parametrize(
    "text",
    [
        *("000000190001010018", "1000000190001010017", "0000001900010100171", "000000190013010017"),
        *("000000 19000101 0018", "000000     19000101 0017", "000000 19000101 00171", "2026-11-27 10:00 / 1234567"),
        *("000000号19000101号0017", "1,234,567.00，890,123.45，67,890.12", "123,456.78 - 2026-01-05 - 1,000"),
        *(
            "1,000,000，1900-01-01，0018",
            "000000 - 19000101 - 0018",
            "000000 - 19001301 - 0017",
            "2026-01-05，2026-02-05",
        ),
    ],
)
def test_other_digits_are_no_resident_identity_numbers(text: str) -> None:
    assert not codes.holds_resident_number(text)


@pytest.mark.parametrize("part", ["1", "1 ", "0 0 0 0 0 0 1 9 0 0 0 1 0 1 0 0 ", "，", "000000 1900010100 ", "字 0 "])
def test_the_cost_grows_with_the_length_alone(part: str) -> None:
    def seconds(size: int) -> float:
        text = part * (size // len(part))
        started = time.process_time()
        assert not codes.holds_resident_number(text)
        return time.process_time() - started

    assert min(seconds(200_000) for _ in range(3)) < 1, "quadratic: minutes"


@pytest.mark.parametrize(
    ("code", "parts"),
    [
        ("BJ000001F", ("BJ", "000001", "F")),
        ("SZX123456", ("SZX", "123456", "")),
        ("SX000009T", ("SX", "000009", "T")),
        ("BJ000001A", None),
        ("XX000001", None),
        ("BJ00001", None),
        ("BJ０00001", None),
        ("BJ000001F\n", None),
    ],
)
def test_enterprise_codes(code: str, parts: tuple[str, str, str] | None) -> None:
    assert codes.parse_enterprise_code(code) == parts


def test_the_standards_own_product_code_is_the_tenth_issue_of_2021() -> None:
    parts = codes.parse_product_code("BJ000001F.DCFGFR2110")
    assert parts == ("BJ000001F", "BJ", "DCFGFR", "21", "10")
    assert (parts.year, parts.number) == ("21", "10")


@pytest.mark.parametrize(
    "code", ["BJ000001F.S2101", "BJ000001FDCFGFR2110", "BJ000001F.DCFGFR2100", "BJ000001F.dcfgfr2110"]
)
def test_other_product_codes_fail(code: str) -> None:
    assert codes.parse_product_code(code) is None


def test_tables_have_the_numbers_of_the_sources() -> None:
    assert len(codes.REGION_LETTERS) == len(set(codes.REGION_LETTERS)) == 35
    assert len(SHARE_NATURES) == 59


@pytest.mark.parametrize(
    "text",
    [
        "a\nb",
        "a\x00",
        "\x7f",
        "\u202eabc",
        "zero\u200bwidth",
        " a",
        "a ",
        "\U000e0041",
        "\ufeffa",
        "\u3164",
        "\u2800",
        "\ue000",
        "a\u00a0b",
    ],
)
def test_n6_text_with_control_or_format_characters_is_refused(text: str) -> None:
    with pytest.raises(Rejected, match="field_invalid"):
        Text(64, note="").read(text, "name")


def test_text_of_any_script_passes() -> None:
    for text in ("样例公司（集团）", "Société d'exemple", "a b", "𠮷野"):
        assert Text(64, note="").read(text, "name") == text


@pytest.mark.parametrize("value", ["", "a/b", "a b", "é", "a" * 65, "１"])
def test_identifiers_are_short_ascii(value: Any) -> None:
    with pytest.raises(Rejected, match="field_invalid"):
        IDENTIFIER.read(value, "account")
