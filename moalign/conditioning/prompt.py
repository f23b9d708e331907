"""Tell the policy its preference in words: the prompt says what to maximise, and one adapter learns to obey."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from frontier.errors import unknown_name
from moalign.conditioning.base import Text
from moalign.conditioning.unconditioned import Unconditioned


def _dpa(names: Sequence[str], values: Sequence[float]) -> str:
    rated = " + ".join(f"{name}*{round(100 * value)}" for name, value in zip(names, values, strict=True))
    return (
        "You are a helpful, respectful, and honest assistant who always responds to the user in a harmless way. "
        f"Your response should maximize weighted rating = {rated}"
    )


def _plain(names: Sequence[str], values: Sequence[float]) -> str:
    return " ".join(f"{name}={round(100 * value)}" for name, value in zip(names, values, strict=True))


STYLES: dict[str, Callable[[Sequence[str], Sequence[float]], str]] = {"dpa": _dpa, "plain": _plain}


class PromptConditioning(Unconditioned):
    """The preference as a sentence at the head of the prompt, in per cent without decimals; one adapter for all preferences.

    A conversation carries it as its system message, before whatever that says already; a text as a first line. The reference policy reads the prompt
    without it.

    Args:
        objectives (`Sequence[str]`): the K objectives.
        style (`str`, *optional*, defaults to `"plain"`): `"plain"` (`helpful=70 brief=30`) or `"dpa"`, the sentence of Directional Preference Alignment
            ([Wang et al., 2024](https://huggingface.co/papers/2402.18571)).

    Raises:
        InputError: an unknown style.
    """

    kind = "prompt"

    def __init__(self, objectives: Sequence[str], style: str = "plain") -> None:
        super().__init__(objectives)
        if style not in STYLES:
            raise unknown_name("prompt style", style, STYLES)
        self.style = style

    def prompts(self, prompts: Sequence[Text], weights: Tensor) -> list[Text]:
        """B prompts that begin with their preference."""
        rows = weights.detach().cpu().expand(len(prompts), -1)
        asked = torch.any(rows != 0, dim=-1).tolist()
        return [
            _headed(prompt, STYLES[self.style](self.objectives, row)) if steered else prompt
            for prompt, row, steered in zip(prompts, rows.tolist(), asked, strict=True)
        ]

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {**super().to_json(), "style": self.style}


def _headed(prompt: Text, sentence: str) -> Text:
    if isinstance(prompt, str):
        return f"{sentence}\n{prompt}"
    if prompt and prompt[0].get("role") == "system":
        first = {**prompt[0], "content": f"{sentence}\n{prompt[0]['content']}"}
        return [first, *prompt[1:]]
    return [{"role": "system", "content": sentence}, *prompt]
