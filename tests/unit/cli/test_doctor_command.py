"""`tongjian doctor` as a command: what it looks at."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.commands import doctor
from cli.localnet.layout import FORMAT
from cli.main import main
from common.node.diagnosis.comparison import Observation


def test_without_an_argument_it_looks_at_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    answer = CliRunner().invoke(main, ["doctor"])
    assert answer.exit_code == 1
    assert f"error: no_local_network: {tmp_path / 'network.json'}" in answer.output

    (tmp_path / "network.json").write_text(f'{{"format":"{FORMAT}","chains":[],"relays":[],"credentials":{{}}}}')
    looked_at = []
    monkeypatch.setattr(
        doctor,
        "observe",
        lambda network: looked_at.append(network.directory) or Observation(chains=()),  # type: ignore[func-returns-value]
    )
    answer = CliRunner().invoke(main, ["doctor"])
    assert (answer.exit_code, answer.output) == (0, "no findings\n")
    assert looked_at == [tmp_path.resolve()]
