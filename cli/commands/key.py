"""`tongjian key`: key files (PKCS#8 PEM, mode 0600)."""

from __future__ import annotations

from pathlib import Path

import click

from cli import output
from cli.output import Group
from common.node.keys import generate_key, load_key_file, read_passphrase

PASSPHRASE = click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="File whose first line is the passphrase.",
)


@click.group(cls=Group)
def command() -> None:
    """Key files."""


@command.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@PASSPHRASE
@click.option("--unencrypted", is_flag=True, help="Write the key without encryption (rehearsals only).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def generate(file: Path, passphrase_file: Path | None, unencrypted: bool, as_json: bool) -> None:
    """Make a new key in FILE and print its public key. An existing file is never written over."""
    if passphrase_file is None and not unencrypted:
        raise click.UsageError("give --passphrase-file, or --unencrypted for a rehearsal")
    key = generate_key(file, passphrase=read_passphrase(passphrase_file) if passphrase_file else None)
    _show(file, key.text, as_json)


@command.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@PASSPHRASE
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(file: Path, passphrase_file: Path | None, as_json: bool) -> None:
    """Print the public key of FILE."""
    _show(file, load_key_file(file, passphrase_file).text, as_json)


def _show(file: Path, public_key: str, as_json: bool) -> None:
    if as_json:
        output.print_json({"file": str(file), "public_key": public_key})
    else:
        click.echo(public_key)
