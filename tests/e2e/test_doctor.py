"""The findings of the catalogue are provoked on real processes, and the doctor names them.

One network for all cases, one region and the custody chain; each case mends what it broke. Five are provoked where
their causes are: `not_observed` and `organisation_concentrated` in test_membership.py, `data_damaged` in
test_repair.py, `region_expired` and `region_frozen` in test_governance.py. `EXAMINED_ELSEWHERE` and the last test hold
this list against the catalogue. The rules themselves are tested in tests/unit/cli/test_doctor.py.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import tomli_w

from cli.client import Api
from cli.localnet.free_ports import reserved_base_port
from cli.localnet.initialise import Plan, initialise
from common.node.diagnosis.catalogue import OF_NETWORKS
from common.node.keys import generate_key
from tests.e2e.patient import Patient, certify, isolate, vote_twice
from tests.e2e.toy_network import free_ports
from tests.support.market import Market, operation
from tests.support.running import eventually, tongjian

NOTICED_S = 15.0
"""Bound for a machine that falls silent: 10 s until its channels close, 5 s until a quorum counts as lost."""
MANY_BLOCKS = 55
"""More than a node or the relay may be behind without a finding."""
EXAMINED_ELSEWHERE = {
    "test_membership.py": {"not_observed", "organisation_concentrated"},
    "test_repair.py": {"data_damaged"},
    "test_governance.py": {"region_expired", "region_frozen"},
}


@pytest.fixture(scope="module")
def patient() -> Iterator[Patient]:
    """A running network whose custody chain calls a region lagging after 14 s and silent after 32 s."""
    folder = Path(tempfile.mkdtemp(prefix="tongjian-doctor-"))
    try:
        with reserved_base_port(3) as port:
            periods = {"lagging_after_ms": 14_000, "silent_after_ms": 32_000}
            plan = Plan(directory=folder / "network", regions=["beijing"], base_port=port, region_periods=periods)
            initialise(plan, now_ms=time.time_ns() // 1_000_000, progress=lambda text: None)
            network = Patient(folder / "network")
            try:
                network.up()
                yield network
            finally:
                network.down()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def market(patient: Patient) -> Market:
    """The region's operator."""
    return Market(patient.local, "beijing")


def test_a_healthy_network_has_no_findings(patient: Patient) -> None:
    patient.until_well()
    answer = patient.ready("beijing-1")
    assert (answer.status_code, answer.json()["codes"]) == (200, [])
    told = tongjian("doctor", str(patient.directory))
    assert told.stdout == "no findings\n"


def test_s3_a_silent_validator_is_noticed_within_the_bound(patient: Patient) -> None:
    """SIGSTOP: its sockets stay open, and only silence tells."""
    patient.signal("beijing-4", signal.SIGSTOP)
    try:
        eventually(
            lambda: "beijing-4" not in patient.get("beijing-1", "/status")["peers"], "silence", patience_s=NOTICED_S
        )
        seen = patient.until_found(("node_unreachable", "beijing-4"), ("peers_missing", "beijing-1"))
        assert ("no_quorum", "beijing") not in seen
        assert "beijing-4" in patient.detail("peers_missing")
    finally:
        patient.signal("beijing-4", signal.SIGCONT)
    patient.until_well()


def company(market: Market, name: str) -> bytes:
    """A small transaction."""
    fields = {
        "object_id": name,
        "kind": "organisation",
        "name": name,
        "investor_code": f"R{zlib.crc32(name.encode()) % 10**9:09d}",
    }
    return market.sign([operation("subject.register", name, **fields)])


def test_view_churn_is_named_with_the_table_of_peers(patient: Patient, market: Market) -> None:
    """Whoever leads next is stopped, time and again: every block needs another view."""
    names = [node.name for node in patient.chain("beijing-1").nodes]
    for number in range(5):
        height = max(patient.height(name) for name in names)
        leader = names[(height + 1) % len(names)]
        patient.signal(leader, signal.SIGSTOP)
        others = [node.api for node in market.chain.nodes if node.name != leader]
        try:
            with Api(others, market.token, patient.local.ca_file) as api:
                assert api.submit(company(market, f"churn-{number}"), patience_s=30)["status"] == "applied"
        finally:
            patient.signal(leader, signal.SIGCONT)
    patient.until_found(("view_churn", "beijing"))
    detail = patient.detail("view_churn")
    assert all(name in detail for name in names)
    assert "seen" in detail
    patient.until_well()


def test_wrong_clock_slow_disk_little_space_and_ending_certificate(patient: Patient, market: Market) -> None:
    folder = patient.folder("beijing-3")
    saved = {name: (folder / name).read_bytes() for name in ("node.toml", "tls.crt", "tls.key")}
    changed = tomllib.loads(saved["node.toml"].decode()) | {"limits": {"low_space_mib": 1 << 30}}
    (folder / "node.toml").write_text(tomli_w.dumps(changed))
    certify(patient, "beijing-3", days_left=10)
    try:
        patient.restart("beijing-2", TONGJIAN_CLOCK_OFFSET_MS="-9000")
        patient.restart("beijing-3", TONGJIAN_FAULT="vote_log.sync:before:every:delay-90")
        for number in range(6):
            market.register_company(f"slow-{number}")
        patient.until_found(
            ("clock_skew", "beijing-2"),
            ("disk_slow", "beijing-3"),
            ("disk_low", "beijing-3"),
            ("certificate_expiring", "beijing-3"),
        )
        codes = patient.ready("beijing-3").json()["codes"]
        assert {"disk_low", "certificate_expiring"} <= set(codes)
    finally:
        for name, content in saved.items():
            (folder / name).write_bytes(content)
        for name in ("beijing-2", "beijing-3"):
            patient.restart(name)
    patient.until_well()


def test_a_node_and_the_relay_fall_behind_and_the_region_lags_and_falls_silent(
    patient: Patient, market: Market
) -> None:
    patient.without_relay()
    settings = patient.folder("beijing-4") / "node.toml"
    saved = settings.read_bytes()
    isolate(patient, "beijing-4")
    try:
        for number in range(MANY_BLOCKS):
            market.register_company(f"ahead-{number}")
        seen = patient.until_found(
            ("relay_down", "relay"),
            ("relay_behind", "beijing"),
            ("node_behind", "beijing-4"),
            ("not_ready", "beijing-4"),
        )
        assert ("no_quorum", "beijing") not in seen, "the cut-off node alone believes so"
        patient.until_found(("region_lagging", "beijing"), patience_s=60)
        patient.until_found(("region_silent", "beijing"), patience_s=60)
    finally:
        settings.write_bytes(saved)
        patient.restart("beijing-4")
        patient.start("relay")
    patient.until_well()
    eventually(lambda: not {code for code, _ in patient.findings() if code.startswith("re")}, "anchored again")


def test_a_relay_that_a_regions_nodes_refuse(patient: Patient) -> None:
    token_file = Path(patient.local.credentials["beijing-relay-reader"]["token_file"] or "")
    token = token_file.read_bytes()
    patient.kill("relay")
    token_file.write_text("tj_unknown\n")
    try:
        patient.start("relay")
        patient.until_found(("relay_error", "beijing"))
        assert "token_unknown" in patient.detail("relay_error")
    finally:
        token_file.write_bytes(token)
    eventually(lambda: ("relay_error", "beijing") not in patient.findings(), "it reads its token again")


def test_a_directory_that_was_copied_runs_a_second_time(patient: Patient, tmp_path: Path) -> None:
    """On other ports and without data, as on another machine: two processes with one validator's key."""
    original = patient.node("beijing-4")
    copy = tmp_path / "copy"
    shutil.copytree(original.config.parent, copy, ignore=shutil.ignore_patterns("data"))
    api, peer = free_ports(2)
    settings = tomllib.loads(original.config.read_text())
    for section, name in ((settings, "genesis_file"), (settings["api"], "tokens_file"), (settings["peer"], "ca_file")):
        section[name] = str((original.config.parent / section[name]).resolve())
    settings["api"]["port"], settings["peer"]["port"] = api, peer
    config = copy / "node.toml"
    config.write_text(tomli_w.dumps(settings))
    network_file = patient.directory / "network.json"
    listed = network_file.read_bytes()
    second = subprocess.Popen(
        [sys.executable, "-m", "cli.main", "node", "run", "--config", str(config)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        local = patient.local
        twin = replace(
            original, name="the copy", api=f"https://127.0.0.1:{api}", config=config, data_dir=copy / "data", pid=None
        )
        chains = [
            replace(chain, nodes=(*chain.nodes, twin)) if chain.network_id == "beijing" else chain
            for chain in local.chains
        ]
        replace(local, chains=tuple(chains)).save()
        patient.until_found(("duplicate_key", "beijing"))
        assert "beijing-4 and the copy run with the key of beijing-4" in patient.detail("duplicate_key")
    finally:
        network_file.write_bytes(listed)
        second.kill()
        second.wait()
    patient.restart("beijing-4")
    patient.until_well()


def test_n5_c16_another_key_another_version_and_lost_votes(patient: Patient) -> None:
    """One ailment for each of three validators of the custody chain."""
    folder, votes = patient.folder("custody-4"), patient.folder("custody-3") / "data" / "votes"
    key = (folder / "node.key").read_bytes()
    for name in ("custody-2", "custody-3", "custody-4"):
        patient.kill(name)
    (folder / "node.key").unlink()
    generate_key(folder / "node.key")
    shutil.move(votes, votes.with_name("kept"))
    old = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import common.version as v; v.VERSION = '0.0.1'; from cli.main import main; main()",
            "node",
            "run",
            "--config",
            str(patient.node("custody-2").config),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        patient.start("custody-3")
        patient.start("custody-4")
        patient.until_found(
            ("identity_mismatch", "custody-4"), ("version_mismatch", "custody"), ("not_voting", "custody-3")
        )
        assert "0.0.1" in patient.detail("version_mismatch")
        eventually(
            lambda: {"identity_mismatch", "peers_missing"} <= set(patient.ready("custody-1").json()["codes"]),
            "a peer names the wrong key",
        )
        assert patient.ready("custody-3").status_code == 200, "who does not vote serves all the same"
        # Three of four are connected, but only two sign: no quorum is missing, and yet no block comes.
        patient.until_found(("stalled", "custody"), patience_s=90)
    finally:
        old.kill()
        old.wait()
        patient.kill("custody-3")
        patient.kill("custody-4")
        (folder / "node.key").write_bytes(key)
        shutil.rmtree(votes, ignore_errors=True)
        shutil.move(votes.with_name("kept"), votes)
        patient.up()
    patient.until_well()


def test_c1_a_double_voter_is_accused_on_chain_and_named(patient: Patient) -> None:
    patient.kill("beijing-4")
    height = asyncio.run(vote_twice(patient, "beijing-4"))
    answer = patient.get("beijing-1", "/evidence")
    entry = answer["evidence"][0]
    assert [culprit["name"] for culprit in entry["culprits"]] == ["beijing-4"]
    assert entry["height"] in (height, height + 1)
    assert entry["kind"] == "commit"
    assert entry["first"]["value"] != entry["second"]["value"]
    assert len({(item["height"], item["view"], item["kind"]) for item in answer["evidence"]}) == len(answer["evidence"])
    patient.start("beijing-4")
    patient.until_found(("validator_accused", "beijing-4"))
    assert "validator_accused" in patient.ready("beijing-1").json()["codes"]


def test_no_quorum_names_who_is_missing_and_an_expired_certificate(patient: Patient) -> None:
    patient.kill("custody-3")
    certify(patient, "custody-4", days_left=-3)
    patient.kill("custody-4")
    eventually(lambda: patient.ready("custody-1").status_code == 503, "not ready", patience_s=NOTICED_S)
    problem = patient.ready("custody-1").json()
    assert problem["code"] == "not_ready"
    assert "no_quorum" in problem["codes"]
    patient.until_found(("no_quorum", "custody"), ("node_down", "custody-3"), ("certificate_expired", "custody-4"))
    assert "custody-3, custody-4" in patient.detail("no_quorum")
    told = tongjian("doctor", str(patient.directory), check=False)
    assert told.returncode == 1
    assert "no_quorum" in told.stdout


def test_every_finding_of_the_catalogue_is_provoked_by_a_test_on_real_processes(request: pytest.FixtureRequest) -> None:
    """Here, by the tests before this one, or in a file that names it: a new finding without a test is noticed."""
    here = Path(__file__)
    cases = {name for name in globals() if name.startswith("test_")}
    if not cases <= {item.name for item in request.session.items if item.path == here}:
        pytest.skip("needs all cases of this file")
    for file, codes in EXAMINED_ELSEWHERE.items():
        text = (here.with_name(file)).read_text()
        assert not [code for code in codes if f'"{code}"' not in text], file
    assert set(OF_NETWORKS) == Patient.examined.union(*EXAMINED_ELSEWHERE.values())
