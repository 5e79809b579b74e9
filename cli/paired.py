"""Options that are repeated in step: a passphrase file for each key, a token file for each URL."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click


def one_for_each(files: Sequence[Path], count: int, what: str, of: str) -> list[Path | None]:
    """One file for each of `count` things, in their order: as many as these, one for all, or none. Raises UsageError.

    A single rule for every such option, so that none of several is ever left out without a word.
    """
    if not files:
        return [None] * count
    if len(files) not in (1, count) or count == 0:
        raise click.UsageError(
            f"{len(files)} {what} for {count} {of}: give one for each, in their order, or one for all"
        )
    return list(files) if len(files) == count else [files[0]] * count
