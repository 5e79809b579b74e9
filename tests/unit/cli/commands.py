"""The command line in this process."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner, Result

from cli.main import main


def run(*arguments: str | Path, text: str | None = None) -> Result:
    """What `tongjian ARGUMENT…` does with this text on its standard input."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments], input=text)
