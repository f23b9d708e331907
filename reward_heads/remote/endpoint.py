"""Post JSON to a server: timeouts, retries, a key from the environment that never appears in a message or a file."""

import contextlib
import email.utils
import functools
import json
import os
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from frontier.errors import InputError
from reward_heads.remote.errors import RemoteError, RequestRefused, Transient
from reward_heads.remote.retry import Attempts, Clock, RealClock, Retry, check_count, check_seconds

MAX_ANSWER_BYTES = 64 * 2**20
_AGAIN = frozenset({408, 425, 429})  # and every 5xx
_NEVER = frozenset({401, 403, 404, 405})
# What a saved reward says of its endpoint besides the address.
RETRY = ("attempts", "first_wait", "longest_wait")
_HOW = ("concurrency", "timeout", "deadline", "api_key_env", "api_key_header")
SETTINGS = (*_HOW, *RETRY)
_SECRET = re.compile(r"key|token|secret|passw|auth|signature|^sig$", re.IGNORECASE)


@dataclass(frozen=True)
class Endpoint:
    """An address that answers JSON with JSON, and how it is asked.

    Args:
        url (`str`): `http://` or `https://`; without a name and password, and without keys in the query.
        concurrency (`int`): requests at a time, for each call of `score`.
        timeout (`float`): seconds for one attempt, from connecting to the last byte of the answer.
        deadline (`float`, *optional*): seconds for one call of `score`, all attempts of all requests included.
        retry (`Retry`): for timeouts, broken connections and the statuses 408, 425, 429, 5xx.
        api_key_env (`str`, *optional*): the *name* of the environment variable that holds the key; read at each call, kept nowhere.
        api_key_header (`str`): where the key goes; in `Authorization` it follows "Bearer".
        transport (*optional*): an `httpx.AsyncBaseTransport` to use instead of the network.
        clock (`Clock`): for waiting.

    Raises:
        InputError: an address that is none or holds a secret, a number out of its range, or a name that cannot be a header's or a variable's.
    """

    url: str
    concurrency: int = 8
    timeout: float = 30.0
    deadline: float | None = None
    retry: Retry = field(default_factory=Retry)
    api_key_env: str | None = None
    api_key_header: str = "Authorization"
    transport: Any = None
    clock: Clock = field(default_factory=RealClock)

    def __post_init__(self) -> None:
        _check_url(self.url)
        check_count("concurrency", self.concurrency)
        check_seconds("timeout", self.timeout)
        if self.deadline is not None:
            check_seconds("deadline", self.deadline)
        if self.api_key_env is not None and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", self.api_key_env):
            # The value is not shown: people put the key itself here.
            raise InputError(
                "api_key_env must be the name of an environment variable, such as OPENAI_API_KEY, not the key"
            )
        if not re.fullmatch(r"[A-Za-z0-9-]+", self.api_key_header):
            raise InputError(f"api_key_header must be the name of an HTTP header, found {self.api_key_header!r}")

    @property
    def shown(self) -> str:
        """The address as messages show it: without the query."""
        parts = urlsplit(self.url)
        return urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))

    def settings(self) -> dict[str, Any]:
        """How it is asked, as JSON: everything but the address, the key, and what is for tests."""
        how = {name: getattr(self, name) for name in _HOW}
        return how | {name: getattr(self.retry, name) for name in RETRY}

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncIterator["Session"]:
        """What one call of `score` sends its requests with.

        A client for each call: connections belong to an event loop, and so nothing is shared between threads or lost in a fork.

        Raises:
            InputError: httpx is not installed, or the variable of the key is not set.
        """
        httpx = _httpx()
        key = self._key()
        headers = {"content-type": "application/json", "accept": "application/json"}
        if key:
            headers[self.api_key_header] = f"Bearer {key}" if self.api_key_header.lower() == "authorization" else key
        limits = httpx.Limits(max_connections=self.concurrency, max_keepalive_connections=self.concurrency)
        attempts = Attempts.start(self.retry, self.timeout, self.deadline, self.clock)
        # Attempts keeps the time, so httpx need not; redirects are not followed: they would carry the key elsewhere.
        async with httpx.AsyncClient(
            headers=headers,
            timeout=None,
            limits=limits,
            transport=self.transport,
            verify=_tls(),
            follow_redirects=False,
        ) as client:
            yield Session(self, client, attempts, key)

    def _key(self) -> str:
        if self.api_key_env is None:
            return ""
        key = os.environ.get(self.api_key_env, "").strip()
        if not key:
            raise InputError(
                f"{self.shown}: the environment variable {self.api_key_env}, which should hold the API key, is not set"
            )
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise InputError(
                f"{self.shown}: the environment variable {self.api_key_env} holds characters that no API key has"
            )
        return key


@dataclass(frozen=True)
class Session:
    """The open connections of one call; made by [`Endpoint.session`]."""

    endpoint: Endpoint
    client: Any
    attempts: Attempts
    key: str

    async def post(self, body: Any) -> Any:
        """Send JSON, return the JSON that comes back.

        Raises:
            RequestRefused: statuses 401, 403, 404, 405, or a redirect.
            RemoteError: attempts or time used up, any other error status, or an answer that is not JSON.
        """
        # ASCII escapes: texts with half a surrogate pair can't be written in UTF-8.
        content = json.dumps(body, allow_nan=False).encode("ascii")
        return await self.attempts.run(lambda: self._once(content), self.endpoint.shown)

    async def _once(self, content: bytes) -> Any:
        httpx = _httpx()
        try:
            async with self.client.stream("POST", self.endpoint.url, content=content) as response:
                found = bytearray()
                async for part in response.aiter_bytes():
                    found += part
                    if len(found) > MAX_ANSWER_BYTES:
                        raise RemoteError(
                            f"{self.endpoint.shown}: an answer of more than {MAX_ANSWER_BYTES // 2**20} MiB"
                        )
        except (httpx.TransportError, httpx.DecodingError) as error:
            # Not chained: a library's message may hold a header, and with it the key.
            raise Transient(self._clean(f"{type(error).__name__}: {error}")) from None
        return self._value(response, bytes(found))

    def _value(self, response: Any, found: bytes) -> Any:
        status, where = response.status_code, self.endpoint.shown
        if not 200 <= status < 300:
            problem = f"status {status} {response.reason_phrase}, {self._excerpt(found)}"
            if status in _AGAIN or status >= 500:
                raise Transient(problem, _retry_after(response.headers.get("retry-after")), status)
            kind = RequestRefused if status in _NEVER or status < 400 else RemoteError
            raise kind(f"{where}: {problem}", status)
        try:
            return json.loads(found)
        except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
            raise RemoteError(f"{where}: expected JSON, found {self._excerpt(found)}") from None

    def _excerpt(self, found: bytes) -> str:
        text = self._clean(found.decode("utf-8", "replace"))
        return repr(text if len(text) <= 200 else text[:197] + "...")

    def _clean(self, text: str) -> str:
        """Servers and libraries repeat headers in their messages."""
        return text.replace(self.key, "***") if self.key else text


def _check_url(url: Any) -> None:
    if not isinstance(url, str):
        raise InputError(f"url must be text, found {type(url).__name__}")
    try:
        parts = urlsplit(url)
        complete = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        complete = False
    if not complete or not url.isprintable() or " " in url:
        raise InputError(
            "url must be an address such as http://127.0.0.1:8000/score (http or https, a host, no spaces)"
        )
    if "@" in parts.netloc:
        raise InputError(
            "url must not hold a name and password: put the key into an environment variable and name it in api_key_env"
        )
    for name, _ in parse_qsl(parts.query, keep_blank_values=True):
        if _SECRET.search(name):
            raise InputError(
                f"url must not hold a key (found '{name}=…'): put it into an environment variable and name that in api_key_env"
            )


def _retry_after(value: str | None) -> float:
    """Seconds of a `Retry-After` header, which is a number of seconds or a date; 0 where there is none that can be read."""
    if value is None:
        return 0.0
    if re.fullmatch(r"\s*\d{1,9}(\.\d+)?\s*", value):
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return 0.0


@functools.cache
def _tls() -> Any:
    """Reading the certificates takes tens of milliseconds, more than a request nearby: once for all."""
    return _httpx().create_ssl_context()


def _httpx() -> Any:
    try:
        import httpx
    except ImportError as error:
        raise InputError("remote rewards need the package httpx: pip install 'moalign[remote]'") from error
    return httpx
