"""`tongjian trust`: the trust roots that `verify` needs, for a user to keep apart from any evidence."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import click

from cli import output
from cli.checkpoint import agreed_checkpoint
from cli.client import Api
from cli.genesis_trust import trust_root
from cli.localnet.layout import LocalNetwork, load_network
from cli.localnet.readiness import node_api
from cli.output import Group
from cli.paired import one_for_each
from common.core.genesis import parse_genesis
from crosslink.lightclient.trust import build_trust_file

FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.group(cls=Group)
def command() -> None:
    """Trust roots for `verify`."""


@command.command()
@click.argument("genesis_files", nargs=-1, type=FILE)
@click.option(
    "--localnet", type=click.Path(path_type=Path, file_okay=False), help="Export every chain of a local network."
)
@click.option("--recent", is_flag=True, help="Add the newest block as a checkpoint (needs --url or --localnet).")
@click.option("--at", "height", type=click.IntRange(1), help="Add the block at this height as a checkpoint.")
@click.option("--url", "urls", multiple=True, help="A node of the chain; name several organisations', all are asked.")
@click.option(
    "--token-file", "token_files", multiple=True, type=FILE, help="Reader token: one for each --url, or one for all."
)
@click.option("--ca-file", type=FILE, help="Certificates to trust for TLS (PEM).")
@output.ALWAYS_JSON
def export(
    genesis_files: tuple[Path, ...],
    localnet: Path | None,
    recent: bool,
    height: int | None,
    urls: tuple[str, ...],
    token_files: tuple[Path, ...],
    ca_file: Path | None,
) -> None:
    """Print a trust file for the chains of GENESIS_FILES, or of a local network; fingerprints go to standard error.

    Get genesis documents from the chains' founders, not from whoever hands you evidence, and compare fingerprints by
    telephone. A checkpoint (--recent, --at) is what every node that is named shows; compare its id the same way.
    """
    network = load_network(localnet) if localnet else None
    files = list(genesis_files) + ([chain.genesis_file for chain in network.chains] if network else [])
    tokens = one_for_each(token_files, len(urls), "--token-file", "--url")
    _check_use(files, network, recent, height, urls)
    roots = []
    for file in files:
        genesis = parse_genesis(file.read_bytes())
        root = trust_root(genesis)
        click.echo(f"{root.network:<12} {root.fingerprint().hex()}", err=True)
        if recent or height is not None:
            with ExitStack() as stack:
                nodes = [
                    stack.enter_context(Api([url], _token(token), ca_file))
                    for url, token in zip(urls, tokens, strict=True)
                ]
                if network:
                    nodes.append(stack.enter_context(node_api(network, network.chain(genesis.network))))
                checkpoint = agreed_checkpoint(nodes, genesis, height)
            click.echo(f"{'':<12} block {checkpoint.height} {checkpoint.id.hex()}", err=True)
            root = replace(root, checkpoint=checkpoint)
        roots.append(root)
    click.echo(build_trust_file(roots).encode())


def _check_use(
    files: list[Path], network: LocalNetwork | None, recent: bool, height: int | None, urls: tuple[str, ...]
) -> None:
    if not files:
        raise click.UsageError("name genesis documents, or --localnet DIR")
    if recent and height is not None:
        raise click.UsageError("--recent and --at exclude each other")
    wants_checkpoint = recent or height is not None
    if wants_checkpoint and network is None and not urls:
        raise click.UsageError("a checkpoint needs nodes to ask: --url for each, or --localnet")
    if (height is not None or urls) and len(files) != 1:
        raise click.UsageError("a height and URLs are one chain's: name one genesis document")
    if urls and (not wants_checkpoint or network is not None):
        raise click.UsageError("--url is for a checkpoint (--recent, --at) without --localnet")


def _token(file: Path | None) -> str | None:
    return file.read_text().strip() if file else None
