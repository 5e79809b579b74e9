"""A place for nodes on loopback, and what stands behind the node under test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.runtime.channels import MEMBERS
from tests.unit.runtime.network import Recorder, Site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """An authority for the certificates of a test."""
    return Site(tmp_path)


@pytest.fixture
def recorder() -> Recorder:
    """What a transport tells its node, of four members."""
    return Recorder(MEMBERS)
