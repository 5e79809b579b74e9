"""A manifest: which network runs, under which load, and what is done to it, one step after the other.

A step begins a disturbance, holds it for `for_s` seconds, ends it, and then waits until the chains that it touched
commit again. What must hold meanwhile is part of the step, so that a step that disturbs nothing is found out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

MANIFESTS = Path(__file__).parent / "manifests"

Kind = Literal["kill", "restart", "pause", "disconnect", "one_way", "slow", "split", "ring", "wipe", "upgrade"]
Meanwhile = Literal["commits", "stands_still", "anything"]


class Step(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One disturbance.

    `targets`: process names, or `leader of CHAIN`, `follower of CHAIN`, `all of CHAIN`, `any of CHAIN`; for `slow`,
    `split` and `ring` the names of chains. `one_way` stops what the targets send, `split` takes `groups` of node
    numbers.
    """

    do: Kind
    targets: tuple[str, ...]
    for_s: float = 2.0
    meanwhile: Meanwhile = "commits"
    resumes_within_s: float = 20.0
    repeat: int = 1
    delay_ms: int = 0
    jitter_ms: int = 0
    loss: float = 0.0
    groups: tuple[tuple[int, ...], ...] = ()
    version: str = ""


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole run. `load_per_s` transactions a second go to each region; `seed` chooses among equal targets."""

    name: str
    about: str
    regions: tuple[str, ...] = ("beijing",)
    load_per_s: float = 8.0
    seed: int = 1
    steps: tuple[Step, ...]


def read_manifest(path: Path) -> Manifest:
    """The manifest in a TOML file. Raises msgspec.ValidationError for anything that is none."""
    return msgspec.toml.decode(path.read_bytes(), type=Manifest)
