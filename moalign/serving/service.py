"""What stands between HTTP and the engine: the loaded policy, its limits, and how a request's fields become work."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeGuard, cast

from jinja2 import TemplateError
from torch import Tensor

from frontier.errors import InputError
from frontier.front import ParetoFront
from moalign.policy import SteerablePolicy
from moalign.preference import Preference
from moalign.preference_gate import PreferenceGate
from moalign.serving.access import ANYONE, Access, Caller
from moalign.serving.engine import Engine
from moalign.serving.errors import ApiError
from moalign.serving.observe.metrics import Metrics
from moalign.serving.pick import FrontMenu, requested
from moalign.serving.request import EngineStopped, FieldError, GenerationRequest
from moalign.serving.rewards import RewardHeads
from moalign.serving.schemas import ChatBody, GenerationBody
from moalign.serving.users.allowed import known_preference
from moalign.serving.users.book import UserBook
from reward_heads.text import Text

logger = logging.getLogger(__name__)

# OpenAI's default of /v1/completions.
DEFAULT_COMPLETION_TOKENS = 16

Prompt = str | list[int] | list[dict[str, str]]
# Who chose the preference of an answer: the client, what is known of the user, the gate, or the bundle.
Source = Literal["request", "user", "gate", "default"]


@dataclass(frozen=True)
class Limits:
    """What one HTTP request may ask for.

    Args:
        max_new_tokens (`int`, *optional*, defaults to 1024): the largest `max_tokens`.
        max_choices (`int`, *optional*, defaults to 64): prompts x n.
        max_stop (`int`, *optional*, defaults to 4): stop texts.
        max_stop_length (`int`, *optional*, defaults to 256): characters of a stop text.
        max_body_bytes (`int`, *optional*, defaults to 1 MiB): size of the body.
    """

    max_new_tokens: int = 1024
    max_choices: int = 64
    max_stop: int = 4
    max_stop_length: int = 256
    max_body_bytes: int = 2**20


class Service:
    """One policy, loaded or still loading, with the engine that runs it.

    Args:
        model_name (`str`): what clients call it.
        limits (`Limits`): per HTTP request.
        engine_options (`dict`): arguments of `Engine`.
        gate (`Callable`, *optional*): makes the source of preferences for requests that bring none, once the policy is loaded; by default they get the policy's own.
        front (`ParetoFront`, *optional*): the measured front of the policy.
        heads (`Callable`, *optional*): makes, from the loaded policy, the reward heads that score texts.
        users (`Callable`, *optional*): makes, from the loaded policy, the users who are remembered.
        access (`Access`, *optional*): who may ask; by default everybody.
        request_timeout (`float`, *optional*): seconds that a request may take, waiting included, unless it asks for fewer.
        log_prompts (`bool`, *optional*, defaults to `False`): whether the log holds what was asked.
    """

    def __init__(
        self,
        model_name: str,
        limits: Limits,
        engine_options: dict[str, Any],
        gate: Callable[[SteerablePolicy], PreferenceGate] | None = None,
        front: ParetoFront | None = None,
        heads: Callable[[SteerablePolicy], RewardHeads | None] | None = None,
        users: Callable[[SteerablePolicy], UserBook] | None = None,
        access: Access | None = None,
        request_timeout: float | None = None,
        log_prompts: bool = False,
    ) -> None:
        self.model_name = model_name
        self.front = front
        self.access = access or Access()
        self.metrics: Metrics | None = None
        self.request_timeout = request_timeout
        self.log_prompts = log_prompts
        self.limits = limits
        self.created = int(time.time())
        self.failure: Exception | None = None
        self.engine: Engine | None = None
        self.gate: PreferenceGate | None = None
        self.heads: RewardHeads | None = None
        self.users: UserBook | None = None
        self.loading: asyncio.Task[None] | None = None
        self._engine_options = engine_options
        self._make_gate = gate
        self._make_heads = heads
        self._make_users = users
        self._menu: FrontMenu | None = None
        self._encoding = threading.Lock()
        self._closing = False

    # ---- life

    async def load(self, loader: Callable[[], SteerablePolicy]) -> None:
        """Load the policy, and the gate if there is one, without stopping the event loop; what goes wrong is kept in `failure`."""

        def start() -> Engine:
            policy = loader()
            self.access.check_objectives(policy.objectives)
            if self._make_gate is not None:
                self.gate = self._make_gate(policy)
            if self._make_heads is not None:
                self.heads = self._make_heads(policy)
            if self._make_users is not None:
                self.users = self._make_users(policy)
            return Engine(policy, **self._engine_options)

        try:
            engine = await asyncio.to_thread(start)
        except Exception as error:
            self.failure = error
            if not isinstance(error, InputError):
                logger.exception("the policy could not be loaded")
            return
        self.engine = engine
        if self._closing:
            engine.drain()

    def drain(self, seconds: float) -> None:
        """Refuse new work from now on, finish what was accepted within this time, fail the rest. Returns at once; safe in a signal handler."""
        self._closing = True
        if self.engine is not None:
            self.engine.drain()
            threading.Thread(target=self.engine.close, args=(seconds,), name="moalign-drain", daemon=True).start()

    async def close(self) -> None:
        """Fail what is still running and end the engine."""
        self._closing = True
        if self.engine is not None:
            await asyncio.to_thread(self.engine.close)
        if self.users is not None:
            self.users.close()

    @property
    def ready(self) -> bool:
        """Whether requests are taken."""
        return self.engine is not None and self.engine.ready and not self._closing

    @property
    def stopped(self) -> bool:
        """Whether the engine has stopped for good, though nobody asked for it."""
        return self.engine is not None and self.engine.stopped and not self._closing

    def running_engine(self) -> Engine:
        """The engine.

        Raises:
            EngineStopped: it is not loaded yet, shutting down or dead.
        """
        if self._closing:
            raise EngineStopped("the server is stopping")
        if self.engine is None:
            raise EngineStopped("the model is still loading")
        if not self.engine.ready:
            raise EngineStopped("the engine is starting again after a failure, or has stopped")
        return self.engine

    # ---- requests

    def check_model(self, name: str | None) -> None:
        """Refuse the name of a model that is not served (404)."""
        if name is not None and name != self.model_name:
            message = f"model '{name}' does not exist. Served: {self.model_name}"
            raise ApiError(404, message, "model", "model_not_found")

    def menu(self) -> FrontMenu:
        """What the policy can be asked for by its results."""
        if self._menu is None:
            self._menu = FrontMenu(self.front, self.running_engine().policy.objectives)
        return self._menu

    def preferences(
        self, body: GenerationBody, prompts: Sequence[Prompt], caller: Caller = ANYONE
    ) -> tuple[list[Preference], Source]:
        """One preference per prompt: the request's, else what is known of its user, else the gate's, else the policy's default. A gate reads the prompts with its encoder, and
        users are in a database, so call it in a thread.

        Raises:
            ApiError: it is a wish over the front that cannot be met, or there is no front.
            FieldError: it is malformed or names an objective that the policy does not have, the user's name is refused, or the gate can't read a prompt.
        """
        policy = self.running_engine().policy
        if body.preference is not None:
            return [requested(self.menu(), body.preference)] * len(prompts), "request"
        if body.user is not None and self.users is not None:
            known = known_preference(self.users, caller, body.user)
            if known is not None:
                return [known] * len(prompts), "user"
        if self.gate is None:
            return [policy.default_preference] * len(prompts), "default"
        self._check_limits(body, prompts)  # before the encoder reads more than may be asked for
        try:
            return self.gate.preferences([self._as_text(policy, prompt) for prompt in prompts]), "gate"
        except InputError as error:
            raise FieldError(_field(body), str(error)) from error

    def effective(self, preference: Preference) -> dict[str, dict[str, float]]:
        """What a response echoes: the value of every objective, in the policy's order, in a form that a request may send."""
        values = preference.values
        return {preference.kind: {name: values.get(name, 0.0) for name in self.running_engine().policy.objectives}}

    def requests(
        self,
        body: GenerationBody,
        prompts: Sequence[Prompt],
        preference: Preference | Sequence[Preference],
        caller: Caller = ANYONE,
    ) -> list[GenerationRequest]:
        """One engine request per prompt, with one preference for all or one for each. Tokenises, so call it in a thread.

        Raises:
            FieldError: a limit is exceeded, or a conversation cannot be rendered.
        """
        engine = self.running_engine()
        self._check_limits(body, prompts)
        if caller.max_tokens is not None and (body.token_limit or 0) > caller.max_tokens:
            raise FieldError(
                "max_tokens", f"{body.token_limit}, allowed for this key: {caller.max_tokens} (max_tokens)"
            )
        most = min(self.limits.max_new_tokens, caller.max_tokens or self.limits.max_new_tokens)
        field = _field(body)
        preferences = [preference] * len(prompts) if isinstance(preference, Preference) else preference
        steered = [
            (prompt, chosen.as_tensor(engine.policy.objectives))
            for prompt, chosen in zip(prompts, preferences, strict=True)
        ]
        return [
            GenerationRequest(
                prompt_ids=ids,
                weights=weights,
                max_tokens=self._max_tokens(engine, body, len(ids), most),
                temperature=1.0 if body.temperature is None else body.temperature,
                top_p=1.0 if body.top_p is None else body.top_p,
                top_k=body.top_k,
                seed=body.seed,
                stop=body.stops,
                n=body.n or 1,
                logprobs=body.alternatives,
                timeout=self._timeout(body),
            )
            for ids, weights in ((self._encode(engine.policy, prompt, w, field), w) for prompt, w in steered)
        ]

    def _check_limits(self, body: GenerationBody, prompts: Sequence[Prompt]) -> None:
        limits = self.limits
        choices = len(prompts) * (body.n or 1)
        if not prompts:
            raise FieldError("prompt", "the list is empty, at least one prompt is needed")
        if choices > limits.max_choices:
            raise FieldError(
                "n",
                f"{len(prompts)} prompts x n {body.n or 1} = {choices} answers, allowed: {limits.max_choices} (max_choices)",
            )
        if len(body.stops) > limits.max_stop:
            raise FieldError("stop", f"{len(body.stops)} texts, allowed: {limits.max_stop} (max_stop)")
        longest = max(map(len, body.stops), default=0)
        if longest > limits.max_stop_length:
            raise FieldError(
                "stop", f"a text of {longest} characters, allowed: {limits.max_stop_length} (max_stop_length)"
            )
        if body.token_limit is not None and body.token_limit > limits.max_new_tokens:
            raise FieldError("max_tokens", f"{body.token_limit}, allowed: {limits.max_new_tokens} (max_new_tokens)")

    def _encode(self, policy: SteerablePolicy, prompt: Prompt, weights: Tensor, field: str) -> list[int]:
        if _is_ids(prompt):
            return prompt
        try:
            # Tokenizers in Rust refuse to be used and changed by two threads at once.
            with self._encoding:
                return policy.encode([cast(Text, prompt)], weights.unsqueeze(0))[0]
        except InputError as error:
            raise FieldError(field, str(error)) from error
        except TemplateError as error:
            raise FieldError(field, f"the model's chat template refuses the conversation: {error}") from error

    def _as_text(self, policy: SteerablePolicy, prompt: Prompt) -> Text:
        """What a gate reads: token ids as the text that they stand for."""
        if not _is_ids(prompt):
            return cast(Text, prompt)
        # Ids that are no tokens are the engine's to refuse.
        ids = [token for token in prompt if 0 <= token < len(policy.tokenizer)]
        with self._encoding:
            return str(policy.tokenizer.decode(ids, skip_special_tokens=True))

    def _max_tokens(self, engine: Engine, body: GenerationBody, prompt_length: int, most: int) -> int:
        """What the client allows; otherwise OpenAI's defaults: 16 for completions, what the context leaves for chat."""
        if body.token_limit is not None:
            return body.token_limit
        default = most if isinstance(body, ChatBody) else min(DEFAULT_COMPLETION_TOKENS, most)
        room = (
            engine.max_total_tokens
            if engine.context_length is None
            else min(engine.context_length, engine.max_total_tokens)
        )
        return max(1, min(default, room - prompt_length))

    def _timeout(self, body: GenerationBody) -> float | None:
        given = [seconds for seconds in (body.timeout, self.request_timeout) if seconds is not None]
        return min(given, default=None)


def _field(body: GenerationBody) -> str:
    """Where a request has its prompts."""
    return "messages" if isinstance(body, ChatBody) else "prompt"


def _is_ids(prompt: Prompt) -> TypeGuard[list[int]]:
    return isinstance(prompt, list) and (not prompt or isinstance(prompt[0], int))
