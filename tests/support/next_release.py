"""The command `tongjian` as a next release would bring it: another version number, and one protocol version more, with
a dummy of each kind of thing that a version may bring (`next_protocol`).

Processes that it starts are forked from it, so they are of the next release, too. The release that is there serves as
the older one in tests of upgrades.
"""

from __future__ import annotations

from typing import Final

from common import version

NEXT_VERSION_NUMBER: Final = "99.0.0"


def main() -> None:
    """Run the command line in the next release."""
    version.VERSION = NEXT_VERSION_NUMBER  # before anything else imports it
    from cli.main import main as command
    from tests.support.next_protocol import next_release

    with next_release():
        command()


if __name__ == "__main__":
    main()
