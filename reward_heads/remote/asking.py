"""Ask for what is not known yet: each question once, in batches, several at a time, and remember the answers."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from reward_heads.remote.errors import RemoteError
from reward_heads.remote.parallel import OnFailure, in_parallel
from reward_heads.remote.score_cache import ScoreCache

Q = TypeVar("Q")


async def ask_all(
    questions: Mapping[str, Q],
    ask: Callable[[list[Q]], Awaitable[Sequence[Any]]],
    *,
    cache: ScoreCache | None,
    batch_size: int,
    concurrency: int,
    on_failure: OnFailure,
) -> dict[str, Any]:
    """The answer, a JSON value, to every question.

    Args:
        questions (`Mapping`): key to question; the key stands for it in the cache.
        ask (`Callable`): answers a batch of questions, in their order.
        cache (`ScoreCache`, *optional*): looked up first; answers go in as they come, so that what was answered before a failure is kept.
        batch_size (`int`): questions for one call of `ask`.
        concurrency (`int`): calls of `ask` at a time.
        on_failure (`str`): `"missing"` gives the questions of a failed batch the [`RemoteError`] as their answer, `"raise"` raises it.

    Raises:
        RemoteError: a batch failed.
    """
    found: dict[str, Any] = dict(cache.get(list(questions))) if cache is not None else {}
    new = [key for key in questions if key not in found]
    batches = [new[start : start + batch_size] for start in range(0, len(new), batch_size)]

    async def answer(batch: list[str]) -> dict[str, Any]:
        answered = dict(zip(batch, await ask([questions[key] for key in batch]), strict=True))
        if cache is not None:
            cache.put(answered)
        return answered

    results = await in_parallel([partial(answer, batch) for batch in batches], concurrency, on_failure)
    for batch, result in zip(batches, results, strict=True):
        found.update(dict.fromkeys(batch, result) if isinstance(result, RemoteError) else result)
    return found
