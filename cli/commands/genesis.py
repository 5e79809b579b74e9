"""`tongjian genesis`: join the public parts that organisations made into a chain's genesis."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Literal

import click

from cli import output
from cli.enrolment import PublicPart, read_json_file
from cli.enrolment import assemble as assemble_genesis
from cli.founding import complete, judge
from cli.output import Group
from common.core.errors import Conflict
from common.core.genesis import MAX_GENESIS_BYTES
from common.core.suite import DEFAULT_SUITE


@click.group(cls=Group)
def command() -> None:
    """Genesis documents."""


@command.command()
@click.argument("parts", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--tier", type=click.Choice(["business", "custody"]), required=True)
@click.option(
    "--application",
    required=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="JSON of the tier's own part: signers, policy, and for the custody chain the regions' trust roots.",
)
@click.option("--time-ms", type=int, help="Time of founding; all organisations must give the same. Default: now.")
@click.option(
    "--output", "target", required=True, type=click.Path(path_type=Path, dir_okay=False), help="File to write."
)
@output.ALWAYS_JSON
def assemble(
    parts: tuple[Path, ...], tier: Literal["business", "custody"], application: Path, time_ms: int | None, target: Path
) -> None:
    """Join PARTS (public.json files) into a genesis document; print its id, for the organisations to compare.

    The tier's own rules judge it first; docs/operators.md has an example of --application for both tiers.
    """
    if target.exists():
        raise Conflict("file_exists", f"{target} exists already")
    tier_part = read_json_file(application, MAX_GENESIS_BYTES, "application_file")
    genesis = assemble_genesis(
        [PublicPart.load(path) for path in parts],
        tier=tier,
        time_ms=time_ms if time_ms is not None else time.time_ns() // 1_000_000,
        application=complete(tier_part, tier, DEFAULT_SUITE),
    )
    for role in judge(genesis):
        output.progress(f"no signer has the role {role}: what it makes or checks has to wait for one")
    target.write_bytes(genesis.document)
    output.print_json(
        {"network": genesis.network, "genesis_id": genesis.id.hex(), "validators": genesis.validators.size}
    )
