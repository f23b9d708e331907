"""Write the log of a server: one line for each request and each event, as JSON or as text."""

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Literal

from moalign.serving.observe.record import Record

LogFormat = Literal["text", "json"]
# The request that is being handled; whatever is logged meanwhile carries its id.
current_request: ContextVar[str | None] = ContextVar("current_request", default=None)
# What an orchestrator asks every few seconds, and nobody wants to read about unless it fails.
QUIET = ("/health/live", "/health/ready", "/metrics")
requests = logging.getLogger("moalign.serving.requests")


def log_request(record: Record) -> None:
    """The line of one request."""
    if record.endpoint in QUIET and (record.status < 400 or record.status == 503):
        return
    level = logging.WARNING if record.status >= 500 else logging.INFO
    requests.log(level, "request", extra={"fields": record.fields()})


class _Formatter(logging.Formatter):
    """One event, one line, whatever a client put into it."""

    def __init__(self, kind: LogFormat) -> None:
        super().__init__()
        self._kind = kind

    def format(self, record: logging.LogRecord) -> str:
        """The line of an event, with the id of the request that it belongs to; a traceback follows it as text, or is a field of the JSON."""
        fields: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        if record.name != requests.name:
            fields["logger"] = record.name
        request = current_request.get()
        if request is not None:
            fields["request_id"] = request
        fields |= getattr(record, "fields", {})
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        if self._kind == "json":
            # ASCII escapes keep line and paragraph separators, and halves of characters, from breaking the line.
            return json.dumps(fields, default=str)
        head = f"{fields.pop('time')} {fields.pop('level'):<7} {_one_line(fields.pop('message'))}"
        traceback = fields.pop("traceback", None)
        tail = " ".join(f"{name}={_value(value)}" for name, value in fields.items())
        return f"{head} {tail}".rstrip() + (f"\n{traceback}" if traceback else "")


def _one_line(text: str) -> str:
    return text if text.isprintable() else json.dumps(text)


def _value(value: Any) -> str:
    if isinstance(value, str) and value.isprintable() and not set(value) & set(' ="'):
        return value
    return json.dumps(value, default=str)


@contextmanager
def logging_to_stderr(kind: LogFormat) -> Iterator[None]:
    """Inside: our log and uvicorn's go to stderr in this form, and nowhere else.

    Args:
        kind (`str`): `"text"` or `"json"`.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(kind))
    levels = {"moalign": logging.WARNING, "moalign.serving": logging.INFO, "uvicorn": logging.WARNING}
    before = {name: (logging.getLogger(name).level, logging.getLogger(name).propagate) for name in levels}
    handlers = {name: list(logging.getLogger(name).handlers) for name in levels}
    for name, level in levels.items():
        logger = logging.getLogger(name)
        logger.setLevel(level)
        logger.propagate = False
        logger.handlers = [handler]
    try:
        yield
    finally:
        for name, (level, propagate) in before.items():
            logger = logging.getLogger(name)
            logger.setLevel(level)
            logger.propagate = propagate
            logger.handlers = handlers[name]
