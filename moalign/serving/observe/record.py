"""What is worth knowing about one request, filled in by whoever learns it."""

import re
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.types import Scope

_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
# Answers that did not end with all their tokens because nobody waited for them.
DISCONNECTED = "client_disconnected"


def request_id(sent: bytes | None) -> str:
    """The id that a client sent, if it can be written into a log as it is; otherwise a fresh one."""
    return sent.decode() if sent is not None and _ID.fullmatch(sent) else secrets.token_hex(16)


@dataclass
class Record:
    """One HTTP request; handlers find it in `request.state.record`.

    Args:
        id (`str`): of the request.
        clock (`Callable`, *optional*): seconds, never going back.
    """

    id: str
    clock: Callable[[], float] = time.perf_counter
    method: str = ""
    endpoint: str = "other"
    status: int = 500
    caller: str | None = None
    code: str | None = None
    """Why it did not succeed: the code of the error."""
    preference: Any = None
    """As the answer tells it."""
    source: str | None = None
    """Who chose the preference."""
    prompts: Sequence[Any] | None = None
    """Only where prompts are to be logged."""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    first_token_seconds: float | None = None
    token_seconds: list[float] = field(default_factory=list)
    """For each answer, the mean time from one token to the next."""
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self._begin = self.clock()

    def elapsed(self) -> float:
        """Seconds since the request came."""
        return self.clock() - self._begin

    def fields(self) -> dict[str, Any]:
        """What a line of the log holds; what is not known is left out."""
        values = {
            "request_id": self.id,
            "method": self.method,
            "endpoint": self.endpoint,
            "status": self.status,
            "seconds": round(self.seconds, 6),
            "caller": self.caller,
            "error": self.code,
            "preference": self.preference,
            "preference_source": self.source,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "first_token_seconds": self.first_token_seconds and round(self.first_token_seconds, 6),
            "token_seconds": round(sum(self.token_seconds) / len(self.token_seconds), 6)
            if self.token_seconds
            else None,
            "prompts": self.prompts,
        }
        return {name: value for name, value in values.items() if value is not None}


def record_of(scope: Scope) -> Record | None:
    """The record of a request, where one is kept."""
    found = scope.get("state", {}).get("record")
    return found if isinstance(found, Record) else None
