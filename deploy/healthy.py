"""Whether the server of this container answers; ends with status 0 or 1, as Docker's health check wants it.

It asks the gateway at its own port, under the host name that the gateway serves; or the address it is given.
*Live* is asked and not *ready*: whoever watches may end what is not live, and a database that is away is no
reason to end a gateway. The load balancer asks for *ready*.
"""

import os
import sys
import urllib.request
from urllib.parse import urlsplit

SECONDS_MAX = 3.0
GATEWAY_PATH = "/health/live"


def request() -> urllib.request.Request:
    """What is asked."""
    if len(sys.argv) > 1:
        return urllib.request.Request(sys.argv[1])  # noqa: S310 - written in compose.yaml
    port = os.environ.get("ONESTOP_BIND_PORT", "8000")
    host = urlsplit(os.environ.get("ONESTOP_PUBLIC_URL", "http://127.0.0.1:8000")).netloc
    return urllib.request.Request(f"http://127.0.0.1:{port}{GATEWAY_PATH}", headers={"Host": host})


def answers() -> bool:
    """Whether the answer is a 200 within the bound; a proxy of the environment is not used."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request(), timeout=SECONDS_MAX) as answer:
            return bool(answer.status == 200)
    except OSError:  # refused, too late, or another status
        return False


if __name__ == "__main__":
    sys.exit(not answers())
