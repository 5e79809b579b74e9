"""What holds for every test: examples that are generated never fail because the machine is busy, and a test that is a
coroutine runs in an event loop of the kind that nodes have."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import pytest
import uvloop
from hypothesis import HealthCheck, settings

settings.register_profile("any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any-machine")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a coroutine; a test that is to run in other loops too has them as its parameter `new_loop`."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments: dict[str, Any] = {
        name: pyfuncitem.funcargs[name] for name in inspect.signature(pyfuncitem.obj).parameters
    }
    with asyncio.Runner(loop_factory=arguments.get("new_loop", uvloop.new_event_loop)) as runner:
        runner.run(pyfuncitem.obj(**arguments))
    return True
