"""`tongjian region`: the operations by which governance of the custody chain admits and recovers a region."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import click

from cli import output
from cli.enrolment import read_json_file
from cli.genesis_trust import trust_root
from cli.output import Group
from common.core.errors import Conflict, Malformed, RuleBroken
from common.core.genesis import parse_genesis
from crosslink.lightclient.trust import parse_trust_file
from crosslink.lightclient.trust_root import DEFAULT_TRUSTING_PERIOD_MS

FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
REASON = click.option("--reason", required=True, help="Why, for the record.")
MAX_ANSWER_BYTES = 2 * 1024 * 1024


@click.group(cls=Group)
def command() -> None:
    """Regions of the custody chain: operations for `tongjian tx sign`."""


@command.command()
@click.argument("genesis_file", type=FILE)
@click.option("--letters", required=True, help="Region letters of JR/T 0326-2024, e.g. SH.")
@click.option("--silent-after-ms", type=click.IntRange(1), help="Without a block for so long it counts as silent.")
@click.option("--lagging-after-ms", type=click.IntRange(1), help="Without a block for so long it counts as lagging.")
@click.option("--trusting-period-ms", type=click.IntRange(1), help="After so long without a block it has expired.")
@REASON
@output.ALWAYS_JSON
def register(
    genesis_file: Path,
    letters: str,
    silent_after_ms: int | None,
    lagging_after_ms: int | None,
    trusting_period_ms: int | None,
    reason: str,
) -> None:
    """Print the `region.register` operation for the chain of GENESIS_FILE. The fingerprint of its root goes to standard
    error: compare it with the market by telephone."""
    root = trust_root(parse_genesis(genesis_file.read_bytes()))
    if root.tier != "business":
        raise Malformed("region_settings", f"{root.network} is not a business chain")
    periods = {
        "silent_after_ms": silent_after_ms,
        "lagging_after_ms": lagging_after_ms,
        "trusting_period_ms": trusting_period_ms,
    }
    region = {name: value for name, value in root.to_json().items() if name != "tier"}
    region |= {"region_letters": letters} | {name: value for name, value in periods.items() if value is not None}
    click.echo(f"{root.network:<12} {root.fingerprint().hex()}", err=True)
    output.print_json({"type": "region.register", "region": region, "reason": reason})


@command.command()
@click.argument("region")
@click.option("--trust", "trust_file", required=True, type=FILE, help="What `trust export --at HEIGHT` printed.")
@click.option("--anchored", required=True, type=FILE, help="The custody chain's answer to GET /v1/regions/REGION.")
@click.option("--trusting-period-ms", type=click.IntRange(1), help="Another period than the region has.")
@REASON
@output.ALWAYS_JSON
def recover(region: str, trust_file: Path, anchored: Path, trusting_period_ms: int | None, reason: str) -> None:
    """Print the `region.recover` operation for REGION: verification goes on above the checkpoint of --trust.

    Take the anchored block itself as the checkpoint if the region still has it; then no block is skipped. Standard
    error says how many blocks are. The region keeps its trusting period.
    """
    root = parse_trust_file(trust_file.read_bytes()).root(region)
    if root.checkpoint is None:
        raise Malformed("recovery_root", f"the root of {region} has no checkpoint: `trust export --at HEIGHT`")
    held = _anchored(anchored, region)
    height, block_id, at = held.height, held.block_id, root.checkpoint
    if at.height < height:
        raise RuleBroken("recovery_backwards", f"{region} is anchored at {height}, above the checkpoint at {at.height}")
    if at.height == height and at.id.hex() != block_id:
        raise Conflict(
            "recovery_backwards",
            f"{region} has another block at height {height} than the anchored one: take a checkpoint above it",
        )
    skipped = at.height - height
    if skipped:
        click.echo(f"{skipped} blocks, {height + 1} to {at.height}, will not be completely taken in", err=True)
    trusted = {name: value for name, value in root.to_json().items() if name != "tier"}
    trusted["trusting_period_ms"] = trusting_period_ms or held.trusting_period_ms
    if root.trusting_period_ms not in (DEFAULT_TRUSTING_PERIOD_MS, trusted["trusting_period_ms"]):
        told = f"the trusting period is {trusted['trusting_period_ms']} ms, not the trust file's"
        click.echo(f"{told} {root.trusting_period_ms} ms", err=True)
    output.print_json(
        {
            "type": "region.recover",
            "region": region,
            "trust_root": trusted,
            "from_height": at.height + 1,
            "previous_anchored_id": block_id,
            "reason": reason,
        }
    )


class _Held(NamedTuple):
    """What the custody chain holds of a region, as the user saved its answer."""

    height: int
    block_id: str
    trusting_period_ms: int


def _anchored(file: Path, region: str) -> _Held:
    document = read_json_file(file, MAX_ANSWER_BYTES, "anchoring_not_shown")
    data = document.get("data") if isinstance(document, dict) else None
    if not isinstance(data, dict) or data.get("region") != region:
        raise Malformed("anchoring_not_shown", f"{file} is no answer to GET /v1/regions/{region}")
    height, block_id, period = data.get("anchored_height"), data.get("block_id"), data.get("trusting_period_ms")
    if type(height) is not int or type(block_id) is not str or type(period) is not int:
        raise Malformed("anchoring_not_shown", f"{file} does not name the anchored block and the trusting period")
    return _Held(height, block_id, period)
