"""Let nobody in who brings no valid key, whatever they ask for."""

from starlette.types import ASGIApp, Receive, Scope, Send

from moalign.serving.access.access import Access
from moalign.serving.access.caller import Caller, Forbidden
from moalign.serving.access.usage import TooMany
from moalign.serving.errors import ApiError, as_api_error, send_error

# What needs no key: the probes of an orchestrator, and the page, which asks for the key itself.
OPEN_PATHS = frozenset({"/", "/favicon.ico", "/health/live", "/health/ready"})
OPEN_BELOW = "/page/"


class Guard:
    """ASGI middleware: finds the caller, refuses who has no key or asks too often, and counts the request while it runs.

    It stands before the routes, so that a path is closed unless it is named here: also one that does not exist, and one that is added later.

    Args:
        app (`ASGIApp`): what to protect.
        access (`Access`): who may.
    """

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self.app = app
        self.access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            # No WebSocket is served.
            await receive()
            await send({"type": "websocket.close", "code": 1008})
            return
        if is_open(scope):
            # Without a caller: a handler that needs one would be a mistake, and must fail.
            await self.app(scope, receive, send)
            return
        try:
            caller = self._admitted(scope)
            usage = self.access.usage(caller)
            usage.enter(caller)
        except (ApiError, Forbidden, TooMany) as error:
            await send_error(as_api_error(error), scope, receive, send)
            return
        try:
            await self.app(scope, receive, send)
        finally:
            usage.leave()

    def _admitted(self, scope: Scope) -> Caller:
        key = _bearer(scope)
        caller = self.access.caller(key)
        if caller is None:
            message = (
                "no API key: send the header `Authorization: Bearer KEY`" if key is None else "the API key is not valid"
            )
            raise ApiError(401, message, None, "missing_api_key" if key is None else "invalid_api_key")
        state = scope.setdefault("state", {})
        state["caller"] = caller
        if "record" in state:
            state["record"].caller = caller.name
        caller.check_path(scope["path"])
        return caller


def is_open(scope: Scope) -> bool:
    """Whether a request needs no key."""
    path = scope["path"]
    return scope["method"] in ("GET", "HEAD") and (path in OPEN_PATHS or path.startswith(OPEN_BELOW))


def _bearer(scope: Scope) -> bytes | None:
    """The key that was sent; of two headers none counts, since others on the way may have read the other one."""
    sent = [value for name, value in scope["headers"] if name == b"authorization"]
    if len(sent) != 1:
        return None
    kind, _, key = sent[0].partition(b" ")
    return key.strip() or None if kind.lower() == b"bearer" else None
