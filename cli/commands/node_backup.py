"""`tongjian node backup` and `node restore`: a stopped node's database, with hashes, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cli import output
from cli.commands.node_join import Teller
from common.node.genesis_file import read_genesis
from common.node.settings import load_settings
from common.node.upkeep.backup import BackupInfo, back_up, read_backup
from common.node.upkeep.backup import restore as restore_backup

CONFIG = click.option(
    "--config",
    required=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The node's settings (TOML).",
)
DIRECTORY = click.Path(path_type=Path, file_okay=False)


@click.command()
@CONFIG
@click.option("--to", "target", required=True, type=DIRECTORY, help="A directory that is absent or empty.")
@output.AS_JSON
def backup(config: Path, target: Path, as_json: bool) -> None:
    """Copy the database of a stopped node, with hashes.

    Without keys, tokens, settings and votes: save key files and the genesis document apart. A running node is refused
    (database_in_use): stop it, its chain goes on with the other validators.
    """
    settings = load_settings(config)
    genesis = read_genesis(settings.genesis_file)
    teller = Teller()
    for step in back_up(settings.data_dir, genesis, target):
        teller(step)
    info = read_backup(target, genesis)
    if as_json:
        output.print_json(_facts(info, target))
    else:
        click.echo(f"{info.network} up to height {info.height}: {len(info.files)} files, {info.size_bytes:,} bytes")


def _facts(info: BackupInfo, directory: Path) -> dict[str, Any]:
    """What is printed of a backup as JSON."""
    return {
        "network": info.network,
        "genesis_id": info.genesis_id.hex(),
        "height": info.height,
        "block_id": info.block_id.hex(),
        "files": len(info.files),
        "bytes": info.size_bytes,
        "directory": str(directory),
    }


@click.command()
@CONFIG
@click.option("--from", "source", required=True, type=DIRECTORY, help="The backup's directory.")
@click.option(
    "--key-has-not-signed",
    is_flag=True,
    help="Only if this node's validator key has certainly signed nothing above the backup's height, no vote on the "
    "next block either (votes are not in a backup), or if a quorum was lost and all organisations give up what was "
    "signed above it: vote at once.",
)
@output.AS_JSON
def restore(config: Path, source: Path, key_has_not_signed: bool, as_json: bool) -> None:
    """Put a backup into a data directory that holds no chain; every file is checked against its hash.

    The node then catches up from its peers. A validator signs nothing before it is level with a quorum, and nothing at
    heights at which it may have signed before.
    """
    settings = load_settings(config)
    genesis = read_genesis(settings.genesis_file)
    teller = Teller()
    for step in restore_backup(settings.data_dir, genesis, source, may_have_voted=not key_has_not_signed):
        teller(step)
    info = read_backup(source, genesis)
    if as_json:
        output.print_json(_facts(info, source))
    else:
        click.echo(f"{info.network} restored at height {info.height}")
