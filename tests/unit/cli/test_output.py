"""What the commands print: aligned with Chinese text, safe for a terminal."""

from __future__ import annotations

from cli.output import printable, table


def test_wide_characters_count_as_two_columns() -> None:
    lines = table(["market", "shares"], [["北京", 1_000], ["shanghai", 20]]).splitlines()
    assert lines[2] == "北京       1,000"
    assert lines[3] == "shanghai      20"


def test_n6_a_servers_words_cannot_drive_the_terminal() -> None:
    assert printable("fine\x1b[2Jgone\r\x00\u202eabc") == "fine?[2Jgone???abc"
