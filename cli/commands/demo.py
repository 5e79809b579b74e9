"""`tongjian demo`: what `make demo` runs."""

from __future__ import annotations

from pathlib import Path

import click

from cli.demo.run import run_demo


@click.command()
@click.option("--once", is_flag=True, help="Stop after the answer; exit code 0 only if it was right.")
@click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep the network here; by default a temporary one.",
)
@click.option(
    "--base-port", type=click.IntRange(1024, 65535), help="First port; by default the first free range from 18000."
)
@click.option("--validators", type=click.IntRange(2, 39), default=4, show_default=True, help="Validators a chain.")
def command(once: bool, directory: Path | None, base_port: int | None, validators: int) -> None:
    """Run both tiers on this machine, register equity in five regions, and look through them."""
    run_demo(once=once, directory=directory, base_port=base_port, validators=validators)
