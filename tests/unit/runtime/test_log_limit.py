"""A hostile peer cannot fill the log: one line for each subject in an interval, with a count (attack N6)."""

from __future__ import annotations

import logging

import pytest

from common.node.log_limit import MAX_SUBJECTS, LimitedLog

LOG = logging.getLogger("tests.limited")


class Clock:
    """Seconds that the test moves."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_n6_a_flood_is_one_line_an_interval_with_the_number_left_out(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    limited = LimitedLog(LOG, 60.0, clock)
    with caplog.at_level(logging.INFO):
        for _ in range(10_000):
            limited.write(logging.WARNING, "lied", ("peer-1", "bad_signature"), {"code": "bad_signature"})
        limited.write(logging.WARNING, "lied", ("peer-2", "bad_signature"), {})
        limited.write(logging.WARNING, "lied", ("peer-1", "other"), {})
        assert len(caplog.records) == 3
        clock.now += 60.0
        limited.write(logging.WARNING, "lied", ("peer-1", "bad_signature"), {})
        assert vars(caplog.records[-1])["left_out"] == 9_999
        clock.now += 60.0
        limited.write(logging.WARNING, "lied", ("peer-1", "bad_signature"), {})
        assert not hasattr(caplog.records[-1], "left_out")


def test_n6_subjects_are_bounded() -> None:
    limited = LimitedLog(LOG, 60.0, Clock())
    for number in range(2 * MAX_SUBJECTS):
        assert limited.write(logging.DEBUG, "new", (str(number),), {})
    assert len(limited._subjects) == MAX_SUBJECTS
