"""Score with a language model that is asked, for each principle, whether the reply keeps to it."""

import json
import math
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from frontier.errors import InputError
from frontier.objectives import check_objectives
from reward_heads.remote.asking import ask_all
from reward_heads.remote.endpoint import Endpoint, Session
from reward_heads.remote.errors import RemoteError
from reward_heads.remote.judge_prompt import JudgePrompt
from reward_heads.remote.parallel import OnFailure, check_on_failure, run_blocking, warn_missing
from reward_heads.remote.retry import Clock, RealClock, Retry, check_count
from reward_heads.remote.saved import load_remote, save_remote
from reward_heads.remote.score_cache import ScoreCache, as_cache, cache_key
from reward_heads.remote.yes_no import choice_of, has_log_probabilities, read_log_probabilities, read_text
from reward_heads.text import Text, check_same_length

METHODS = ("auto", "logprobs", "samples")
OUTPUTS = ("probability", "log_odds")
_FIELDS = (
    *("principles", "base_url", "model", "output", "method", "n_samples", "min_mass", "max_tokens", "top_logprobs"),
    *("request", "on_failure"),
)


@dataclass(frozen=True)
class Judgement:
    """What the judge said about one principle and one reply.

    Args:
        log_odds (`float`, *optional*): of yes against no, in nats; `None` = not known.
        method (`str`): `"logprobs"`: from the probabilities of the answer's token; `"samples"`: from how often it said yes; `"failed"`: there was no answer.
        problem (`str`, *optional*): why it is not known: the judge `"refused"`, was `"cut off"`, said `"neither yes nor no"`, or the message of the failed
            request.
        text (`str`): the beginning of the (last) answer.
    """

    log_odds: float | None
    method: str
    problem: str | None = None
    text: str = ""

    @property
    def probability(self) -> float | None:
        """P(yes) against no; `None` = not known."""
        return None if self.log_odds is None else 1.0 / (1.0 + math.exp(-self.log_odds))


class PrincipleJudge:
    """A reward vector from a judge behind any OpenAI-compatible endpoint (vLLM, llama.cpp, Ollama, OpenAI, ...): one objective per principle.

    Each principle and completion is one question, answered Yes or No; the score is P(yes) = p_yes / (p_yes + p_no) by the probabilities of the first token
    of the answer (see `reward_heads.remote.yes_no`). Where the endpoint does not give log-probabilities, it answers `n_samples` times at temperature 1
    instead, and the score is (yes + 1) / (yes + no + 2). `judge` tells which of the two it was and what else happened; `score` gives the numbers alone. A
    judge that refuses, is cut off or says something else leaves the score NaN, with a warning; it is counted in `unreadable`.

    Args:
        principles (`Mapping[str, str]`): objective to what a good reply keeps to, as a statement: `{"harmless": "The reply helps nobody to do harm."}`.
        base_url (`str`): up to and without `/chat/completions`, such as `http://127.0.0.1:8000/v1`.
        model (`str`): the judge's name there.
        output (`str`, *optional*, defaults to `"probability"`): `"log_odds"` gives log p_yes − log p_no in nats, which does not saturate.
        method (`str`, *optional*, defaults to `"auto"`): `"logprobs"` refuses an endpoint without them, `"samples"` never asks for them; `"auto"` takes
            what there is and warns if that is samples.
        n_samples (`int`, *optional*, defaults to 8): answers per question for samples; a single one is taken at temperature 0.
        min_mass (`float`, *optional*, defaults to 0.1): the least p_yes + p_no that counts as an answer.
        max_tokens (`int`, *optional*, defaults to 4): length of an answer; a reasoning model needs room for its thoughts.
        top_logprobs (`int`, *optional*, defaults to 20): as many alternatives as the endpoint allows.
        request (`Mapping`, *optional*): further fields of the request's body; `None` as a value leaves a field out (`{"max_tokens": None,
            "max_completion_tokens": 4}`). No keys: it is saved.
        prompt (`JudgePrompt`, *optional*): what is asked, and which answers are yes and no.
        concurrency, timeout, deadline, retry, on_failure, api_key_env, api_key_header (*optional*): as in [`HTTPReward`].
        cache (`ScoreCache` or path, *optional*): earlier answers, by question, so that a new principle asks nothing again.
        transport, clock (*optional*): for tests.

    Raises:
        InputError: a bad name, address, number or choice, or a principle without words.
    """

    def __init__(
        self,
        principles: Mapping[str, str],
        base_url: str,
        model: str,
        *,
        output: Literal["probability", "log_odds"] = "probability",
        method: Literal["auto", "logprobs", "samples"] = "auto",
        n_samples: int = 8,
        min_mass: float = 0.1,
        max_tokens: int = 4,
        top_logprobs: int = 20,
        request: Mapping[str, Any] | None = None,
        prompt: JudgePrompt | None = None,
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
        _check_names(principles, base_url, model)
        for name, value, allowed in (("output", output, OUTPUTS), ("method", method, METHODS)):
            if value not in allowed:
                raise InputError(f"{name} must be one of {', '.join(allowed)}, found {value!r}")
        for name, count in (("n_samples", n_samples), ("max_tokens", max_tokens), ("top_logprobs", top_logprobs)):
            check_count(name, count)
        if not 0 < min_mass <= 1:
            raise InputError(f"min_mass must be in (0, 1], found {min_mass}")
        try:
            json.dumps(request, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise InputError(f"request must hold JSON values: {error}") from error
        self.objectives = check_objectives(list(principles))
        self.principles = dict(principles)
        self.base_url = base_url
        self.endpoint = Endpoint(
            f"{base_url.rstrip('/')}/chat/completions", concurrency, timeout, deadline, retry or Retry(), api_key_env, api_key_header,
            transport, clock or RealClock(),
        )  # fmt: skip
        self.model = model
        self.output = output
        self.method = method
        self.n_samples = n_samples
        self.min_mass = min_mass
        self.max_tokens = max_tokens
        self.top_logprobs = top_logprobs
        self.request = dict(request or {})
        self.prompt = prompt or JudgePrompt()
        self.on_failure = check_on_failure(on_failure)
        self.cache = as_cache(cache)
        self.failures = 0
        self.unreadable = 0
        self._no_log_probabilities = method == "samples"

    def score(self, prompts: Sequence[Text], completions: Sequence[Text]) -> Tensor:
        """`[B, K]` float32, probabilities or log-odds that each principle is kept; see [`VectorReward.score`].

        Raises:
            InputError: the batch does not pair up, the key is not set, or httpx is not installed.
            RemoteError: a request failed (with `on_failure="raise"`), or the endpoint will never answer it.
        """
        return run_blocking(lambda: self.score_async(prompts, completions))

    async def score_async(self, prompts: Sequence[Text], completions: Sequence[Text]) -> Tensor:
        """`score`, for code that runs in an event loop already."""
        found = await self.judge_async(prompts, completions)
        values = [value for row in found for value in self._values(row)]
        scores = torch.tensor(values, dtype=torch.float32).reshape(len(found), len(self.objectives))
        bad = [judgement for row in found for judgement in row.values() if judgement.log_odds is None]
        if bad:
            reason = f"{bad[0].problem}, {bad[0].text!r}" if bad[0].text else bad[0].problem
            warn_missing("judgements", len(bad), len(values), reason)
        return scores

    def judge(self, prompts: Sequence[Text], completions: Sequence[Text]) -> list[dict[str, Judgement]]:
        """What the judge said: for each completion, objective to [`Judgement`]. Raises what `score` raises."""
        return run_blocking(lambda: self.judge_async(prompts, completions))

    async def judge_async(self, prompts: Sequence[Text], completions: Sequence[Text]) -> list[dict[str, Judgement]]:
        """`judge`, for code that runs in an event loop already."""
        check_same_length(prompts, completions)
        identity = self._identity()
        questions: dict[str, list[dict[str, str]]] = {}
        rows = []
        for prompt, completion in zip(prompts, completions, strict=True):
            chats = {name: self.prompt.messages(text, prompt, completion) for name, text in self.principles.items()}
            rows.append({name: cache_key(*identity, chat) for name, chat in chats.items()})
            questions.update((rows[-1][name], chat) for name, chat in chats.items())
        if not questions:
            return []
        async with self.endpoint.session() as session:
            found = await ask_all(
                questions,
                lambda chats: self._answers(session, chats),
                cache=self.cache,
                batch_size=1,
                concurrency=self.endpoint.concurrency,
                on_failure=self.on_failure,
            )
        return [{name: self._judgement(found[key]) for name, key in row.items()} for row in rows]

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write `remote.json`: everything but the key, the cache and what is for tests."""
        asked = self.prompt
        prompt = {"system": asked.system, "user": asked.user, "yes": list(asked.yes), "no": list(asked.no)}
        own = {name: getattr(self, name) for name in _FIELDS} | {"prompt": prompt}
        save_remote(folder, "judge", self.endpoint, own)

    @classmethod
    def from_pretrained(
        cls, folder: str | os.PathLike[str], *, cache: ScoreCache | str | os.PathLike[str] | None = None
    ) -> "PrincipleJudge":
        """Load what `save_pretrained` wrote; the endpoint is not asked.

        Raises:
            InputError: `remote.json` is missing or wrong; names the field.
        """

        def make(prompt: Mapping[str, Any], **fields: Any) -> PrincipleJudge:
            return cls(**fields, prompt=JudgePrompt(**prompt))

        return load_remote(folder, "judge", (*_FIELDS, "prompt"), make, cache)

    def _identity(self) -> list[Any]:
        """What an answer depends on besides the chat: part of the cache's keys."""
        reading = [self.method, self.n_samples, self.min_mass, self.prompt.yes, self.prompt.no]
        return ["judge", self.endpoint.url, self.model, self.max_tokens, self.top_logprobs, self.request, *reading]

    async def _answers(self, session: Session, chats: list[list[dict[str, str]]]) -> list[dict[str, Any]]:
        return [await self._answer(session, chat) for chat in chats]

    async def _answer(self, session: Session, chat: list[dict[str, str]]) -> dict[str, Any]:
        if not self._no_log_probabilities:
            choice = await self._with_log_probabilities(session, chat)
            if choice is not None:
                try:
                    reading = read_log_probabilities(choice, self.prompt, self.min_mass)
                except InputError as error:
                    raise RemoteError(f"{self.endpoint.shown}: {error}") from None
                return _as_json(reading.log_odds, "logprobs", reading.problem, reading.text)
        return await self._by_samples(session, chat)

    async def _with_log_probabilities(self, session: Session, chat: list[dict[str, str]]) -> dict[str, Any] | None:
        """The answer, or `None` where the endpoint gives no log-probabilities and samples may stand in."""
        reason = "the answers have none"
        try:
            choice = await self._choice(session, chat, temperature=0.0, logprobs=True, top_logprobs=self.top_logprobs)
            if has_log_probabilities(choice):
                return choice
            if choice["message"].get("refusal") or choice.get("finish_reason") == "content_filter":
                return {**choice, "logprobs": {"content": []}}  # a refusal needs no probabilities
        except RemoteError as error:
            if error.status not in (400, 422) or "logprob" not in str(error).lower():
                raise
            reason = str(error)
        if self.method == "logprobs":
            raise RemoteError(
                f"{self.endpoint.shown}: no log-probabilities ({reason}): choose method='samples', or fewer top_logprobs"
            )
        if not self._no_log_probabilities:
            self._no_log_probabilities = True
            warnings.warn(
                f"{self.endpoint.shown}: no log-probabilities ({reason}): the judge answers {self.n_samples} times instead",
                stacklevel=2,
            )
        return None

    async def _by_samples(self, session: Session, chat: list[dict[str, str]]) -> dict[str, Any]:
        counts = {True: 0, False: 0}
        problem, text = None, ""
        temperature = 1.0 if self.n_samples > 1 else 0.0
        for number in range(self.n_samples):
            choice = await self._choice(session, chat, temperature=temperature, seed=number)
            text = choice["message"].get("content") or ""
            said, why = read_text(choice, self.prompt)
            if said is None:
                problem = problem or why
            else:
                counts[said] += 1
        if not any(counts.values()):
            return _as_json(None, "samples", problem, text)
        return _as_json(math.log(counts[True] + 1) - math.log(counts[False] + 1), "samples", None, text)

    async def _choice(self, session: Session, chat: list[dict[str, str]], **options: Any) -> dict[str, Any]:
        body = {"model": self.model, "messages": chat, "max_tokens": self.max_tokens, **options, **self.request}
        answer = await session.post({name: value for name, value in body.items() if value is not None})
        try:
            return choice_of(answer)
        except InputError as error:
            raise RemoteError(f"{self.endpoint.shown}: {error}") from None

    def _judgement(self, found: Any) -> Judgement:
        if isinstance(found, RemoteError):
            self.failures += 1
            return Judgement(None, "failed", str(found))
        judgement = Judgement(**found)
        self.unreadable += judgement.log_odds is None
        return judgement

    def _values(self, row: Mapping[str, Judgement]) -> list[float]:
        values = [
            judgement.probability if self.output == "probability" else judgement.log_odds for judgement in row.values()
        ]
        return [math.nan if value is None else value for value in values]


def _as_json(log_odds: float | None, method: str, problem: str | None, text: str) -> dict[str, Any]:
    return {"log_odds": log_odds, "method": method, "problem": problem, "text": text[:200]}


def _check_names(principles: Any, base_url: Any, model: Any) -> None:
    if not isinstance(principles, Mapping):
        raise InputError(f"principles must be a mapping of objectives to statements, found {type(principles).__name__}")
    for name, text in principles.items():
        if not isinstance(text, str) or not text.strip():
            raise InputError(f"the principle of objective '{name}' must be a statement, found {text!r}")
    if not isinstance(base_url, str) or "?" in base_url or "#" in base_url:
        raise InputError("base_url must be an address without a query, such as http://127.0.0.1:8000/v1")
    if not isinstance(model, str) or not model:
        raise InputError(f"model must be the judge's name at the endpoint, found {model!r}")
