"""Make a score of a preference that may be cyclic: how a completion does against given opponents."""

import os
from collections.abc import Hashable, Mapping, Sequence

import torch
from torch import Tensor

from frontier.errors import InputError, unknown_name
from reward_heads.general_preference.game import nash_weights
from reward_heads.general_preference.model import GeneralPreferenceModel, Opponents
from reward_heads.general_preference.skew import win_probability
from reward_heads.text import Text, check_same_length, text_key

WEIGHTS = ("uniform", "nash")
SCALES = ("probability", "log_odds")


class GeneralPreferenceReward:
    r"""A `VectorReward`: the expected outcome against opponents, $\sum_j w_j\, P(y \succ y_j \mid x)$.

    No score can hold a cycle, so this one is relative to its opponents: samples of the reference policy for the same prompt make it the win rate over the reference.
    Every other score (calibration, accuracy) should be read against the same opponents.

    Args:
        model (`GeneralPreferenceModel`): K objectives.
        opponents: completions that serve for every prompt, a mapping from prompt to its completions, or a function from prompt to completions (which can't be saved).
        weights (`str`, *optional*, defaults to `"uniform"`): `"uniform"`, the average win rate, or `"nash"`, the mixture of the opponents that none of them beats
            (per prompt and objective), so that many copies of a weak opponent don't count.
        scale (`str`, *optional*, defaults to `"probability"`): `"probability"`, in [0, 1], or `"log_odds"`, the mean log-odds in nats (for a Bradley-Terry model, the reward minus the
            opponents' mean reward).

    Raises:
        InputError: no opponents, or an unknown name.
    """

    def __init__(
        self,
        model: GeneralPreferenceModel,
        opponents: Opponents,
        *,
        weights: str = "uniform",
        scale: str = "probability",
    ) -> None:
        for what, found, allowed in (("weights", weights, WEIGHTS), ("scale", scale, SCALES)):
            if found not in allowed:
                raise unknown_name(what, str(found), allowed)
        if isinstance(opponents, str):
            raise InputError("opponents must be a list of completions, found one string: write [text]")
        if not callable(opponents) and not len(opponents):
            raise InputError("there are no opponents to win against")
        self.model, self.opponents, self.weights, self.scale = model, opponents, weights, scale
        self.objectives = model.objectives
        self._by_prompt = (
            {text_key(prompt): list(found) for prompt, found in opponents.items()}
            if isinstance(opponents, Mapping)
            else None
        )
        self._known: dict[Hashable, tuple[Tensor, Tensor]] = {}

    def score(self, prompts: Sequence[Text], completions: Sequence[Text]) -> Tensor:
        """`[B, K]` float32; see [`VectorReward.score`].

        Raises:
            InputError: the batch does not pair up, or a prompt has no opponents.
        """
        check_same_length(prompts, completions)
        if not prompts:
            return torch.zeros(0, len(self.objectives))
        found = self.model.embed(prompts, completions)
        scales = self.model.scales(prompts)
        rows = []
        for row, prompt in enumerate(prompts):
            others, weights = self._opponents_of(prompt)
            log_odds = self.model.network.log_odds(
                found[row][None], others, None if scales is None else scales[row][None]
            )
            outcome = win_probability(log_odds) if self.scale == "probability" else log_odds
            rows.append((weights * outcome).sum(dim=0))
        return torch.stack(rows).to(torch.float32)

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write the model and its opponents; see [`GeneralPreferenceModel.save_pretrained`].

        Raises:
            InputError: the opponents come from a function.
        """
        from reward_heads.general_preference.saved import save_model

        if callable(self.opponents):
            raise InputError("opponents that come from a function can't be saved: give them as a list or a mapping")
        save_model(self.model, folder, self)

    @classmethod
    def from_pretrained(
        cls, folder: str | os.PathLike[str], *, device: str | torch.device | None = None, batch_size: int = 64
    ) -> "GeneralPreferenceReward":
        """Load what `save_pretrained` wrote.

        Raises:
            InputError: as [`GeneralPreferenceModel.from_pretrained`]; or the folder holds a model without opponents.
        """
        from reward_heads.general_preference.saved import load_model

        model, played = load_model(folder, device=device, batch_size=batch_size)
        if played is None:
            raise InputError(
                f"{folder} holds a preference model without opponents, which gives no score: GeneralPreferenceModel.from_pretrained(folder).as_reward(opponents)"
            )
        return cls(model, **played)

    def _opponents_of(self, prompt: Text) -> tuple[Tensor, Tensor]:
        """Embeddings `[M, K, 2k]` and weights `[M, K]` of the opponents for a prompt."""
        key = text_key(prompt)
        if key not in self._known:
            texts = self._texts_of(prompt)
            embeddings = self.model.embed([prompt] * len(texts), texts)
            weights = torch.full((len(texts), len(self.objectives)), 1 / len(texts))
            if self.weights == "nash":
                scales = self.model.scales([prompt])
                each = self.model.network.log_odds(
                    embeddings[:, None], embeddings[None], None if scales is None else scales[None]
                )
                wins = win_probability(each)
                weights = torch.stack([nash_weights(wins[..., k]) for k in range(wins.shape[-1])], dim=1).float()
            self._known[key] = (embeddings, weights)
        return self._known[key]

    def _texts_of(self, prompt: Text) -> list[Text]:
        if callable(self.opponents):
            texts = list(self.opponents(prompt))
        elif self._by_prompt is not None:
            texts = self._by_prompt.get(text_key(prompt), [])
        else:
            texts = list(self.opponents)
        if not texts:
            raise InputError(f"the prompt {prompt!r:.80} has no opponents to win against")
        return texts
