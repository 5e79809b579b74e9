"""Labels: any script, nothing invisible, and the same verdict whatever Unicode version the interpreter knows."""

from __future__ import annotations

import pytest

from common.core.errors import Malformed
from common.core.names import check_label


@pytest.mark.parametrize("label", ["北京 股权", "Αθήνα", "a", "\U0001f3e6", "\u0378"])
def test_labels_of_any_script_pass_unassigned_characters_included(label: str) -> None:
    assert check_label(label, "organisation") == label


@pytest.mark.parametrize(
    "label", ["", "x" * 129, "a\x00", "a\nb", "a\u202eb", "a\u2028", "\u3000a", "a\u200b", "\ud800", "a\ufeff", 7]
)
def test_n6_labels_with_anything_invisible_are_refused(label: object) -> None:
    with pytest.raises(Malformed) as refusal:
        check_label(label, "organisation")
    assert refusal.value.code == "label_invalid"
