"""Bring the engine's events to coroutines, waking an event loop once for all of a step."""

import asyncio
import threading
import weakref
from collections import deque
from collections.abc import AsyncIterator

from moalign.serving.request import Delta, Event, GenerationFailed, Ticket


class DeltaStream:
    """The pieces of submitted requests as they come: `async for delta in engine.stream(request)`.

    Args:
        ticket (`Ticket`): of the requests.
        events (`asyncio.Queue`): filled by the engine; `None` ends the stream.
        choices (`int`): answers to come.
    """

    def __init__(self, ticket: Ticket, events: "asyncio.Queue[Event | None]", choices: int) -> None:
        self._ticket = ticket
        self._events = events
        self._open = choices

    def cancel(self) -> None:
        """Stop working on these requests and end the stream; call it from the event loop."""
        self._ticket.cancel()
        self._events.put_nowait(None)

    async def __aiter__(self) -> AsyncIterator[Delta]:
        """Pieces of all answers, until each has finished. Whoever stops listening early calls `cancel`.

        Raises:
            GenerationTimeout: the request's time is over.
            GenerationFailed: the engine could not finish.
        """
        while self._open:
            event = await self._events.get()
            if event is None:
                return
            if isinstance(event, GenerationFailed):
                raise event
            self._open -= event.finish_reason is not None
            yield event


class Mailbox:
    """Events on their way from the engine's thread to one event loop: waking it costs more than an event, so it is woken once for many.

    Args:
        loop (`asyncio.AbstractEventLoop`): that the queues belong to.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = weakref.ref(loop)
        self._letters: deque[tuple[asyncio.Queue[Event | None], Event]] = deque()
        self._woken = False

    def post(self, events: "asyncio.Queue[Event | None]", event: Event) -> None:
        """From any thread.

        Raises:
            RuntimeError: the loop is closed.
        """
        loop = self._loop()
        if loop is None or loop.is_closed():
            self._letters.clear()
            raise RuntimeError("the event loop of the listener is closed")
        self._letters.append((events, event))
        if not self._woken:
            self._woken = True
            try:
                loop.call_soon_threadsafe(self._hand_over)
            except RuntimeError:  # closed just now
                self._woken = False
                raise

    def _hand_over(self) -> None:
        # First, so that a letter that arrives while this runs wakes the loop again rather than lie here.
        self._woken = False
        while self._letters:
            events, event = self._letters.popleft()
            events.put_nowait(event)


class Mailboxes:
    """One mailbox per event loop."""

    def __init__(self) -> None:
        self._boxes: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Mailbox] = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()

    def of(self, loop: asyncio.AbstractEventLoop) -> Mailbox:
        """The loop's."""
        with self._lock:
            return self._boxes.setdefault(loop, Mailbox(loop))
