"""`make compose-test`: bring the stack up, use it, break it, restart it on its volumes, take it down. Exit code 0 if
all held."""

from __future__ import annotations

import subprocess
import tempfile
import time
from pathlib import Path

from cli.demo import look_through
from cli.demo.submission import submit_region
from cli.localnet.layout import CUSTODY, LocalNetwork, load_network
from cli.localnet.markets import PILOTS
from cli.localnet.readiness import node_status, wait_until_committing
from tests.compose.stack import Stack, compose_command
from tests.support.market import Market
from tests.support.running import eventually, tongjian

START_PATIENCE_S = 240.0
CHAINS = (CUSTODY, *PILOTS)


def say(text: str) -> None:
    """One line of progress with the time since the start."""
    print(f"[{time.monotonic() - STARTED:6.1f} s] {text}", flush=True)


STARTED = time.monotonic()


def height(network: LocalNetwork, name: str) -> int:
    """A node's height, -1 while it does not answer."""
    chain = network.chain(name.rpartition("-")[0])
    node = network.process(name)
    status = node_status(network, chain, node)
    return int(status["height"]) if status else -1


def use(network: LocalNetwork) -> None:
    """The demonstration's submissions and question."""
    heights = {region: submit_region(network, region, say) for region in PILOTS}
    look_through.wait_until_anchored(network, heights, say)
    check_answer(network)


def check_answer(network: LocalNetwork) -> None:
    """Ask the regulator's question; fail if the answer is not the registered truth."""
    findings = look_through.ask(network, list(PILOTS))
    if findings:
        raise AssertionError(f"the look-through answer is wrong: {findings}")


def register_everywhere(network: LocalNetwork, name: str) -> dict[str, tuple[str, int]]:
    """One small registration in every region; (transaction id, height) by region."""
    final = {}
    for region in PILOTS:
        receipt = Market(network, region).register_company(f"{name}-{region}")
        assert receipt["status"] == "applied", receipt
        final[region] = (str(receipt["tx_id"]), int(receipt["height"]))
    return final


def break_and_mend(stack: Stack, network: LocalNetwork) -> dict[str, tuple[str, int]]:
    """Kill one container of every chain and a relay; the chains go on; bring them back; they catch up."""
    victims = [f"{chain}-2" for chain in CHAINS]
    for service in (*victims, "relay"):
        stack.kill(service)
    say(f"killed {', '.join(victims)} and relay")
    final = register_everywhere(network, "degraded")
    look_through.wait_until_anchored(network, {region: at for region, (_, at) in final.items()}, say)
    say("every chain went on with three validators, the second relay carried on")
    for service in (*victims, "relay"):
        stack.start(service)
    for victim in victims:
        goal = height(network, f"{victim[:-1]}1")
        eventually(
            lambda victim=victim, goal=goal: height(network, victim) >= goal, f"{victim} catches up", patience_s=120
        )
    say("every killed container is back and level")
    return final


def restart(stack: Stack, network: LocalNetwork, final: dict[str, tuple[str, int]]) -> None:
    """Stop the whole stack, start it on its volumes, and find everything that was final."""
    keys = stack.key_fingerprints()
    stack.compose("stop")
    stack.compose("up", "-d")
    wait_until_committing(network, patience_s=START_PATIENCE_S, progress=say)
    assert stack.key_fingerprints() == keys, "a restart changed a key"
    for region, (tx_id, _) in final.items():
        with Market(network, region).api() as api:
            assert api.get(f"/v1/transactions/{tx_id}")["status"] == "applied", f"{region} lost {tx_id}"
    look_through.wait_until_anchored(
        network, {r: at for r, (_, at) in register_everywhere(network, "restarted").items()}, say
    )
    check_answer(network)
    eventually(
        lambda: all(stack.health(f"{chain}-1") == "healthy" for chain in CHAINS), "health checks", patience_s=120
    )
    say("restarted on its volumes: nothing final was lost, health checks pass")


def main() -> int:
    """Run every step; take the stack down whatever happens."""
    stack = Stack(compose_command())
    say(f"using {' '.join(stack.command)}")
    try:
        stack.take_down()
        stack.compose("build", quiet=False)
        stack.compose("up", "-d")
        say("containers are up")
        with tempfile.TemporaryDirectory(prefix="tongjian-compose-") as folder:
            target = Path(folder) / "network"
            eventually(lambda: _copied(stack, target), "the init service has made the network", patience_s=120)
            network = load_network(target)
            wait_until_committing(network, patience_s=START_PATIENCE_S, progress=say)
            tongjian("localnet", "status", str(target))
            use(network)
            restart(stack, network, break_and_mend(stack, network))
    except BaseException:
        subprocess.run([*stack.command, "-p", "tongjian-test", "logs", "--tail", "5"], check=False)
        raise
    finally:
        stack.take_down()
    say("compose-test passed")
    print("1 passed, 0 failed")
    return 0


def _copied(stack: Stack, target: Path) -> bool:
    try:
        stack.copy_config(target)
    except (RuntimeError, FileNotFoundError):
        return False
    return (target / "network.json").is_file()


if __name__ == "__main__":
    raise SystemExit(main())
