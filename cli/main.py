"""`tongjian`: the one command of the suite. Groups are imported when called, so that `--help` and small commands
start fast."""

from __future__ import annotations

import importlib

import click

from cli.output import Group
from common.version import VERSION

COMMANDS = {
    "demo": ("cli.commands.demo", "Run both tiers on this machine and answer a look-through question."),
    "localnet": ("cli.commands.localnet", "A whole network as processes of this machine."),
    "node": ("cli.commands.node", "One node of either tier: make its keys, run it."),
    "genesis": ("cli.commands.genesis", "Join the public parts of nodes into a genesis document."),
    "relay": ("cli.commands.relay", "The crosslink relay."),
    "key": ("cli.commands.key", "Key files."),
    "tx": ("cli.commands.tx", "Sign and submit transactions."),
    "verify": ("cli.commands.verify", "Check an evidence file offline."),
    "trust": ("cli.commands.trust", "Trust roots for `verify`."),
    "region": ("cli.commands.region", "Regions of the custody chain: admit one, recover one."),
    "token": ("cli.commands.token", "Access tokens of a node, reloaded live."),
    "cert": ("cli.commands.cert", "TLS certificates of nodes and relays."),
    "membership": ("cli.commands.membership", "Validators of a chain: show, plan and check changes."),
    "upgrade": ("cli.commands.upgrade", "Rolling upgrades: may the next node be restarted?"),
    "doctor": ("cli.commands.doctor", "Say what is wrong with a network, and why."),
}
"""Command -> (module that holds it as `command`, one line of help)."""


class LazyGroup(Group):
    """Lists commands from the table and imports one only when it is called."""

    def list_commands(self, context: click.Context) -> list[str]:
        """The commands, in the table's order."""
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """Import the command's module."""
        if name not in COMMANDS:
            return None
        command = importlib.import_module(COMMANDS[name][0]).command
        return command if isinstance(command, click.Command) else None

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """The table, without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name=None, version=VERSION, prog_name="tongjian")
def main() -> None:
    """Tongjian (通鉴): nodes, crosslink and tools of a two-tier blockchain for regional equity markets."""


if __name__ == "__main__":
    main(prog_name="tongjian")
