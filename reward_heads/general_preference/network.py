"""From features of texts to preference embeddings, and from two of them to the probability that one is better."""

import math

import torch
from torch import Tensor, nn

from frontier.errors import InputError
from reward_heads.general_preference.config import GeneralPreferenceConfig
from reward_heads.general_preference.skew import skew_score, win_probability

_SOFTPLUS_OF_ONE = math.log(math.e - 1)


class PreferenceNetwork(nn.Module):
    r"""Features `[N, d]` to embeddings `[N, K, 2k]`: linear, or with one hidden layer, after standardising.

    It starts as a Bradley-Terry model: the second coordinate of each block is 1 and the first small, so that $s = \sum_j (a_{2j-1} - b_{2j-1})$; training bends it where preferences are cyclic.

    Args:
        width (`int`): d.
        objectives (`tuple[str, ...]`): K names.
        config (`GeneralPreferenceConfig`): settings.
        prompt_width (`int`, *optional*): of the prompts' features, needed with `config.prompt_scales`.

    Raises:
        InputError: `prompt_scales` without `prompt_width`.
    """

    location: Tensor
    scale: Tensor

    def __init__(
        self,
        width: int,
        objectives: tuple[str, ...],
        config: GeneralPreferenceConfig,
        prompt_width: int | None = None,
    ) -> None:
        super().__init__()
        self.width, self.objectives, self.config, self.prompt_width = width, objectives, config, prompt_width
        outputs = 2 * config.blocks * len(objectives)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.hidden = nn.Linear(width, config.hidden) if config.hidden else None
            self.out = nn.Linear(config.hidden or width, outputs)
            with torch.no_grad():
                self.out.weight.mul_(0.1)
                self.out.bias.copy_(torch.tensor([0.0, 1.0]).repeat(outputs // 2))
        self.gate: nn.Linear | None = None
        if config.prompt_scales:
            if prompt_width is None:
                raise InputError("prompt_scales needs features of the prompts")
            self.gate = nn.Linear(prompt_width, config.blocks * len(objectives))
            nn.init.zeros_(self.gate.weight)
            nn.init.constant_(self.gate.bias, _SOFTPLUS_OF_ONE)
        self.register_buffer("location", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))

    def standardise(self, features: Tensor) -> None:
        """Measure mean and standard deviation on `[N, d]` features; one that never varies is left alone."""
        deviation = features.std(dim=0, correction=0)
        self.location.copy_(features.mean(dim=0))
        self.scale.copy_(torch.where(deviation > 1e-6, deviation, torch.ones(())))

    def embed(self, features: Tensor) -> Tensor:
        """`[N, d]` to `[N, K, 2k]`."""
        x = (features - self.location) / self.scale
        if self.hidden is not None:
            x = torch.tanh(self.hidden(x))
        found = self.out(x).reshape(len(features), len(self.objectives), -1)
        return nn.functional.normalize(found, dim=-1) if self.config.unit_norm else found

    def scales(self, prompt_features: Tensor | None) -> Tensor | None:
        """`[N, K, k]`: how much each block counts for these prompts; `None` where prompts don't matter.

        Raises:
            InputError: the model needs features of the prompts and there are none.
        """
        if self.gate is None:
            return None
        if prompt_features is None:
            raise InputError("this model weighs its blocks by the prompt: it needs features of the prompts")
        return nn.functional.softplus(self.gate(prompt_features)).reshape(
            len(prompt_features), len(self.objectives), self.config.blocks
        )

    def log_odds(self, a: Tensor, b: Tensor, scales: Tensor | None = None) -> Tensor:
        """`[..., K]`: of a being better than b, from embeddings `[..., K, 2k]` and scales `[..., K, k]`."""
        return skew_score(a, b, scales) / self.config.temperature

    def probability(self, features_a: Tensor, features_b: Tensor, prompt_features: Tensor | None = None) -> Tensor:
        """`[N, K]`: the probability that a is better, from features `[N, d]`."""
        with torch.no_grad():
            scales = self.scales(prompt_features)
            return win_probability(self.log_odds(self.embed(features_a), self.embed(features_b), scales))


class OutputEmbedding(nn.Module):
    """Outputs `[N, 2kK]` of a model that embeds by itself, as embeddings; nothing to learn here. Its methods are those of [`PreferenceNetwork`].

    Args:
        objectives (`tuple[str, ...]`): K names.
        config (`GeneralPreferenceConfig`): `blocks`, `unit_norm` and `temperature` count.

    Raises:
        InputError: `prompt_scales`, for which such a model has no features of the prompt alone.
    """

    prompt_width = None

    def __init__(self, objectives: tuple[str, ...], config: GeneralPreferenceConfig) -> None:
        super().__init__()
        if config.prompt_scales:
            raise InputError(
                "prompt_scales needs features of the prompts, which a fine-tuned model doesn't have: leave it off"
            )
        self.objectives, self.config = objectives, config
        self.width = 2 * config.blocks * len(objectives)

    def embed(self, features: Tensor) -> Tensor:
        """`[N, 2kK]` to `[N, K, 2k]`."""
        found = features.reshape(len(features), len(self.objectives), -1)
        return nn.functional.normalize(found, dim=-1) if self.config.unit_norm else found

    def scales(self, prompt_features: Tensor | None) -> Tensor | None:
        """None: every block counts as the embedding says."""
        return None

    def log_odds(self, a: Tensor, b: Tensor, scales: Tensor | None = None) -> Tensor:
        """`[..., K]`, see [`PreferenceNetwork.log_odds`]."""
        return skew_score(a, b, scales) / self.config.temperature
