"""One live node of either tier for the tests of a module; tests that need other limits or data start their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.custody_server import CustodyServer
from tests.api.server import LiveServer


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A node with a chain of its own."""
    directory: Path = tmp_path_factory.mktemp("node")
    with LiveServer(directory) as server:
        yield server


@pytest.fixture(scope="module")
def custody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CustodyServer]:
    """The custody chain with two regions."""
    with CustodyServer(tmp_path_factory.mktemp("custody")) as server:
        yield server
