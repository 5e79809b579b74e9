"""What is refused, and with which code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from common.core.errors import Rejected


@contextmanager
def refused(code: str, kind: type[Exception] = Rejected) -> Iterator[None]:
    """What is done within is refused with this code, by an error of this kind."""
    with pytest.raises(kind) as caught:
        yield
    error: Any = caught.value
    assert error.code == code
