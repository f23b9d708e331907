"""What a request to the OpenAI-compatible API may hold, checked field by field; what is not known is refused, never ignored."""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidatorFunctionWrapHandler, field_validator, model_validator
from pydantic_core import PydanticCustomError, ValidationError

from frontier.errors import unknown_name
from moalign.serving.request import MAX_LOGPROBS, MAX_TOP_K

# Characters of a user's name.
LONGEST_NAME = 256

# Fields of OpenAI's API that change the answer in ways that are not built here, with the values at which they change nothing.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "annotations": (None, []),
    "audio": (None,),
    "best_of": (None, 1),
    "echo": (None, False),
    "frequency_penalty": (None, 0),
    "function_call": (None, "none"),
    "functions": (None, []),
    "logit_bias": (None, {}),
    "modalities": (None, ["text"]),
    "presence_penalty": (None, 0),
    "refusal": (None,),
    "response_format": (None, {"type": "text"}),
    "service_tier": (None, "auto", "default"),
    "suffix": (None, ""),
    "tool_calls": (None, []),
    "tool_choice": (None, "none"),
    "tools": (None, []),
}


class StrictModel(BaseModel):
    """A JSON object whose fields are all known and of exactly their type."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_fields(cls, values: Any) -> Any:
        for name in values if isinstance(values, dict) else ():
            if name not in cls.model_fields:
                error = unknown_name("field", name, cls.model_fields)
                # Given as a value: braces in the client's text must not be read as a template.
                raise PydanticCustomError("unknown_field", "{message}", {"message": str(error), "field": name})
        return values

    @model_validator(mode="after")
    def _refuse_what_is_not_built(self) -> Self:
        for name in type(self).model_fields:
            value = getattr(self, name)
            if name in _NEUTRAL and not any(value == neutral for neutral in _NEUTRAL[name]):
                raise PydanticCustomError(
                    "unknown_field", "{message}", {"message": f"{name}: is not supported, leave it out", "field": name}
                )
        return self


class StreamOptions(StrictModel):
    """How a stream ends."""

    include_usage: bool = Field(False, description="send the token counts in a last chunk")
    include_obfuscation: bool | None = Field(None, description="accepted; nothing is obfuscated")


class GenerationBody(StrictModel):
    """The fields that completions and chat share."""

    model: str | None = Field(None, description="the served model's name; may be left out")
    preference: Any = Field(
        None,
        description='the trade-off: {"helpful": 0.7, "brief": 0.3}, {"weights": {...}}, {"direction": {...}} or "helpful=0.7,brief=0.3"; or a wish over the measured front: '
        '{"aspiration": {"helpful": 0.8, "brief": 0.5}} or {"maximize": "helpful", "subject_to": {"brief": {">=": 0.2}}}; '
        "where it is missing, what is known of the user, the gate's choice for the prompt, or the bundle's default",
    )
    max_tokens: int | None = Field(None, ge=1, description="at most this many new tokens")
    n: int | None = Field(None, ge=1, description="answers per prompt, 1 where it is missing")
    temperature: float | None = Field(None, ge=0, le=2, description="0 is greedy; 1 where it is missing")
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=1, le=MAX_TOP_K)
    seed: int | None = Field(None, description="the same seed, prompt and preference give the same answer")
    stop: str | list[str] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    timeout: float | None = Field(
        None, gt=0, description="seconds, waiting included, after which the request fails with 504"
    )
    user: str | None = Field(
        None,
        max_length=LONGEST_NAME,
        description="whose answer it is: without a preference, it is made with what this user's feedback taught",
    )
    metadata: dict[str, Any] | None = Field(None, description="accepted; changes nothing")
    store: bool | None = Field(None, description="accepted; nothing is stored")
    frequency_penalty: Any = None
    logit_bias: Any = None
    presence_penalty: Any = None

    @field_validator("user")
    @classmethod
    def _nobody(cls, value: str | None) -> str | None:
        # Clients that have a field for a name and nothing in it send "".
        return value or None

    @field_validator("stop", mode="wrap")
    @classmethod
    def _check_stop(cls, value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        return one_of(value, handler, "must be a text or a list of texts")

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop texts, none or more."""
        return () if self.stop is None else (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)

    @property
    def token_limit(self) -> int | None:
        """What the client allows."""
        return self.max_tokens

    @property
    def alternatives(self) -> int | None:
        """How many likely tokens to tell beside each one; `None` = no log-probabilities at all."""
        raise NotImplementedError


class CompletionBody(GenerationBody):
    """`POST /v1/completions`."""

    prompt: str | list[str] | list[int] | list[list[int]] = Field(
        description="one or several prompts, as text or token ids"
    )
    logprobs: int | Literal[False] | None = Field(
        None, description=f"tell each token's log-probability, and of so many likely ones: 0 to {MAX_LOGPROBS}"
    )
    best_of: Any = None
    echo: Any = None
    suffix: Any = None

    @field_validator("logprobs", mode="wrap")
    @classmethod
    def _check_logprobs(cls, value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        found = one_of(value, handler, f"must be a whole number from 0 to {MAX_LOGPROBS}")
        if found is not None and found is not False and not 0 <= found <= MAX_LOGPROBS:
            raise ValueError(f"must be a whole number from 0 to {MAX_LOGPROBS}")
        return found

    @field_validator("prompt", mode="wrap")
    @classmethod
    def _check_prompt(cls, value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        return one_of(value, handler, "must be a text, a list of texts, token ids or a list of token ids")

    @property
    def prompts(self) -> list[str | list[int]]:
        """One entry per prompt, as text or token ids."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if self.prompt and isinstance(self.prompt[0], int):
            return [self.prompt]
        return list(self.prompt)  # type: ignore[arg-type]

    @property
    def alternatives(self) -> int | None:
        """How many likely tokens to tell beside each one; `None` = no log-probabilities at all."""
        return None if self.logprobs is None or self.logprobs is False else self.logprobs


class TextPart(StrictModel):
    """A piece of a message's content; only text can be read."""

    type: Literal["text"]
    text: str


class Message(StrictModel):
    """One turn of a conversation; an answer may be sent back as it came, with all that OpenAI's clients keep of it."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]
    name: str | None = None
    annotations: Any = None
    audio: Any = None
    function_call: Any = None
    refusal: Any = None
    tool_calls: Any = None

    @field_validator("content", mode="wrap")
    @classmethod
    def _check_content(cls, value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        return one_of(value, handler, 'must be a text or a list of {"type": "text", "text": ...}')

    def for_template(self) -> dict[str, str]:
        """What chat templates expect: a role they know and plain text."""
        text = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        named = {} if self.name is None else {"name": self.name}
        return {"role": "system" if self.role == "developer" else self.role, "content": text, **named}


class ChatBody(GenerationBody):
    """`POST /v1/chat/completions`."""

    messages: list[Message] = Field(min_length=1)
    max_completion_tokens: int | None = Field(None, ge=1, description="the newer name of max_tokens")
    function_call: Any = None
    functions: Any = None
    modalities: Any = None
    parallel_tool_calls: bool | None = Field(None, description="accepted; there are no tools")
    prompt_cache_key: str | None = Field(None, description="accepted; prefixes are found by their tokens")
    response_format: Any = None
    safety_identifier: str | None = Field(None, description="accepted; changes nothing, `user` names who asks")
    service_tier: Any = None
    tool_choice: Any = None
    tools: Any = None
    logprobs: bool | None = Field(None, description="tell each token's log-probability")
    top_logprobs: int | None = Field(
        None, ge=0, le=MAX_LOGPROBS, description="and of so many likely ones; needs logprobs"
    )

    @model_validator(mode="after")
    def _logprobs_asked_for(self) -> "ChatBody":
        if self.top_logprobs and not self.logprobs:
            message = "top_logprobs: needs logprobs set to true"
            raise PydanticCustomError("unknown_field", "{message}", {"message": message, "field": "top_logprobs"})
        return self

    @model_validator(mode="after")
    def _one_limit(self) -> "ChatBody":
        both = (self.max_tokens, self.max_completion_tokens)
        if None not in both and both[0] != both[1]:
            message = f"max_tokens {both[0]} and max_completion_tokens {both[1]} are two names of one field: give one"
            raise PydanticCustomError(
                "unknown_field", "{message}", {"message": message, "field": "max_completion_tokens"}
            )
        return self

    @property
    def token_limit(self) -> int | None:
        """What the client allows, by either name."""
        return self.max_completion_tokens if self.max_tokens is None else self.max_tokens

    @property
    def alternatives(self) -> int | None:
        """How many likely tokens to tell beside each one; `None` = no log-probabilities at all."""
        return (self.top_logprobs or 0) if self.logprobs else None


class ChooseBody(StrictModel):
    """`POST /v1/preferences/choose`."""

    model: str | None = Field(None, description="the served model's name; may be left out")
    state: dict[str, Any] | None = Field(
        None, description="what the last response held; without it, a conversation begins"
    )
    answer: Literal["a", "b", "cant_tell"] | None = Field(None, description="to the question of that response")
    utility: Literal["linear", "gp", "auto"] | None = Field(
        None, description="what may be wanted; auto where it is missing"
    )
    max_questions: int | None = Field(None, ge=1, le=50, description="12 where it is missing")
    regret: float | None = Field(
        None, ge=0, lt=1, description="stop at this expected shortfall, a share of the range of utility"
    )
    seed: int | None = Field(None, ge=0, lt=2**32)


def one_of(value: Any, handler: ValidatorFunctionWrapHandler, allowed: str) -> Any:
    """One message for a field of several types, in place of one complaint per type.

    Args:
        value (`Any`): what was sent.
        handler (`ValidatorFunctionWrapHandler`): the types.
        allowed (`str`): the message.
    """
    try:
        return handler(value)
    except ValidationError as error:
        raise ValueError(allowed) from error
