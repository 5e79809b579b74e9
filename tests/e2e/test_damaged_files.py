"""Every kind of file of a validator damaged on purpose, on a real chain (attacks S2, C16; table: docs/operators.md).

After each damage the node either ends with a stable code and a sentence that names the remedy, or it runs, and then it
answers what it answered before or refuses to answer, and does not vote on what it has forgotten.
`CRASH_POINTS=all` (make crash-test) runs every kind with every damage; without it, one or two of each.
"""

from __future__ import annotations

import os
import shutil
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.region import NETWORK, Region, RegionNode
from tests.support.running import eventually

EVERYTHING = os.environ.get("CRASH_POINTS") == "all"
COMPANIES = 12


def half(path: Path) -> None:
    """Cut in the middle."""
    os.truncate(path, path.stat().st_size // 2)


def flipped(path: Path) -> None:
    """One bit in the middle is another."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def zeroed(path: Path) -> None:
    """All bytes are zero."""
    path.write_bytes(bytes(path.stat().st_size))


def emptied(path: Path) -> None:
    """Nothing is left in it."""
    path.write_bytes(b"")


def deleted(path: Path) -> None:
    """It is gone."""
    path.unlink()


Damage = Callable[[Path], None]
DAMAGES: tuple[Damage, ...] = (half, flipped, zeroed, emptied, deleted)

RUNS = "runs"
SILENT = "silent"
"""Runs, and says that it does not vote: for ever, or up to a height."""


@dataclass(frozen=True)
class Kind:
    """A kind of file: where it is, and what may follow its damage: a code with which the node ends, RUNS or SILENT."""

    pattern: str
    allowed: frozenset[str]
    usual: tuple[Damage, ...]
    """What the default suite tries."""


KINDS = {
    "vote log": Kind("data/votes/votes.log", frozenset({"database_damaged", SILENT}), (half, flipped)),
    "database log": Kind("data/chain/*.log", frozenset({"database_damaged", SILENT}), (half,)),
    "database table": Kind("data/chain/*.ldb", frozenset({"database_damaged", RUNS}), (flipped,)),
    "database manifest": Kind("data/chain/MANIFEST-*", frozenset({"database_damaged", SILENT, RUNS}), (half,)),
    "database CURRENT": Kind("data/chain/CURRENT", frozenset({"database_damaged"}), (deleted,)),
    "key": Kind("node.key", frozenset({"key_file_unreadable", "key_file_damaged", "settings_invalid"}), (flipped,)),
    "genesis": Kind(
        "genesis.json",
        frozenset({"settings_invalid", "genesis_file_invalid", "database_wrong"}),
        (flipped,),
    ),
    "settings": Kind("node.toml", frozenset({"settings_invalid", RUNS}), (half,)),
    "tokens": Kind("tokens.json", frozenset({"tokens_file_invalid", "settings_invalid", RUNS}), (half,)),
    "certificate": Kind(
        "tls.crt",
        frozenset({"tls_unusable", "settings_invalid", "certificate_unreadable", "certificate_damaged"}),
        (flipped,),
    ),
    "peers' authorities": Kind(
        "peers.crt",
        frozenset({"tls_unusable", "settings_invalid", "certificate_unreadable", "certificate_damaged"}),
        (half,),
    ),
    "certificate key": Kind("tls.key", frozenset({"tls_unusable", "settings_invalid"}), (zeroed,)),
}


@dataclass
class Victim:
    """A validator with a sound image of everything it has, and what it must answer."""

    region: Region
    node: RegionNode
    image: Path
    older: Path
    answers: dict[str, Any]

    def restore(self) -> None:
        """Put the image back."""
        shutil.rmtree(self.node.directory)
        shutil.copytree(self.image, self.node.directory)


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    """Two images of one validator, a few blocks apart; the newer one has a table, a log and votes."""
    path = tmp_path_factory.mktemp("damaged")
    with Region.found(path / "network") as region:
        market = region.market()
        node = region.nodes[3]
        own_files(region, node)
        finals = [market.register_company(f"first-{number}") for number in range(COMPANIES)]
        images = []
        for name in ("older", "newer"):
            region.votes_again(node)
            node.stop()
            shutil.copytree(node.directory, path / name)
            images.append(path / name)
            node.start()
            region.votes_again(node)
            finals += [market.register_company(f"{name}-{number}") for number in range(COMPANIES)]
        height = min(answer["height"] for answer in finals[2 * COMPANIES :])
        paths = [f"/v1/networks/{NETWORK}/blocks/{at}" for at in range(1, height)]
        paths += [f"/v1/transactions/{answer['tx_id']}" for answer in finals[: 2 * COMPANIES]]
        answers = {path: region.nodes[0].get(path) for path in paths}
        node.stop()
        yield Victim(region, node, images[1], images[0], answers)


def own_files(region: Region, node: RegionNode) -> None:
    """Give the node copies of the files that a local network shares, as separate machines have them."""
    text = node.described.config.read_text()
    settings = tomllib.loads(text)
    node.stop()
    for name, shared in (
        ("genesis.json", settings["genesis_file"]),
        ("tokens.json", settings["api"]["tokens_file"]),
        ("peers.crt", settings["peer"]["ca_file"]),
    ):
        shutil.copy(node.directory / shared, node.directory / name)
        text = text.replace(f'"{shared}"', f'"{name}"')
    node.described.config.write_text(text)
    node.start()
    region.votes_again(node)


def cases() -> list[Any]:
    """(kind, damage) of the default suite, or all."""
    return [
        pytest.param(name, damage, id=f"{name}-{damage.__name__}".replace(" ", "-"))
        for name, kind in KINDS.items()
        for damage in (DAMAGES if EVERYTHING else kind.usual)
    ]


@pytest.mark.parametrize(("name", "damage"), cases())
def test_s2_a_damaged_file_is_refused_or_harmless(victim: Victim, name: str, damage: Damage) -> None:
    victim.restore()
    node, kind = victim.node, KINDS[name]
    files = [file for file in sorted(node.directory.glob(kind.pattern)) if file.stat().st_size]
    assert files
    for file in files:
        damage(file)
    outcome, sentence = run(victim)
    print(f"{name} {damage.__name__}: {outcome} {sentence}")
    assert outcome in kind.allowed, (outcome, sentence)
    assert len(sentence) > 20, "the node says nothing"


def run(victim: Victim) -> tuple[str, str]:
    """Start the victim and see what becomes of it: (code, RUNS or SILENT; what it says)."""
    node = victim.node
    since = node.log_size()
    node.start()
    eventually(lambda: not node.running or node.status() is not None, "it answers or ends", patience_s=30)
    if node.running and node.status() is not None:
        told = [line for line in node.log(since) if "this node does not vote" in line]
        try:
            compare(victim)
        finally:
            node.stop()
        return (SILENT, told[0]) if told else (RUNS, "it answers as before, or with database_damaged")
    assert node.wait() == 1
    return node.end(since)


def compare(victim: Victim) -> None:
    """Every answer is the one it always was, or a refusal that says why; a block may be unknown for a while yet."""
    for path, expected in victim.answers.items():
        answer = victim.node.get(path)
        assert answer == expected or answer in ("database_damaged", "height_unknown", "tx_unknown", None), (
            path,
            answer,
        )


@pytest.mark.parametrize("parts", [("votes",), ("chain",), ("votes", "chain")])
def test_c16_an_older_copy_put_back_does_not_vote_on_what_it_has_forgotten(
    victim: Victim, parts: tuple[str, ...]
) -> None:
    victim.restore()
    node = victim.node
    for part in parts:
        shutil.rmtree(node.data / part)
        shutil.copytree(victim.older / "data" / part, node.data / part)
    since = node.log_size()
    node.start()
    eventually(lambda: node.status() is not None, "it serves")
    told = [line for line in node.log(since) if "this node does not vote" in line]
    if parts == ("votes",):
        assert told
        eventually(lambda: node.status()["height"] >= victim.region.height(), "it follows")  # type: ignore[index]
        assert not node.status()["voting"]  # type: ignore[index]
    else:
        assert bool(told) == (parts == ("chain",))
        victim.region.votes_again(node)
    compare(victim)
    node.stop()
