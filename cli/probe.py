"""`python -m cli.probe URL`: exit code 0 if the URL answers 200. For container health checks: small, and trusts any
certificate of the container's own loopback, since it asks only whether the process lives."""

from __future__ import annotations

import http.client
import ssl
import sys
from urllib.parse import urlsplit

TIMEOUT_S = 5


def main(url: str) -> int:
    """The exit code for `url`."""
    parts = urlsplit(url)
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    connection = http.client.HTTPSConnection(
        parts.hostname or "127.0.0.1", parts.port, timeout=TIMEOUT_S, context=context
    )
    try:
        connection.request("GET", parts.path)
        return 0 if connection.getresponse().status == 200 else 1
    except (OSError, http.client.HTTPException):
        return 1
    finally:
        connection.close()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
