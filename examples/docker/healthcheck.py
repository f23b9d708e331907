"""Tell Docker whether the server takes requests, and end a server whose engine has stopped for good, so that it is started again."""

import os
import signal
import sys
import urllib.error
import urllib.request

URL = "http://127.0.0.1:8000/health/"


def status(probe: str, url: str = URL) -> int:
    """What the server answers; 0 if nothing."""
    try:
        with urllib.request.urlopen(url + probe, timeout=2) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0  # it does not listen yet, or is too busy to answer


def check(server: int = 1, url: str = URL) -> bool:
    """Whether it is ready.

    Args:
        server (`int`, *optional*, defaults to 1): its process.
        url (`str`, *optional*): of its probes.
    """
    if status("live", url) == 503:
        os.kill(server, signal.SIGTERM)
    return status("ready", url) == 200


if __name__ == "__main__":
    sys.exit(not check())
