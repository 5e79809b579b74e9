"""Where a command sends its requests: a local network's chain, or nodes named one by one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from cli.client import Api
from cli.localnet.layout import LocalNetwork, load_network


@dataclass(frozen=True, kw_only=True)
class Target:
    """The options of `target_options`, before they are resolved."""

    localnet: Path | None
    network: str | None
    credential: str | None
    urls: tuple[str, ...]
    token_file: Path | None
    ca_file: Path | None

    def local_network(self) -> LocalNetwork | None:
        """The local network, if one was named."""
        return load_network(self.localnet) if self.localnet else None

    def api(self, default_credential: str | None = None) -> Api:
        """A client of the chain. Raises UsageError if too little was named, NotFound if it does not exist."""
        network = self.local_network()
        if network is not None:
            if self.network is None:
                raise click.UsageError("--localnet needs --network")
            chain = network.chain(self.network)
            credential = self.credential or default_credential or f"{self.network}-reader"
            return Api([node.api for node in chain.nodes], network.token(credential), network.ca_file)
        if not self.urls:
            raise click.UsageError(
                "name the nodes: --localnet DIR --network NETWORK, or --url URL --token-file FILE --ca-file FILE"
            )
        token = self.token_file.read_text().strip() if self.token_file else None
        return Api([url.rstrip("/") for url in self.urls], token, self.ca_file)


def _at_most_one(context: click.Context, option: click.Parameter, names: tuple[str, ...]) -> str | None:
    """The credential, which gives token and key: of several, click would silently take the last."""
    if len(names) > 1:
        raise click.UsageError("give --as once: it names the token; several sign by --key FILE --key FILE", context)
    return names[0] if names else None


def target_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that name a chain; the command receives them as one `target`."""
    existing = click.Path(path_type=Path, exists=True, dir_okay=False)
    options = [
        click.option(
            "--localnet", type=click.Path(path_type=Path, file_okay=False), help="Directory of a local network."
        ),
        click.option("--network", help="Network id, e.g. beijing."),
        click.option(
            "--as",
            "credential",
            multiple=True,
            callback=_at_most_one,
            help="Credential of the local network, e.g. beijing-operator.",
        ),
        click.option("--url", "urls", multiple=True, help="Base URL of a node; give several to fail over."),
        click.option("--token-file", type=existing, help="File with the bearer token."),
        click.option("--ca-file", type=existing, help="Certificate to trust for TLS (PEM)."),
    ]

    def wrapped(
        *,
        localnet: Path | None,
        network: str | None,
        credential: str | None,
        urls: tuple[str, ...],
        token_file: Path | None,
        ca_file: Path | None,
        **others: Any,
    ) -> Any:
        target = Target(
            localnet=localnet, network=network, credential=credential, urls=urls, token_file=token_file, ca_file=ca_file
        )
        return function(target=target, **others)

    wrapped.__name__, wrapped.__doc__ = function.__name__, function.__doc__
    decorated: Callable[..., Any] = wrapped
    for option in reversed(options):
        decorated = option(decorated)
    return decorated
