"""Score with a server of your own: prompts and completions go out as JSON, vectors come back."""

import math
import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from frontier.errors import InputError
from frontier.objectives import check_objectives
from reward_heads.remote.asking import ask_all
from reward_heads.remote.endpoint import Endpoint, Session
from reward_heads.remote.errors import RemoteError
from reward_heads.remote.parallel import OnFailure, check_on_failure, run_blocking, warn_missing
from reward_heads.remote.retry import Clock, RealClock, Retry, check_count
from reward_heads.remote.saved import load_remote, save_remote
from reward_heads.remote.score_cache import ScoreCache, as_cache, cache_key
from reward_heads.text import Text, check_same_length, plain_text

_LARGEST = torch.finfo(torch.float32).max
_FIELDS = ("url", "objectives", "version", "raw", "batch_size", "on_failure")


class HTTPReward:
    """A reward vector from a server.

    Each request is a POST with `{"prompts": [...], "completions": [...]}`, two lists of n texts. The answer has a row for each text and a number for each
    objective, higher is better, `null` = not known:

        {"scores": [[0.3, -1.0], [0.1, null]]}

    in the order of `objectives`; with `"objectives": ["helpful", "brief"]` beside the scores, the server names the order itself. Anything else (not JSON,
    another number of rows, text, booleans, NaN, infinities) is refused, with the address and what was found.

    The batch is cut into requests that run in parallel; a text that comes twice is sent once. `score` may be called from several threads, and inside a
    running event loop (where `await score_async(...)` does not block it).

    Args:
        url (`str`): `http://` or `https://`, without keys in it.
        objectives (`Sequence[str]`): the K names.
        version (`str`, *optional*): name of the model behind the address; part of the cache's key, so change it when the model changes.
        raw (`bool`, *optional*, defaults to `False`): send conversational texts as lists of messages; otherwise as plain text.
        batch_size (`int`, *optional*, defaults to 32): texts per request.
        concurrency (`int`, *optional*, defaults to 8): requests at a time, for each call of `score`.
        timeout (`float`, *optional*, defaults to 30): seconds for one attempt, from connecting to the last byte.
        deadline (`float`, *optional*): seconds for one call of `score`, by default without limit.
        retry (`Retry`, *optional*): for timeouts, broken connections and the statuses 408, 425, 429 (`Retry-After` is honoured) and 5xx; by default 4 attempts.
        on_failure (`str`, *optional*, defaults to `"raise"`): `"missing"` makes the texts of a failed request NaN, warns, and counts them in `failures`.
            The statuses 401, 403, 404 and 405 are always raised.
        api_key_env (`str`, *optional*): name of the environment variable with the API key. The key itself is kept nowhere and is cut out of messages.
        api_key_header (`str`, *optional*, defaults to `"Authorization"`): where the key goes; there after "Bearer", in other headers alone.
        cache (`ScoreCache` or path, *optional*): an sqlite file with earlier answers, or `":memory:"`. Failures are never remembered, which `CachedReward`
            would do.
        transport, clock (*optional*): for tests.

    Raises:
        InputError: a bad name, address or number.
    """

    def __init__(
        self,
        url: str,
        objectives: Sequence[str],
        *,
        version: str = "",
        raw: bool = False,
        batch_size: int = 32,
        concurrency: int = 8,
        timeout: float = 30.0,
        deadline: float | None = None,
        retry: Retry | None = None,
        on_failure: OnFailure = "raise",
        api_key_env: str | None = None,
        api_key_header: str = "Authorization",
        cache: ScoreCache | str | os.PathLike[str] | None = None,
        transport: Any = None,
        clock: Clock | None = None,
    ) -> None:
        self.objectives = check_objectives(objectives)
        check_count("batch_size", batch_size)
        self.endpoint = Endpoint(
            url,
            concurrency,
            timeout,
            deadline,
            retry or Retry(),
            api_key_env,
            api_key_header,
            transport,
            clock or RealClock(),
        )
        self.version = version
        self.raw = raw
        self.batch_size = batch_size
        self.on_failure = check_on_failure(on_failure)
        self.cache = as_cache(cache)
        self.failures = 0

    def score(self, prompts: Sequence[Text], completions: Sequence[Text]) -> Tensor:
        """`[B, K]` float32; see [`VectorReward.score`].

        Raises:
            InputError: the batch does not pair up, the key is not set, or httpx is not installed.
            RemoteError: a request failed (with `on_failure="raise"`), or the server will never answer it.
        """
        return run_blocking(lambda: self.score_async(prompts, completions))

    async def score_async(self, prompts: Sequence[Text], completions: Sequence[Text]) -> Tensor:
        """`score`, for code that runs in an event loop already."""
        check_same_length(prompts, completions)
        texts = [self._texts(prompt, completion) for prompt, completion in zip(prompts, completions, strict=True)]
        if not texts:
            return torch.empty(0, len(self.objectives))
        identity = ("http", self.endpoint.url, self.version, self.objectives)
        keys = [cache_key(*identity, *pair) for pair in texts]
        async with self.endpoint.session() as session:
            found = await ask_all(
                dict(zip(keys, texts, strict=True)),
                lambda pairs: self._request(session, pairs),
                cache=self.cache,
                batch_size=self.batch_size,
                concurrency=self.endpoint.concurrency,
                on_failure=self.on_failure,
            )
        rows = [found[key] for key in keys]
        errors = [row for row in rows if isinstance(row, RemoteError)]
        if errors:
            self.failures += len(errors)
            warn_missing("rows", len(errors), len(rows), errors[0])
        unknown = [math.nan] * len(self.objectives)
        numbers = [unknown if isinstance(row, RemoteError) else _floats(row) for row in rows]
        return torch.tensor(numbers, dtype=torch.float32)

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write `remote.json`: everything but the key, the cache and what is for tests."""
        values = (self.endpoint.url, list(self.objectives), self.version, self.raw, self.batch_size, self.on_failure)
        save_remote(folder, "http", self.endpoint, dict(zip(_FIELDS, values, strict=True)))

    @classmethod
    def from_pretrained(
        cls, folder: str | os.PathLike[str], *, cache: ScoreCache | str | os.PathLike[str] | None = None
    ) -> "HTTPReward":
        """Load what `save_pretrained` wrote; the server is not asked.

        Raises:
            InputError: `remote.json` is missing or wrong; names the field.
        """
        return load_remote(folder, "http", _FIELDS, cls, cache)

    def _texts(self, prompt: Text, completion: Text) -> tuple[Text, Text]:
        return (prompt, completion) if self.raw else (plain_text(prompt), plain_text(completion))

    async def _request(self, session: Session, pairs: list[tuple[Text, Text]]) -> list[list[float | None]]:
        answer = await session.post({"prompts": [p for p, _ in pairs], "completions": [c for _, c in pairs]})
        try:
            return scores_of(answer, self.objectives, len(pairs))
        except InputError as error:
            raise RemoteError(f"{self.endpoint.shown}: {error}") from None


def scores_of(answer: Any, objectives: Sequence[str], n: int) -> list[list[float | None]]:
    """The rows of a server's answer, in the order of `objectives`.

    Args:
        answer: the JSON value.
        objectives (`Sequence[str]`): K names.
        n (`int`): the rows that were asked for.

    Raises:
        InputError: it does not have the form that [`HTTPReward`] documents; says where.
    """
    if not isinstance(answer, dict) or not isinstance(answer.get("scores"), list):
        raise InputError(f'expected {{"scores": [[...], ...]}}, found {_short(answer)}')
    order = _order(answer.get("objectives"), objectives)
    if len(answer["scores"]) != n:
        raise InputError(f"expected {n} rows of scores, one for each text, found {len(answer['scores'])}")
    rows = []
    for number, row in enumerate(answer["scores"]):
        if not isinstance(row, list) or len(row) != len(objectives):
            raise InputError(
                f"row {number}: expected {len(objectives)} numbers ({', '.join(objectives)}), found {_short(row)}"
            )
        for name, value in zip((objectives[i] for i in order), row, strict=True):
            if value is not None and not _is_number(value):
                raise InputError(
                    f"row {number}, objective '{name}': expected a finite number or null, found {_short(value)}"
                )
        placed: list[float | None] = [None] * len(objectives)
        for position, value in zip(order, row, strict=True):
            placed[position] = None if value is None else float(value)
        rows.append(placed)
    return rows


def _order(named: Any, objectives: Sequence[str]) -> list[int]:
    """Where each column of the server's goes."""
    if named is None:
        return list(range(len(objectives)))
    if not isinstance(named, list) or sorted(map(str, named)) != sorted(objectives):
        raise InputError(f"expected the objectives {', '.join(objectives)}, found {_short(named)}")
    return [list(objectives).index(name) for name in named]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST


def _floats(row: Sequence[float | None]) -> list[float]:
    return [math.nan if value is None else value for value in row]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."
