"""Refuse bodies that are too large before they fill the memory, and text that no tokenizer can read."""

import asyncio
import json
import re

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from moalign.serving.errors import ApiError, send_error

# A JSON escape of either half of a surrogate pair. Both halves together are a character; one alone is a string that has no UTF-8 form.
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
# A body that trickles in must not hold its connection for ever.
READ_SECONDS = 60.0


class BodyGuard:
    """ASGI middleware: reads the body up to a limit, then hands it on in one piece.

    A body that is not UTF-8, or has half of a surrogate pair, is answered 400.

    Args:
        app (`ASGIApp`): what to protect.
        max_bytes (`int`): the largest body allowed; a larger one is answered 413 with the limit, whether it declares its length or not.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app = app
        self.max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(READ_SECONDS):
                body = await self._read(scope, receive)
        except (TimeoutError, ApiError) as error:
            late = ApiError(408, f"the body did not arrive within {READ_SECONDS:g} seconds", None, "body_timeout")
            refusal = error if isinstance(error, ApiError) else late
            # The rest of the body stays unread, so the connection cannot be used again.
            await send_error(refusal, scope, receive, send, close=True)
            return
        if body is None:
            return
        wrong = _wrong_text(body)
        if wrong is not None:
            await send_error(ApiError(400, f"body: {wrong}", None, "invalid_text"), scope, receive, send)
            return
        pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return pending.pop() if pending else await receive()

        await self.app(scope, replay, send)

    async def _read(self, scope: Scope, receive: Receive) -> bytes | None:
        """The whole body, or `None` if the client went away."""
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        too_large = declared.isdigit() and int(declared) > self.max_bytes
        body = bytearray()
        more = True
        while more and not too_large:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            more = message.get("more_body", False)
            too_large = len(body) > self.max_bytes
        if too_large:
            raise ApiError(
                413, f"body: larger than the {self.max_bytes} bytes allowed (max_body_bytes)", None, "too_large"
            )
        return bytes(body)


def _wrong_text(body: bytes) -> str | None:
    """What no tokenizer can read."""
    try:
        body.decode()
    except UnicodeDecodeError as error:
        return f"must be UTF-8, found other bytes at position {error.start}"
    # Python's json guesses UTF-16 and UTF-32 by their zeros, and reads surrogates in them.
    if b"\0" in body:
        return "must be UTF-8 without zero bytes"
    if _SURROGATE.search(body) and _has_half_a_pair(body):
        return "a text holds half of a surrogate pair, which is no character"
    return None


def _has_half_a_pair(body: bytes) -> bool:
    try:
        json.dumps(json.loads(body), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    except (ValueError, RecursionError):
        return False  # no valid JSON: for those who parse it to say
    return False
