"""Signers who share no machine: each looks at the transaction and adds a signature of his own, in any order."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import Result

from common.core.suite import ED25519_SHA256
from common.core.transaction import parse_envelope, verify_signatures
from tests.unit.cli.commands import run

OPERATION = '{"type": "validators.change", "reason": "为了试验", "effective_height": 9}'
MAKING = ("--network", "beijing", "--genesis", "11" * 32, "--expires-at-height", "900", "--nonce", "n")


def done(*arguments: str | Path, text: str | None = None) -> Result:
    result = run(*arguments, text=text)
    assert result.exit_code == 0, result.output
    return result


def refused(code: str, *arguments: str | Path, text: str | None = None) -> str:
    result = run(*arguments, text=text)
    assert result.exit_code == 1, result.output
    last = result.stderr.splitlines()[-1]
    assert last.startswith(f"error: {code}: "), result.output
    return last


class Person:
    """A governor with an encrypted key and a passphrase that nobody else has."""

    def __init__(self, folder: Path, name: str) -> None:
        self.key, self.passphrase = folder / f"{name}.key", folder / f"{name}.pass"
        self.passphrase.write_text(f"the secret of {name}\n")
        self.passphrase.chmod(0o600)
        self.public = done("key", "generate", self.key, "--passphrase-file", self.passphrase).stdout.strip()

    def opens(self) -> tuple[str | Path, ...]:
        return ("--key", self.key, "--passphrase-file", self.passphrase)


@pytest.fixture
def people(tmp_path: Path) -> tuple[Person, Person, Person]:
    first, second, third = (Person(tmp_path, name) for name in ("maker", "checker", "third"))
    return first, second, third


def made(people: tuple[Person, Person, Person]) -> str:
    """What the maker signs and sends to the two others."""
    maker, second, third = people
    others = ("--signer", second.public, "--signer", third.public)
    return done("tx", "sign", "-", *maker.opens(), *others, *MAKING, text=OPERATION).stdout


def signatures(document: str) -> list[str | None]:
    return list(json.loads(document)["signatures"])


def test_each_signs_with_his_own_key_and_passphrase_in_any_order(people: tuple[Person, Person, Person]) -> None:
    _, second, third = people
    draft = made(people)
    assert [text is None for text in signatures(draft)] == [False, True, True]
    by_third = done("tx", "sign", "-", *third.opens(), text=draft)
    assert "2 of 3 have signed" in by_third.stderr
    whole = done("tx", "sign", "-", *second.opens(), text=by_third.stdout).stdout
    envelope = parse_envelope(whole.strip().encode(), ED25519_SHA256)
    verify_signatures(envelope, ED25519_SHA256)
    assert envelope.signers == tuple(person.public for person in people)
    assert envelope.envelope == whole.strip().encode()


def test_a_draft_that_nobody_has_signed_goes_round_too(people: tuple[Person, Person, Person]) -> None:
    signers = [part for person in people for part in ("--signer", person.public)]
    draft = done("tx", "sign", "-", *signers, *MAKING, text=OPERATION).stdout
    assert signatures(draft) == [None, None, None]
    for person in reversed(people):
        draft = done("tx", "sign", "-", *person.opens(), text=draft).stdout
    verify_signatures(parse_envelope(draft.strip().encode(), ED25519_SHA256), ED25519_SHA256)


def test_copies_that_were_signed_at_the_same_time_are_joined(
    people: tuple[Person, Person, Person], tmp_path: Path
) -> None:
    draft = made(people)
    for person in people[1:]:
        (tmp_path / person.public[-8:]).write_text(done("tx", "sign", "-", *person.opens(), text=draft).stdout)
    copies = [tmp_path / person.public[-8:] for person in people[1:]]
    whole = done("tx", "join", *copies).stdout
    verify_signatures(parse_envelope(whole.strip().encode(), ED25519_SHA256), ED25519_SHA256)
    other = tmp_path / "other"
    other.write_text(done("tx", "sign", "-", *people[0].opens(), *MAKING, text=OPERATION.replace("9", "8")).stdout)
    refused("transactions_differ", "tx", "join", copies[0], other)


def test_a_signer_sees_what_he_signs(people: tuple[Person, Person, Person]) -> None:
    draft = made(people)
    shown = done("tx", "show", "-", text=draft).stdout
    for expected in ("beijing", "11" * 32, "height 900", "validators.change", "为了试验", "1 of 3 have signed"):
        assert expected in shown
    assert f"signed  maker    {people[0].public}" in shown
    assert f"missing checker  {people[1].public}" in shown
    assert shown.splitlines()[1:] != done("tx", "sign", "-", *people[1].opens(), text=draft).stderr.splitlines()[1:]
    hostile = OPERATION.replace("为", "\\u001b[2J\\u202e")
    assert "\u202e" not in done("tx", "sign", "-", *people[0].opens(), *MAKING, text=hostile).stderr


def test_a_signature_over_changed_content_is_refused(people: tuple[Person, Person, Person]) -> None:
    changed = made(people).replace('"effective_height":9', '"effective_height":10')
    for arguments in (("tx", "sign", "-", *people[1].opens()), ("tx", "show", "-")):
        assert people[0].public in refused("bad_signature", *arguments, text=changed)


def test_a_key_that_is_not_named_adds_nothing(people: tuple[Person, Person, Person], tmp_path: Path) -> None:
    stranger = Person(tmp_path, "stranger")
    refused("signer_unknown", "tx", "sign", "-", *stranger.opens(), text=made(people))


def test_an_incomplete_document_is_not_submitted(people: tuple[Person, Person, Person]) -> None:
    told = refused("signatures_missing", "tx", "submit", "-", "--url", "https://127.0.0.1:1", text=made(people))
    assert people[0].public not in told
    assert people[1].public in told
    assert people[2].public in told


def test_each_key_has_its_passphrase_file_or_the_command_says_so(people: tuple[Person, Person, Person]) -> None:
    keys = [part for person in people for part in ("--key", person.key)]
    files = [part for person in people for part in ("--passphrase-file", person.passphrase)]
    done("tx", "sign", "-", *keys, *files, *MAKING, text=OPERATION)
    two = run("tx", "sign", "-", *keys, *files[:4], *MAKING, text=OPERATION)
    assert two.exit_code == 2
    assert "2 --passphrase-file for 3 --key" in two.output


def test_what_stands_in_the_transaction_is_not_given_again(people: tuple[Person, Person, Person]) -> None:
    draft = made(people)
    opens = people[1].opens()
    assert run("tx", "sign", "-", *opens, "--nonce", "other", text=draft).exit_code == 2
    assert run("tx", "sign", "-", text=draft).exit_code == 2
    refused("network_differs", "tx", "sign", "-", *opens, "--network", "shanghai", text=draft)


@pytest.mark.parametrize(
    "text",
    [
        '{"transaction": 1, "signatures": []}',
        '{"transaction": {}, "signatures": [7]}',
        '{"transaction": {}}',
        '{"transaction": {}, "signatures": null}',
        "[" * 5000,
        "{",
    ],
)
@pytest.mark.parametrize("command", ["sign", "show", "join"])
def test_documents_that_are_none_are_refused_in_one_line(tmp_path: Path, command: str, text: str) -> None:
    key = tmp_path / "k"
    done("key", "generate", key, "--unencrypted")
    result = run("tx", command, "-", *(("--key", key) if command == "sign" else ()), text=text)
    assert result.exit_code == 1, result.output
    assert result.stderr.startswith("error: ")


def test_a_second_credential_is_not_silently_the_only_one(tmp_path: Path) -> None:
    two = ("--localnet", tmp_path, "--as", "governance-1", "--as", "governance-2")
    result = run("tx", "sign", "-", *two, *MAKING, text=OPERATION)
    assert result.exit_code == 2
    assert "give --as once" in result.output
