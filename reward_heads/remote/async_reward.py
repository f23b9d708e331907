"""Score with asynchronous Python code: any `async` function of prompt and completion, many at a time."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from frontier.errors import InputError
from frontier.objectives import check_objectives
from reward_heads.functions import VectorFunctionReward
from reward_heads.remote.errors import RemoteError, Transient
from reward_heads.remote.parallel import OnFailure, check_on_failure, in_parallel, run_blocking, warn_missing
from reward_heads.remote.retry import Attempts, Clock, RealClock, Retry, check_count, check_seconds
from reward_heads.text import Text, check_same_length, plain_text

Values = float | None | Sequence[float | None] | Mapping[str, float | None]


class AsyncReward:
    """A reward vector from one asynchronous function.

    `score` may be called from several threads, and inside a running event loop (where `await score_async(...)` does not block it). Each call runs on an
    event loop of its own: open clients inside the function, not beside it.

    Args:
        objectives (`Sequence[str]` or `str`): the K names; one name may stand alone.
        function (`Callable`): `async f(prompt, completion)`, returning what [`VectorFunctionReward`] takes: K numbers in order, or a mapping of names to
            numbers; for one objective also the number itself. `None` = not known.
        concurrency (`int`, *optional*, defaults to 8): calls at a time, for each call of `score`.
        timeout (`float`, *optional*, defaults to 30): seconds for one attempt; it is cancelled then.
        deadline (`float`, *optional*): seconds for one call of `score`, by default without limit.
        retry (`Retry`, *optional*): by default 4 attempts.
        retry_on (`tuple[type[Exception], ...]`, *optional*): what may pass, besides timeouts; by default `OSError` (connections). Any other exception is a
            mistake and is raised at once.
        on_failure (`str`, *optional*, defaults to `"raise"`): `"missing"` makes the score NaN when the attempts are used up, warns, and counts it in
            `failures`.
        raw (`bool`, *optional*, defaults to `False`): as in [`FunctionReward`].
        clock (*optional*): for tests.

    Raises:
        InputError: a bad name or number, or `function` is not callable.

    Example:
        >>> async def length(prompt: str, completion: str) -> float:
        ...     return float(len(completion))
        >>> AsyncReward("long", length).score(["Hi"], ["Hello."])
        tensor([[6.]])
    """

    def __init__(
        self,
        objectives: Sequence[str] | str,
        function: Callable[[Any, Any], Awaitable[Values]],
        *,
        concurrency: int = 8,
        timeout: float = 30.0,
        deadline: float | None = None,
        retry: Retry | None = None,
        retry_on: tuple[type[Exception], ...] = (OSError,),
        on_failure: OnFailure = "raise",
        raw: bool = False,
        clock: Clock | None = None,
    ) -> None:
        self.objectives = check_objectives([objectives] if isinstance(objectives, str) else objectives)
        if not callable(function):
            raise InputError(
                f"an asynchronous reward must be an async function of (prompt, completion), found {function!r}"
            )
        check_count("concurrency", concurrency)
        check_seconds("timeout", timeout)
        if deadline is not None:
            check_seconds("deadline", deadline)
        self.function = function
        self.concurrency = concurrency
        self.timeout = timeout
        self.deadline = deadline
        self.retry = retry or Retry()
        self.retry_on = tuple(retry_on)
        self.on_failure = check_on_failure(on_failure)
        self.raw = raw
        self.clock = clock or RealClock()
        self.failures = 0

    def score(self, prompts: Sequence[Text], completions: Sequence[Text]) -> Tensor:
        """`[B, K]` float32; see [`VectorReward.score`].

        Raises:
            InputError: the batch does not pair up, or the function returned what is no vector of finite numbers, or is not asynchronous.
            RemoteError: the attempts or the time are used up (with `on_failure="raise"`).
        """
        return run_blocking(lambda: self.score_async(prompts, completions))

    async def score_async(self, prompts: Sequence[Text], completions: Sequence[Text]) -> Tensor:
        """`score`, for code that runs in an event loop already."""
        check_same_length(prompts, completions)
        attempts = Attempts.start(self.retry, self.timeout, self.deadline, self.clock)
        jobs = [
            self._job(attempts, prompt, completion) for prompt, completion in zip(prompts, completions, strict=True)
        ]
        results = await in_parallel(jobs, self.concurrency, self.on_failure)
        errors = [result for result in results if isinstance(result, RemoteError)]
        if errors:
            self.failures += len(errors)
            warn_missing("rows", len(errors), len(results), errors[0])
        if not results:
            return torch.empty(0, len(self.objectives))
        vectors = iter(results)
        # The checks of what functions return are those of every other reward made of functions.
        checked = VectorFunctionReward(
            self.objectives, lambda prompt, completion: self._vector(next(vectors)), raw=True
        )
        return checked.score(prompts, completions)

    def _job(self, attempts: Attempts, prompt: Text, completion: Text) -> Callable[[], Awaitable[Any]]:
        given = (prompt, completion) if self.raw else (plain_text(prompt), plain_text(completion))

        async def attempt() -> Any:
            try:
                pending = self.function(*given)
                if not isinstance(pending, Awaitable):
                    raise InputError(
                        f"{self._name()} must be an async function, it returned {pending!r}: use FunctionReward"
                    )
                return await pending
            except TimeoutError:
                raise  # an OSError too, but it has its own message
            except self.retry_on as error:
                raise Transient(f"{type(error).__name__}: {error}") from error

        return lambda: attempts.run(attempt, self._name())

    def _name(self) -> str:
        return getattr(self.function, "__qualname__", None) or type(self.function).__name__

    def _vector(self, result: Any) -> Any:
        if result is None or isinstance(result, RemoteError):
            return [None] * len(self.objectives)
        if hasattr(result, "tolist"):  # a tensor, an array, or a number of theirs
            result = result.tolist()
        if isinstance(result, Mapping) or (isinstance(result, Sequence) and not isinstance(result, str)):
            return result
        if len(self.objectives) == 1:
            return [result]
        raise InputError(
            f"{self._name()} must return {len(self.objectives)} numbers ({', '.join(self.objectives)}) or a mapping, found {result!r}"
        )
