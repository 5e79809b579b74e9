"""What a checker raises: which checker it was, besides what it saw."""

from __future__ import annotations

from tests.sim.checkers import Violation


class Caught(Violation):
    """Safety or liveness is broken; `checker` says who saw it."""

    def __init__(self, checker: str, message: str) -> None:
        super().__init__(message)
        self.checker = checker


_BY_TEXT = (
    ("fork at height", "agreement"),
    ("commits height", "certificate"),
    ("votes twice", "conduct"),
    ("which it left", "conduct"),
    ("is accused", "accusation"),
    ("cuts off correct node", "accusation"),
    ("no progress", "liveness"),
    ("a storm", "storm"),
    ("warns", "warnings"),
)


def checker_of(error: BaseException) -> str:
    """A short name for whoever saw it; an exception that no checker raised is the crash of a correct node."""
    if isinstance(error, Caught):
        return error.checker
    if isinstance(error, Violation):
        return next((name for text, name in _BY_TEXT if text in str(error)), "violation")
    return f"crash ({type(error).__name__})"
