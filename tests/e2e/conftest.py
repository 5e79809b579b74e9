"""One running network for the end-to-end tests: two regions and the custody chain, four validators each, one relay."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.running import Network


@pytest.fixture(scope="session")
def network() -> Iterator[Network]:
    """Started through the command line, as an operator would; every process is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="tongjian-e2e-"))
    try:
        with Network.found(folder / "network", regions=["beijing", "shanghai"]) as running:
            running.up()
            yield running
    finally:
        shutil.rmtree(folder, ignore_errors=True)
