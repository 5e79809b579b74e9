"""`tongjian node`: make one node's keys, run it, join a chain; check, repair, prune, save and restore its
data; check its query log."""

from __future__ import annotations

import time
from pathlib import Path

import click

from cli import output
from cli.commands.node_backup import backup, restore
from cli.commands.node_check import check
from cli.commands.node_join import join
from cli.commands.node_prune import command as prune
from cli.commands.node_query_log import query_log
from cli.commands.node_repair import repair
from cli.enrolment import NodePlace, check_host, enrol
from cli.output import Group
from cli.running import run_node, wait_for_file
from common.core.errors import Conflict
from common.core.names import check_name, check_network, check_principal
from common.node.keys import read_passphrase
from common.node.peer.certificates import create_authority

MAX_COMMON_NAME = 64
"""X.509's bound (RFC 5280, appendix A.1, ub-common-name)."""
AUTHORITY_SUFFIX = " authority"


@click.group(cls=Group)
def command() -> None:
    """One node of either tier."""


command.add_command(check)
command.add_command(repair)
command.add_command(join)
command.add_command(prune)
command.add_command(backup)
command.add_command(restore)
command.add_command(query_log)


@command.command()
@click.option(
    "--config", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The node's settings (TOML)."
)
@click.option(
    "--wait", is_flag=True, help="Wait until the settings file is there (containers: an init service writes it)."
)
def run(config: Path, wait: bool) -> None:
    """Run one validator or observer of either tier until it gets SIGTERM."""
    if wait:
        wait_for_file(config)
    run_node(config)


@command.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.option("--network", required=True, help="Network id, e.g. beijing or custody.")
@click.option("--name", help="The node's name; by default the directory's.")
@click.option("--organisation", required=True, help="The organisation that runs it.")
@click.option("--host", required=True, help="Host name or address under which peers and clients reach the node.")
@click.option("--api-port", type=click.IntRange(1, 65535), default=8443, show_default=True)
@click.option("--peer-port", type=click.IntRange(1, 65535), default=9443, show_default=True)
@click.option(
    "--passphrase-file", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Encrypt the key file."
)
@click.option("--unencrypted", is_flag=True, help="Write the key file without encryption (rehearsals only).")
@output.ALWAYS_JSON
def init(
    directory: Path,
    network: str,
    name: str | None,
    organisation: str,
    host: str,
    api_port: int,
    peer_port: int,
    passphrase_file: Path | None,
    unencrypted: bool,
) -> None:
    """Make a node's key, TLS authority and certificate in DIRECTORY; print the public part to send to the founders.

    The founders join all public parts: tongjian genesis assemble.
    """
    check_network(network)
    check_name(name or directory.resolve().name, "name")
    check_principal(organisation, "organisation")
    check_host(host)
    if passphrase_file is None and not unencrypted:
        raise click.UsageError("give --passphrase-file, or --unencrypted for a rehearsal")
    for taken in (directory / "node.key", directory / "ca.key"):
        if taken.exists():
            raise Conflict("key_file_exists", f"{taken} exists already; keys are never written over")
    passphrase = read_passphrase(passphrase_file) if passphrase_file else None
    directory.mkdir(parents=True, exist_ok=True)
    now_ms = time.time_ns() // 1_000_000
    name = name or directory.resolve().name
    authority = create_authority(
        directory / "ca.crt",
        directory / "ca.key",
        name=f"{name[: MAX_COMMON_NAME - len(AUTHORITY_SUFFIX)]}{AUTHORITY_SUFFIX}",
        organisation=organisation,
        now_ms=now_ms,
    )
    part = enrol(
        directory,
        network=network,
        name=name,
        organisation=organisation,
        place=NodePlace(api_host=host, api_port=api_port, peer_host=host, peer_port=peer_port, listen_host="0.0.0.0"),
        authority=authority,
        now_ms=now_ms,
        passphrase=passphrase,
    )
    output.progress(f"wrote {directory}/public.json and {directory}/ca.crt: send both to the founders; keep the rest")
    output.print_json(part.document())
