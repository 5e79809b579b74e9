"""One live node for the tests of a module; tests that need other limits start their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.server import LiveServer


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A node with a chain of its own."""
    directory: Path = tmp_path_factory.mktemp("node")
    with LiveServer(directory) as server:
        yield server
