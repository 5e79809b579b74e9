"""Labels: any script, nothing invisible, and the same verdict whatever Unicode version the interpreter knows."""

from __future__ import annotations

import pytest

from common.core.errors import Malformed
from common.core.names import check_identifier, check_label
from tests.support.refusals import refused


@pytest.mark.parametrize("label", ["北京 股权", "Αθήνα", "a", "\U0001f3e6", "\u0378"])
def test_labels_of_any_script_pass_unassigned_characters_included(label: str) -> None:
    assert check_label(label, "organisation") == label


@pytest.mark.parametrize(
    "label",
    [
        "",
        "x" * 129,
        "a\x00",
        "a\nb",
        "a\u202eb",
        "a\u2028",
        "\u3000a",
        "a\u200b",
        "\ud800",
        "a\ufeff",
        "\u3164",
        "a\u2800",
        "\uffa0",
        "\u115f",
        7,
    ],
)
def test_n6_labels_with_anything_invisible_are_refused(label: object) -> None:
    with refused("label_invalid", Malformed):
        check_label(label, "organisation")


@pytest.mark.parametrize("text", [".", "..", "...", ".a", "", "x" * 65, "a/b", "a b", "\u80a1", 7])
def test_identifiers_that_no_urls_path_carries_unchanged_are_refused(text: object) -> None:
    with pytest.raises(Malformed, match="identifier_invalid"):
        check_identifier(text, "object_id")


@pytest.mark.parametrize("text", ["a", "-", ":", "a.b", "A..z", "x" * 64])
def test_other_identifiers_pass(text: str) -> None:
    assert check_identifier(text, "object_id") == text
