"""`tongjian node join`: fill an empty node from its peers by a checkpoint, then run it."""

from __future__ import annotations

import time
from pathlib import Path

import click

from cli import output
from cli.genesis_trust import trust_root
from cli.running import run_node
from common.core.errors import Conflict
from common.core.genesis import Genesis
from common.node.genesis_file import read_genesis
from common.node.logs import configure_logging
from common.node.settings import load_settings
from common.node.startup import check_certificates
from common.node.upkeep.checkpoint_import import Progress
from common.node.upkeep.join_headers import TrustedBlock
from common.node.upkeep.join_process import join_node
from crosslink.lightclient.trust import parse_trust_file

FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
SAY_EVERY_S = 1.0


@click.command()
@click.option("--config", required=True, type=FILE, help="The node's settings (TOML).")
@click.option(
    "--trust",
    "trust_path",
    type=FILE,
    help="A trust file that you hold; the block of its checkpoint must be on the chain that the peers show.",
)
@click.option("--no-run", is_flag=True, help="End after joining instead of running the node.")
@click.option(
    "--key-has-not-signed",
    is_flag=True,
    help="Only if this node's validator key has never signed anything: vote from the first height on.",
)
def join(config: Path, trust_path: Path | None, no_run: bool, key_has_not_signed: bool) -> None:
    """Join a chain by a checkpoint instead of executing all of its blocks, then catch up and run.

    Headers are followed from genesis; a checkpoint is taken that f+1 validators agree on, and what its header commits
    is proven. The data directory must hold no chain. After an interruption the same command goes on where it was.
    """
    settings = load_settings(config)
    genesis = read_genesis(settings.genesis_file)
    configure_logging("warning", None)
    check_certificates(settings, time.time_ns() // 1_000_000)
    joined = join_node(
        settings,
        Teller(),
        trusted=None if trust_path is None else trusted_block(trust_path, genesis),
        may_have_voted=not key_has_not_signed,
    )
    output.progress(
        f"joined {genesis.network} at height {joined.height}: {joined.chunks} chunks, {joined.size_bytes:,} bytes, "
        f"{joined.took_s:.1f} s"
    )
    if not no_run:
        run_node(config)


def trusted_block(path: Path, genesis: Genesis) -> TrustedBlock | None:
    """The checkpoint of the user's trust root for this chain. Raises NotFound, or Conflict for another deployment."""
    root = parse_trust_file(path.read_bytes()).root(genesis.network)
    own = trust_root(genesis)
    if root.identity() != own.identity():
        raise Conflict("join_other_root", f"the root in {path} is of another deployment of {genesis.network}")
    return None if root.checkpoint is None else TrustedBlock(root.checkpoint.height, root.checkpoint.id)


class Teller:
    """Says how far long work has come: when it changes its kind, and once a second."""

    def __init__(self) -> None:
        self._what = ""
        self._said_at = 0.0

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if progress.what == self._what and now - self._said_at < SAY_EVERY_S:
            return
        self._what, self._said_at = progress.what, now
        of = f" of {progress.total:,}" if progress.total else ""
        output.progress(f"{progress.what}: {progress.done:,}{of}")
