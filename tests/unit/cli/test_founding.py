"""Founding from the documents: the guide's examples found both tiers; what a node would refuse is refused before."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from business_chain.main import application_for as business_rules
from common.core.genesis import Genesis, parse_genesis
from custody_chain.main import application_for as custody_rules
from tests.unit.cli.commands import run
from tests.unit.node.toy import SUITE, key_of

GUIDE = Path(__file__).parents[3] / "docs" / "operators.md"
TIME_MS = "1700000000000"


def example(tier: str) -> dict[str, Any]:
    """The guide's app.json, with keys in the places that it names."""
    text = GUIDE.read_text(encoding="utf-8")
    match = re.search(rf"<!-- example: {tier} app.json -->\n\n```json\n(.*?)```", text, re.S)
    assert match is not None
    filled = re.sub(r'"([A-Z0-9-]+-KEY(-\d)?)"', lambda found: f'"{SUITE.format_key(key_of(found[1]))}"', match[1])
    return dict(json.loads(filled))


def parts(folder: Path, network: str) -> list[Path]:
    made = [folder / f"{network}-{number}" for number in range(1, 5)]
    for place in made:
        options = ("--network", network, "--organisation", f"of-{place.name}", "--host", "h", "--unencrypted")
        assert run("node", "init", place, *options).exit_code == 0
    return [place / "public.json" for place in made]


def assemble(folder: Path, application: Any, tier: str, publics: list[Path]) -> Result:
    file = folder / "app.json"
    file.write_text(application if isinstance(application, str) else json.dumps(application))
    target = folder / f"{publics[0].parent.name}-genesis.json"
    target.unlink(missing_ok=True)
    options = ("--tier", tier, "--application", file, "--time-ms", TIME_MS, "--output", target)
    return run("genesis", "assemble", *publics, *options)


def founded(folder: Path, application: Any, tier: str, publics: list[Path]) -> Genesis:
    result = assemble(folder, application, tier, publics)
    assert result.exit_code == 0, result.output
    return parse_genesis((folder / f"{publics[0].parent.name}-genesis.json").read_bytes())


def test_the_examples_of_the_guide_found_both_tiers(tmp_path: Path) -> None:
    region = founded(tmp_path, example("business"), "business", parts(tmp_path, "beijing"))
    business_rules(region)
    exported = run("trust", "export", tmp_path / "beijing-1-genesis.json")
    (root,) = json.loads(exported.stdout)["roots"]
    application = example("custody")
    (shown,) = application["regions"]
    assert shown.keys() == root.keys() | {"region_letters", "silent_after_ms"}
    assert shown["trust"]["validators"][0].keys() == root["trust"]["validators"][0].keys()
    application["regions"] = [shown | root]
    genesis = founded(tmp_path, application, "custody", parts(tmp_path, "custody"))
    custody_rules(genesis)
    assert genesis.application["regions"][0]["genesis_id"] == region.id.hex()


BUSINESS: dict[str, Any] = example("business")
SIGNER: dict[str, Any] = BUSINESS["signers"][0]


@pytest.mark.parametrize(
    ("application", "named"),
    [
        ({}, "application lacks name, region_letters, signers"),
        ([], "application is not an object"),
        (BUSINESS | {"regoin": 1}, "application has the unknown field regoin"),
        (BUSINESS | {"signers": [SIGNER | {"rolle": "operator"}]}, "signers[0] has the unknown field rolle"),
        (BUSINESS | {"signers": [*BUSINESS["signers"], SIGNER]}, "signers[4].public_key repeats a key"),
        (BUSINESS | {"policy": {"registration.trasnfer": {}}}, "policy has the unknown field registration.trasnfer"),
        (
            BUSINESS | {"policy": {"registration.transfer": {"maker": ["operator"]}}},
            "registration.transfer lacks check",
        ),
        (BUSINESS | {"signers": [SIGNER | {"role": "operatr"}]}, "signers[0].role is 'operatr'"),
        (BUSINESS | {"region_letters": "XX"}, "region_letters"),
        (BUSINESS | {"max_seats_per_organisation": "1"}, "max_seats_per_organisation"),
    ],
)
def test_a_wrong_field_is_named_before_a_chain_is_founded_on_it(tmp_path: Path, application: Any, named: str) -> None:
    result = assemble(tmp_path, application, "business", parts(tmp_path, "beijing"))
    assert result.exit_code == 1
    assert result.stderr.startswith("error: genesis_application: ")
    assert named in result.stderr
    assert not (tmp_path / "beijing-1-genesis.json").exists()


def test_an_application_of_the_other_tier_is_refused(tmp_path: Path) -> None:
    result = assemble(tmp_path, BUSINESS, "custody", parts(tmp_path, "custody"))
    assert "application lacks regions and has the unknown field market" in result.stderr


def test_a_region_that_is_wrong_is_named(tmp_path: Path) -> None:
    application = example("custody")
    application["regions"][0]["regoin_letters"] = "BJ"
    result = assemble(tmp_path, application, "custody", parts(tmp_path, "custody"))
    assert result.stderr.startswith(
        "error: region_settings: The region is not of the format: it has the unknown field regoin_letters"
    )


def test_roles_that_nobody_has_are_said(tmp_path: Path) -> None:
    alone = BUSINESS | {"signers": [SIGNER], "policy": {}}
    result = assemble(tmp_path, alone, "business", parts(tmp_path, "beijing"))
    assert result.exit_code == 0
    assert "no signer has the role governance" in result.stderr


@pytest.mark.parametrize("text", ["[" * 100_000, "{", "1" * 9_000_000, '{"a": 1, "a": 2}'])
def test_application_files_that_are_no_bounded_json(tmp_path: Path, text: str) -> None:
    result = assemble(tmp_path, text, "business", parts(tmp_path, "beijing"))
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith("error: application_file: ")


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("[" * 10_000, "json_depth"),
        ("[" + "1," * 60_000 + "1]", "json_too_large"),
        ("[]", "not an object"),
        ('{"format": "tongjian/node-public/v1"}', "lacks name"),
        ({"peer_port": "9443"}, "peer_port is not int"),
        ({"organisation": 7}, "organisation is not str"),
        ({"extra": 7}, "unknown field extra"),
    ],
)
def test_public_parts_that_are_none_are_named(tmp_path: Path, content: Any, named: str) -> None:
    publics = parts(tmp_path, "beijing")
    part = json.loads(publics[0].read_text())
    publics[0].write_text(content if isinstance(content, str) else json.dumps(part | content))
    result = assemble(tmp_path, BUSINESS, "business", publics)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: public_part_unreadable: ")
    assert named in result.stderr
