"""`tongjian relay`: run the crosslink relay."""

from __future__ import annotations

from pathlib import Path

import click

from cli.output import Group
from cli.running import run_relay, wait_for_file


@click.group(cls=Group)
def command() -> None:
    """The crosslink relay."""


@command.command()
@click.option(
    "--config", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The relay's settings (TOML)."
)
@click.option(
    "--wait", is_flag=True, help="Wait until the settings file is there (containers: an init service writes it)."
)
def run(config: Path, wait: bool) -> None:
    """Carry what the regions commit to the custody chain until SIGTERM. Keeps no state: it may be killed at any
    time."""
    if wait:
        wait_for_file(config)
    run_relay(config)
