"""Keep a record of every request, give it an id, and let no exception pass untold."""

import logging

from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from moalign.serving.errors import as_api_error, send_error
from moalign.serving.observe.logs import current_request, log_request
from moalign.serving.observe.metrics import Metrics
from moalign.serving.observe.record import DISCONNECTED, Record, request_id

logger = logging.getLogger(__name__)
HEADER = b"x-request-id"


class Observer:
    """ASGI middleware, the outermost.

    Args:
        app (`ASGIApp`): what to watch.
        metrics (`Metrics`, *optional*): where to count.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics | None) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        record = Record(request_id(dict(scope["headers"]).get(HEADER)), method=scope["method"])
        scope.setdefault("state", {})["record"] = record
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                record.status = message["status"]
                message["headers"] = [*message.get("headers", ()), (HEADER, record.id.encode())]
            await send(message)

        token = current_request.set(record.id)
        if self.metrics is not None:
            self.metrics.begin()
        try:
            await self.app(scope, receive, watched)
            if not begun:
                record.status, record.code = 499, DISCONNECTED  # while its body came
        except Exception as error:
            logger.exception("a request failed")
            if begun:
                # The status is told already; only a connection that ends too early says that something is missing.
                record.code = "internal_error"
                raise
            await send_error(as_api_error(error), scope, receive, watched)
        finally:
            record.seconds = record.elapsed()
            record.endpoint = _endpoint(scope)
            if self.metrics is not None:
                self.metrics.end(record)
            log_request(record)
            current_request.reset(token)


def _endpoint(scope: Scope) -> str:
    """The path of the route, with its parameters unfilled; one name for all paths that there are none for."""
    route = scope.get("route")
    if route is None and "app" in scope:
        # Refused before the routes were asked.
        known = scope["app"].router.routes
        matches = ((one.matches(scope)[0], one) for one in known)
        route = next((one for match, one in matches if match is not Match.NONE), None)
    return str(getattr(route, "path", None) or "other")
