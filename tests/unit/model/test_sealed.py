"""Bodies off the chain: stated by the operation, committed in the metadata, known to supervision (docs/adr/0078)."""

from __future__ import annotations

from typing import Any

import pytest

from common.core.errors import Rejected
from common.model.sealed import MAX_SEALED_BODIES, MAX_SEALED_BYTES, SealedBody, sealed_facts, sealed_metadata
from tests.support.chains import ChainBuilder
from tests.support.custody import Custody, person
from tests.unit.business.market import Market

BODY = SealedBody(digest="ab" * 32, media_type="application/pdf", size_bytes=48_213)
STATED = {"digest": BODY.digest, "media_type": BODY.media_type, "size_bytes": BODY.size_bytes}

NO_FACTS: list[Any] = [
    None,
    [],
    {},
    {"sealed_bodies": STATED},
    {"sealed_bodies": [STATED] * (MAX_SEALED_BODIES + 1)},
    *(
        {"sealed_bodies": [STATED, STATED | change]}
        for change in (
            {"digest": "AB" * 32},
            {"digest": "ab" * 31},
            {"media_type": "pdf"},
            {"media_type": "text/html; charset=utf-8"},
            {"size_bytes": 0},
            {"size_bytes": MAX_SEALED_BYTES + 1},
            {"size_bytes": "1"},
        )
    ),
]


def test_what_is_written_is_read() -> None:
    assert sealed_facts(sealed_metadata([BODY, BODY])) == (BODY, BODY)
    assert sealed_metadata([]) == {}


@pytest.mark.parametrize("metadata", NO_FACTS)
def test_what_is_of_another_form_is_no_fact(metadata: Any) -> None:
    assert sealed_facts(metadata) == ()


def test_an_operation_commits_its_objects_to_the_bodies() -> None:
    market = Market().open_for_business(100)
    snapshots = market.apply(market.transfer(1, 2, 10, sealed_bodies=[STATED]))
    assert snapshots
    assert all(sealed_facts(snapshot["header"]["metadata"]) == (BODY,) for snapshot in snapshots)


@pytest.mark.parametrize("change", [{"digest": "x"}, {"size_bytes": MAX_SEALED_BYTES + 1}, {"media_type": ""}])
def test_an_operation_with_another_form_is_refused(change: dict[str, Any]) -> None:
    market = Market().open_for_business(100)
    with pytest.raises(Rejected, match="field_"):
        market.check(market.transfer(1, 2, 10, sealed_bodies=[STATED | change]))


def test_supervision_keeps_what_each_version_commits_to() -> None:
    chain = ChainBuilder()
    custody = Custody([chain])
    sealed = {"sealed_bodies": [STATED]}
    custody.deliver(chain, person("p1", "Q000000001", metadata=sealed), person("p1", "Q000000001", version=1))
    assert [key for key in custody.state.index if key.startswith(b"sealed/")] == [b"sealed/beijing/p1/" + b"0" * 16]
    custody.deliver(chain, person("p1", "Q000000001", version=0, operation="overwrite"))
    assert not [key for key in custody.state.index if key.startswith(b"sealed/")]
