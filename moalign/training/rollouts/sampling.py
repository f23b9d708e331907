"""Draw the tokens of a rollout's rows at once, from the very distribution that transformers would draw them from."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from transformers import GenerationConfig
from transformers.generation.logits_process import (
    LogitsProcessorList,
    MinPLogitsWarper,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from frontier.errors import InputError

# What sampling reads, and what changes nothing of which tokens come out.
_READ = {"max_new_tokens", "do_sample", "temperature", "top_k", "top_p", "min_p", "eos_token_id"}
_WITHOUT_EFFECT = {
    *("pad_token_id", "bos_token_id", "decoder_start_token_id", "max_length", "use_cache", "disable_compile"),
    *("transformers_version", "length_penalty", "return_dict_in_generate", "early_stopping"),
    *("output_attentions", "output_hidden_states", "output_scores", "output_logits"),
}
# Values of the others that are as good as none.
_NEUTRAL = {
    **dict.fromkeys(("num_beams", "num_beam_groups", "num_return_sequences"), 1),
    **dict.fromkeys(("repetition_penalty", "encoder_repetition_penalty", "typical_p"), 1.0),
    **dict.fromkeys(("no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "min_length", "min_new_tokens"), 0),
    **dict.fromkeys(("epsilon_cutoff", "eta_cutoff", "diversity_penalty"), 0.0),
}


@dataclass(frozen=True)
class RolloutSampling:
    """How completions are drawn; the same for every row.

    Args:
        max_tokens (`int`): at most this many tokens, the ending one included.
        ends (`frozenset[int]`): tokens that end a completion.
        warpers (`LogitsProcessorList`, *optional*): transformers' own temperature, top-k, top-p and min-p, in its order; `None` takes the most likely token.
    """

    max_tokens: int
    ends: frozenset[int]
    warpers: LogitsProcessorList | None

    @classmethod
    def of(cls, given: GenerationConfig, model: GenerationConfig) -> "RolloutSampling":
        """What these settings ask for, completed by the model's own, as `generate` does.

        Raises:
            InputError: they ask for something that changes tokens and is not known here (beams, penalties, forced or forbidden tokens, stop texts, ...).
        """
        merged = copy.deepcopy(given)
        merged.update(**model.to_dict(), defaults_only=True)
        settings = merged.to_dict()
        for name, value in settings.items():
            known = name.startswith("_") or name in _READ or name in _WITHOUT_EFFECT
            nothing = value is None or value is False or value in ([], {}) or value == _NEUTRAL.get(name)
            if not known and not nothing:
                raise InputError(f"it does not know {name} = {value!r}")
        ends, sampled = settings["eos_token_id"], bool(settings["do_sample"])
        for name in ("max_new_tokens", *(("temperature", "top_k", "top_p") if sampled else ())):
            if settings[name] is None or settings[name] < 0:
                raise InputError(f"it needs a number for {name}, found {settings[name]!r}")
        return cls(
            int(settings["max_new_tokens"]),
            frozenset([ends] if isinstance(ends, int) else ends or ()),
            _warpers(settings) if sampled else None,
        )

    def draw(self, logits: Tensor) -> list[int]:
        r"""One token for each row of `[B, V]` float32 logits.

        By inversion: the first token whose cumulative probability exceeds a uniform number. One number of torch's global CPU generator a row instead
        of one for every token of the vocabulary; the sum is in float64, where the rounding of a float32 probability is the largest error.

        Raises:
            RuntimeError: a row is no distribution, such as after an update that ended in NaN.
        """
        if self.warpers is None:
            return cast("list[int]", logits.argmax(-1).tolist())
        # The warpers of transformers 5 ignore the ids.
        scores = self.warpers(cast("Any", None), logits)
        cumulative = scores.softmax(-1).cumsum(-1, dtype=torch.float64)
        total = cumulative[:, -1:]
        uniform = torch.rand(len(logits), 1, dtype=torch.float64).to(logits.device)
        # A product that rounds up to the total would ask for a token beyond the last possible one.
        below = torch.minimum(uniform * total, torch.nextafter(total, torch.zeros_like(total)))
        tokens = torch.searchsorted(cumulative, below, right=True)
        found: list[int] = torch.where(total.isfinite(), tokens, -1)[:, 0].tolist()
        if -1 in found:
            raise RuntimeError(
                "the policy computed values that are not numbers while it generated: its weights are NaN or too large (lower the learning rate, or resume "
                "an earlier checkpoint)"
            )
        return found

    def ended(self, tokens: Sequence[int]) -> bool:
        """Whether a completion is over: by its last token, or by its length."""
        return tokens[-1] in self.ends or len(tokens) >= self.max_tokens


def _warpers(settings: dict[str, Any]) -> LogitsProcessorList:
    """In the order of `generate`."""
    found = LogitsProcessorList()
    if settings["temperature"] != 1.0:
        found.append(TemperatureLogitsWarper(float(settings["temperature"])))
    if settings["top_k"]:
        found.append(TopKLogitsWarper(int(settings["top_k"])))
    if settings["top_p"] < 1.0:
        found.append(TopPLogitsWarper(float(settings["top_p"])))
    if settings["min_p"] is not None:
        found.append(MinPLogitsWarper(float(settings["min_p"])))
    return found
