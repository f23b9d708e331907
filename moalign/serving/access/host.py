"""Answer only to the server's own names, so that no web page can reach a server that stands open on this machine."""

import re
from collections.abc import Collection

from starlette.types import ASGIApp, Receive, Scope, Send

from moalign.serving.errors import ApiError, send_error

# By which a browser or a program on the same machine calls it.
OWN_NAMES = ("localhost", "127.0.0.1", "[::1]")
_PORT = re.compile(r":\d*$")


class HostGuard:
    """ASGI middleware: refuses requests (421) whose `Host` is none of these names.

    A page that somebody visits may let its own name point to 127.0.0.1, and then its scripts are, for the browser, of the same origin as a server
    there, whatever CORS says. What they can't do is to send another `Host` than that name.

    Args:
        app (`ASGIApp`): what to protect.
        hosts (`Collection[str]`): names and addresses, without ports.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str]) -> None:
        self.app = app
        self.hosts = frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "http" and not self._is_own(scope):
            message = (
                f"the header Host must be one of {', '.join(sorted(self.hosts))}: this server asks for no key, so it answers only on its own machine; "
                "give it a policy with keys (policy), or say that this is fine (allow_anyone)"
            )
            # The body stays unread, so the connection cannot be used again.
            await send_error(
                ApiError(421, message, None, "host_not_allowed"), scope, receive, send, close=scope["method"] != "GET"
            )
            return
        await self.app(scope, receive, send)

    def _is_own(self, scope: Scope) -> bool:
        sent = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        return len(sent) == 1 and _PORT.sub("", sent[0]).lower().removesuffix(".") in self.hosts
