"""The stack as an operator handles it: through Compose v2 or docker-compose 1.29, and `docker` for single
containers."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

PROJECT = "tongjian-test"
CONFIG_IN_CONTAINER = "/etc/tongjian/network"
COMMAND_TIMEOUT_S = 900


def compose_command() -> list[str]:
    """`docker compose` (v2) where it is, else `docker-compose` (1.29). Raises RuntimeError if there is neither."""
    v2 = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    if v2.returncode == 0:
        return ["docker", "compose"]
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    raise RuntimeError("neither `docker compose` nor `docker-compose` is installed")


@dataclass(frozen=True)
class Stack:
    """The Compose project under test."""

    command: list[str]

    def compose(self, *arguments: str, quiet: bool = True) -> str:
        """Run a Compose command of the project; its output."""
        return run([*self.command, "-p", PROJECT, *arguments], quiet=quiet)

    def take_down(self) -> None:
        """Remove containers, networks and volumes.

        An old engine may keep an endpoint of a container that was killed until it restarts itself, and then refuses to
        remove the empty network; docker-compose 1.29 stops there and leaves the volumes. The network is harmless (the
        next run uses it again), old volumes are not: a new run must find neither keys nor data.
        """
        try:
            self.compose("down", "-v", "--remove-orphans")
        except RuntimeError as error:
            if "active endpoints" not in str(error) or self.containers():
                raise
            print("the engine keeps the project's empty network", flush=True)
        volumes = self.volumes()
        if volumes:
            run(["docker", "volume", "rm", *volumes])

    def volumes(self) -> list[str]:
        """Names of all the project's volumes."""
        return run(["docker", "volume", "ls", "-q", "--filter", f"label=com.docker.compose.project={PROJECT}"]).split()

    def containers(self) -> list[str]:
        """Ids of all the project's containers, running or not."""
        return run(["docker", "ps", "-aq", "--filter", f"label=com.docker.compose.project={PROJECT}"]).split()

    def container(self, service: str) -> str:
        """The id of a service's container, running or not."""
        listed = run(
            [
                "docker",
                "ps",
                "-aq",
                "--filter",
                f"label=com.docker.compose.project={PROJECT}",
                "--filter",
                f"label=com.docker.compose.service={service}",
            ]
        )
        found = listed.split()
        if len(found) != 1:
            raise RuntimeError(f"service {service} has {len(found)} containers")
        return found[0]

    def kill(self, service: str) -> None:
        """SIGKILL a container; `restart: unless-stopped` leaves it down, since a person did it."""
        run(["docker", "kill", self.container(service)])

    def start(self, service: str) -> None:
        """Start a stopped container again."""
        run(["docker", "start", self.container(service)])

    def health(self, service: str) -> str:
        """The health that Docker reports: starting, healthy or unhealthy."""
        return run(["docker", "inspect", "-f", "{{.State.Health.Status}}", self.container(service)]).strip()

    def copy_config(self, target: Path) -> None:
        """Copy keys, tokens and `network.json` out of the stack, with paths that hold on this machine."""
        run(["docker", "cp", f"{self.container('custody-1')}:{CONFIG_IN_CONTAINER}", str(target)])
        listed = target / "network.json"
        listed.write_text(listed.read_text().replace(CONFIG_IN_CONTAINER, str(target)))

    def key_fingerprints(self) -> str:
        """A digest of every key file, to show that a restart writes over none."""
        script = f"cd {CONFIG_IN_CONTAINER} && find . -name '*.key' -print0 | sort -z | xargs -0 sha256sum | sha256sum"
        return run(["docker", "exec", self.container("custody-1"), "sh", "-c", script])


def run(arguments: list[str], *, quiet: bool = True) -> str:
    """Run a command; its standard output. Raises RuntimeError with what it said on failure."""
    result = subprocess.run(
        arguments, capture_output=quiet, text=True, check=False, timeout=COMMAND_TIMEOUT_S, stdin=subprocess.DEVNULL
    )
    if result.returncode != 0:
        said = (result.stderr or "")[-3000:] + (result.stdout or "")[-1000:]
        raise RuntimeError(f"{' '.join(arguments)} ended with {result.returncode}: {said}")
    return result.stdout or ""
