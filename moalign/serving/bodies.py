"""What the requests about preferences, rewards and users may hold, checked field by field."""

from typing import Any, Literal

from pydantic import Field, ValidatorFunctionWrapHandler, field_validator, model_validator
from pydantic_core import PydanticCustomError

from moalign.serving.schemas import LONGEST_NAME, Message, StrictModel, one_of
from reward_heads.text import Text

TEXT = 'must be a text or a list of messages, {"role": ..., "content": ...}'


class PickBody(StrictModel):
    """`POST /v1/preferences/pick`."""

    model: str | None = Field(None, description="the served model's name; may be left out")
    aspiration: Any = Field(None, description="a wished mean reward for each named objective, in the front's units")
    maximize: Any = Field(None, description="an objective, or non-negative weights of several")
    subject_to: Any = Field(None, description='bounds of mean rewards: {"brief": {">=": 0.2}}')
    confidence: float | None = Field(
        None, ge=0.5, lt=1, description="bounds must hold for the one-sided confidence bound of the mean"
    )
    preference: Any = Field(None, description="instead of a wish: what to expect at this preference")

    @property
    def wish(self) -> dict[str, Any]:
        """What was wished."""
        fields = ("aspiration", "maximize", "subject_to")
        return {name: getattr(self, name) for name in fields if getattr(self, name) is not None}

    @model_validator(mode="after")
    def _one_way(self) -> "PickBody":
        if (self.preference is None) == (not self.wish):
            _refuse("preference", "give either a wish (aspiration, or maximize and subject_to) or a preference")
        if self.confidence is not None and self.subject_to is None:
            _refuse("confidence", "is about the bounds of subject_to, which is missing")
        return self


class RewardsBody(StrictModel):
    """`POST /v1/rewards`: one prompt with one or more completions, or as many prompts as completions."""

    model: str | None = Field(None, description="the served model's name; may be left out")
    prompt: str | list[Message] | None = Field(None, description="of all completions, as text or messages")
    prompts: list[str | list[Message]] | None = Field(None, description="one for each completion")
    completion: str | list[Message] | None = Field(None, description="what to score, as text or messages")
    completions: list[str | list[Message]] | None = Field(None, description="several")

    @field_validator("prompt", "completion", mode="wrap")
    @classmethod
    def _check_text(cls, value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        return one_of(value, handler, TEXT)

    @field_validator("prompts", "completions", mode="wrap")
    @classmethod
    def _check_texts(cls, value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        return one_of(value, handler, "must be a list of texts or of lists of messages")

    @model_validator(mode="after")
    def _pairs_up(self) -> "RewardsBody":
        for one, many in (("prompt", "prompts"), ("completion", "completions")):
            if (getattr(self, one) is None) == (getattr(self, many) is None):
                _refuse(one, f"give either {one} or {many}")
        if self.completions == []:
            _refuse("completions", "the list is empty, at least one completion is needed")
        if self.prompts is not None and len(self.prompts) != len(self._several):
            _refuse("prompts", f"{len(self.prompts)} prompts for {len(self._several)} completions")
        return self

    @property
    def texts(self) -> tuple[list[Text], list[Text]]:
        """As many prompts as completions."""
        completions = [as_text(text) for text in self._several]
        if self.prompts is not None:
            return [as_text(text) for text in self.prompts], completions
        assert self.prompt is not None  # checked above
        return [as_text(self.prompt)] * len(completions), completions

    @property
    def _several(self) -> list[str | list[Message]]:
        if self.completions is not None:
            return self.completions
        assert self.completion is not None  # checked above
        return [self.completion]


class FeedbackBody(StrictModel):
    """`POST /v1/feedback`: which of two answers, whether an answer was good, or which of two preferences answered better."""

    model: str | None = Field(None, description="the served model's name; may be left out")
    user: str = Field(min_length=1, max_length=LONGEST_NAME, description="who says so")
    prompt: str | list[Message] | None = Field(None, description="what was answered")
    chosen: str | list[Message] | None = Field(None, description="the better answer")
    rejected: str | list[Message] | None = Field(None, description="the other one")
    completion: str | list[Message] | None = Field(None, description="the answer that was rated")
    rating: Literal["up", "down"] | None = Field(None, description="better or worse than what the user usually gets")
    preference: Any = Field(None, description="that the rated answer was made with; the user's own where it is missing")
    chosen_preference: Any = Field(None, description="that the better answer was made with")
    rejected_preference: Any = Field(None, description="that the other one was made with")

    @field_validator("prompt", "chosen", "rejected", "completion", mode="wrap")
    @classmethod
    def _check_text(cls, value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        return one_of(value, handler, TEXT)

    @model_validator(mode="after")
    def _one_kind(self) -> "FeedbackBody":
        given = {name for name in type(self).model_fields if getattr(self, name) is not None} - {"model", "user"}
        pair, preferences = {"chosen", "rejected"}, {"chosen_preference", "rejected_preference"}
        rating = {"completion", "rating"}
        if given & rating:
            _complete(given, rating | {"prompt"}, {"preference"})
        elif given & pair:
            _complete(given, pair | {"prompt"} | (preferences if given & preferences else set()), set())
        elif given & preferences:
            _complete(given, preferences, {"prompt"})
        else:
            _refuse(
                "chosen",
                "say what was better: prompt, chosen and rejected; or prompt, completion and rating; or chosen_preference and rejected_preference",
            )
        return self

    @property
    def kind(self) -> Literal["pair", "rating", "preferences"]:
        """Which way of saying it."""
        return "rating" if self.rating is not None else "pair" if self.chosen is not None else "preferences"


def as_text(text: str | list[Message]) -> Text:
    """A text as rewards read it."""
    return text if isinstance(text, str) else [message.for_template() for message in text]


def _complete(given: set[str], needed: set[str], allowed: set[str]) -> None:
    for name in sorted(needed - given):
        _refuse(name, f"is missing beside {', '.join(sorted(given & needed))}")
    for name in sorted(given - needed - allowed):
        _refuse(name, f"does not belong to {', '.join(sorted(needed))}, leave it out")


def _refuse(field: str, message: str) -> None:
    raise PydanticCustomError("unknown_field", "{message}", {"message": f"{field}: {message}", "field": field})
