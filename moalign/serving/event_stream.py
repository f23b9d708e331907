"""Send an answer piece by piece, as server-sent events."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

from fastapi.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from moalign.serving.errors import ApiError, as_api_error
from moalign.serving.formats import AnswerFormat
from moalign.serving.observe.metered import MeteredStream

logger = logging.getLogger(__name__)
SEND_SECONDS = 60.0


class EventStream(StreamingResponse):
    """Server-sent events of an answer; a client that goes away, at any moment, cancels its work.

    Args:
        stream (`MeteredStream`): what the engine makes; its record is told what goes wrong.
        answer (`AnswerFormat`): how it reads.
    """

    def __init__(self, stream: MeteredStream, answer: AnswerFormat) -> None:
        super().__init__(
            _events(stream, answer),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
        )
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""

        async def patiently(message: Message) -> None:
            # Whoever reads nothing for so long is gone, or keeps a connection and a place in its key's count for nothing.
            async with asyncio.timeout(SEND_SECONDS):
                await send(message)

        try:
            await super().__call__(scope, receive, patiently)
        except TimeoutError:
            stuck = ApiError(408, f"the client read nothing for {SEND_SECONDS:g} seconds", None, "slow_reader")
            self._stream.record.code = stuck.code
        finally:
            # Here and not in the generator, which may never have been started.
            self._stream.cancel()


async def _events(stream: MeteredStream, answer: AnswerFormat) -> AsyncIterator[str]:
    try:
        for chunk in answer.first_chunks():
            yield _event(chunk)
        async for delta in stream:
            for chunk in answer.chunks(delta):
                yield _event(chunk)
        for chunk in answer.last_chunks():
            yield _event(chunk)
    except Exception as error:
        # The status line is long gone: the error is an event, and the stream still ends as streams do.
        known = as_api_error(error)
        if not isinstance(error, ApiError) and known.code == "internal_error":
            logger.exception("a stream failed")
        stream.record.code = known.code
        yield _event(known.body())
    yield "data: [DONE]\n\n"


def _event(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n"
