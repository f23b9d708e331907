"""Who would win, for two completions of a prompt: a model of preferences that may run in circles."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from frontier.errors import InputError
from reward_heads.accuracy import Accuracy, agreement
from reward_heads.general_preference.config import GeneralPreferenceConfig
from reward_heads.general_preference.fit import fit_general_preference, pair_rows, read_pairs
from reward_heads.general_preference.network import OutputEmbedding, PreferenceNetwork
from reward_heads.general_preference.skew import win_probability
from reward_heads.text import Text, check_same_length, text_key

if TYPE_CHECKING:
    from reward_heads.general_preference.reward import GeneralPreferenceReward

Opponents = Sequence[Text] | Mapping[str, Sequence[Text]] | Callable[[Text], Sequence[Text]]


class FeatureSource(Protocol):
    """Texts to features: an `Embedder` of `reward_heads.probes`, or anything like it."""

    @property
    def width(self) -> int:
        """The length of a vector."""

    def embed(self, prompts: Sequence[Text], completions: Sequence[Text]) -> Tensor:
        """`[N, width]` float32 on the CPU."""

    def embed_prompts(self, prompts: Sequence[Text]) -> Tensor:
        """`[N, width]` float32 on the CPU; asked for only with `prompt_scales`."""


class GeneralPreferenceModel:
    """The general preference model of [Zhang et al., 2025](https://huggingface.co/papers/2410.02197) on texts; fitted by [`fit_preference_model`].

    It compares; it does not score. [`GeneralPreferenceModel.as_reward`] makes a score of it, by who wins against given opponents.

    Args:
        source (`FeatureSource`): texts to features.
        network (`PreferenceNetwork` or `OutputEmbedding`): features to embeddings.

    Raises:
        InputError: source and network have different widths.
    """

    def __init__(self, source: FeatureSource, network: PreferenceNetwork | OutputEmbedding) -> None:
        if source.width != network.width:
            raise InputError(f"the network reads {network.width} features, but the source gives {source.width}")
        self.source, self.network, self.objectives = source, network, network.objectives

    def embed(self, prompts: Sequence[Text], completions: Sequence[Text]) -> Tensor:
        """`[B, K, 2k]` float32: the preference embeddings of completions."""
        with torch.no_grad():
            return self.network.embed(self.source.embed(prompts, completions))

    def log_odds(self, prompts: Sequence[Text], a: Sequence[Text], b: Sequence[Text]) -> Tensor:
        """`[B, K]` float32: log-odds that a is better than b; swapping them changes the sign and nothing else."""
        check_same_length(prompts, a)
        check_same_length(prompts, b)
        # Two batches of the same shape, not one: then a text's embedding can't depend on whether it comes first or second.
        first, second = self.embed(prompts, a), self.embed(prompts, b)
        with torch.no_grad():
            return self.network.log_odds(first, second, self.scales(prompts))

    def preference(self, prompts: Sequence[Text], a: Sequence[Text], b: Sequence[Text]) -> Tensor:
        """The probability that a is better than b.

        Args:
            prompts (`Sequence[Text]`): B.
            a (`Sequence[Text]`): B completions.
            b (`Sequence[Text]`): B completions.

        Returns:
            `Tensor`: `[B, K]` float32; with a and b swapped it is exactly 1 minus that, and ½ for equal texts.

        Raises:
            InputError: the batch does not pair up.
        """
        return win_probability(self.log_odds(prompts, a, b))

    def scales(self, prompts: Sequence[Text]) -> Tensor | None:
        """`[B, K, k]`: how much each block counts for these prompts, if they matter."""
        if self.network.prompt_width is None:
            return None
        with torch.no_grad():
            return self.network.scales(self.source.embed_prompts(prompts))

    def accuracy(self, pairs: Iterable[Mapping[str, Any]]) -> dict[str, Accuracy]:
        """How often it ranks labelled pairs as labelled, per objective, NaN without labels; see `reward_heads.pairwise_accuracy`.

        Raises:
            InputError: a row is broken or a rating, or there is none.
        """
        examples, labels = read_pairs(pairs, self.objectives, ignore_others=True)
        if not examples:
            raise InputError("pairs has no rows")
        others = [example.other for example in examples]
        found = self.log_odds([e.prompt for e in examples], [e.completion for e in examples], others)
        return dict(zip(self.objectives, agreement(found, labels), strict=True))

    def as_reward(
        self, opponents: Opponents, *, weights: str = "uniform", scale: str = "probability"
    ) -> "GeneralPreferenceReward":
        """A score for learners that need one: how a completion does against opponents; see [`GeneralPreferenceReward`]."""
        from reward_heads.general_preference.reward import GeneralPreferenceReward

        return GeneralPreferenceReward(self, opponents, weights=weights, scale=scale)

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write `general_preference.json` and weights (safetensors); an encoder is named, a fine-tuned transformer is saved with it.

        Raises:
            InputError: the source is made of Python code, or of a model that lies in no folder.
        """
        from reward_heads.general_preference.saved import save_model

        save_model(self, folder)

    @classmethod
    def from_pretrained(
        cls,
        folder: str | os.PathLike[str],
        *,
        device: str | torch.device | None = None,
        batch_size: int = 64,
        source: FeatureSource | None = None,
    ) -> "GeneralPreferenceModel":
        """Load what `save_pretrained` wrote (opponents that were saved with it are left out).

        Args:
            folder (`str` or path): with `general_preference.json`.
            device (*optional*): of the transformer, by default the CPU.
            batch_size (`int`, *optional*, defaults to 64): texts per forward pass.
            source (`FeatureSource`, *optional*): instead of the encoder that is named, such as the same one in another place.

        Raises:
            InputError: a file is missing, broken or of another save; or the encoder is not there, or not the one it was fitted on.
        """
        from reward_heads.general_preference.saved import load_model

        return load_model(folder, device=device, batch_size=batch_size, source=source)[0]


def fit_preference_model(
    source: FeatureSource,
    rows: Iterable[Mapping[str, Any]],
    config: GeneralPreferenceConfig | None = None,
    *,
    objectives: Sequence[str] | None = None,
) -> GeneralPreferenceModel:
    """Learn from labelled pairs with a frozen encoder.

    Args:
        source (`FeatureSource`): such as `Embedder.from_pretrained(folder, cache=...)` of `reward_heads.probes`.
        rows (`Iterable[Mapping]`): pairs; any label may be missing.
        config (`GeneralPreferenceConfig`, *optional*): settings.
        objectives (`Sequence[str]`, *optional*): by default all that are labelled.

    Raises:
        InputError: a row is broken or a rating, or an objective has no label.
    """
    config = config or GeneralPreferenceConfig()
    examples, labels, names = pair_rows(rows, objectives)
    prompts = [example.prompt for example in examples]
    both = source.embed(prompts * 2, [e.completion for e in examples] + [e.other for e in examples])
    about = source.embed_prompts(prompts) if config.prompt_scales else None
    network = fit_general_preference(
        both[: len(prompts)],
        both[len(prompts) :],
        labels,
        config,
        objectives=names,
        prompt_features=about,
        groups=[text_key(prompt) for prompt in prompts],
    )
    return GeneralPreferenceModel(source, network)
