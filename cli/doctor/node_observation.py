"""Look at one node anywhere, through its public interface alone: what it says of itself, its clock, its certificate."""

from __future__ import annotations

import socket
import ssl
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from cryptography import x509

from cli.doctor.network_observation import TIMEOUT_S, ask_health
from common.core.errors import Malformed, Unauthorised, Unavailable
from common.node.diagnosis.comparison import ChainObservation, NodeObservation, Observation
from common.node.peer.certificates import describe_certificate


def observe_url(url: str, token: str, ca_file: Path | None) -> Observation:
    """One node's chain as that node sees it. Raises Malformed, Unauthorised or Unavailable if it cannot be asked."""
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname:
        raise Malformed("url_invalid", f"{url!r} is not an https URL")
    context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    seen = NodeObservation(
        name=parts.netloc, running=True, certificate_days_left=_days_left(parts.hostname, parts.port or 443, context)
    )
    base, headers = url.rstrip("/"), {"Authorization": f"Bearer {token}"}
    with httpx.Client(verify=context, timeout=TIMEOUT_S, trust_env=False) as http:
        try:
            answer = http.get(f"{base}/v1/networks", headers=headers)
            if answer.status_code in (401, 403):
                raise Unauthorised("token_refused", f"{parts.netloc} refuses the token: {answer.json().get('code')}")
            network_id = str(answer.raise_for_status().json()["networks"][0]["network_id"])
        except (httpx.HTTPError, ValueError, KeyError, IndexError) as error:
            raise Unavailable("node_unreachable", f"{parts.netloc}: {error}") from error
        node = ask_health(http, seen, base, network_id, token)
    return Observation(chains=(ChainObservation(network=network_id, quorum=1, nodes=(node,), complete=False),))


def _days_left(host: str, port: int, context: ssl.SSLContext) -> int | None:
    """Days until the certificate that the node shows expires. Raises Unavailable if no TLS connection can be made."""
    try:
        with (
            socket.create_connection((host, port), TIMEOUT_S) as plain,
            context.wrap_socket(plain, server_hostname=host) as channel,
        ):
            shown = channel.getpeercert(binary_form=True)
    except OSError as error:
        raise Unavailable("node_unreachable", f"{host}:{port}: {error}") from error
    if shown is None:
        return None
    return describe_certificate(x509.load_der_x509_certificate(shown)).days_left(time.time_ns() // 1_000_000)
