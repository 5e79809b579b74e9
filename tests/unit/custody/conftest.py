"""One region's chain and a custody chain that knows it; a file that starts from more has fixtures of its own."""

from __future__ import annotations

import pytest

from tests.support.chains import ChainBuilder
from tests.support.custody import Custody


@pytest.fixture
def chain() -> ChainBuilder:
    """The chain of a market, empty."""
    return ChainBuilder()


@pytest.fixture
def custody(chain: ChainBuilder) -> Custody:
    """A custody chain with that one region, nothing delivered yet."""
    return Custody([chain])
