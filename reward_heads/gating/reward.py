r"""A reward whose objectives count as the prompt asks for: $R(x, y) = \alpha\, g(x)^\top \tilde r(x, y)$."""

import os
from collections.abc import Sequence

import torch
from torch import Tensor

from frontier.errors import InputError, unknown_name
from frontier.objectives import check_objectives
from reward_heads.combine import select
from reward_heads.ensemble.combine import member_std
from reward_heads.ensemble.uncertain import opinions, score_with_uncertainty
from reward_heads.gating.gate import Gate
from reward_heads.probes.embedder import TextEmbedder
from reward_heads.text import Text
from reward_heads.vector_reward import VectorReward, score_checked


class GatedReward:
    """A reward and its gate as one [`VectorReward`].

    Differences of the mixed score are nats (log-odds that one completion is better) if the gate was fitted on pairs. A score is not known where an objective that counts isn't.

    Args:
        reward (`VectorReward`): as it was when the gate was fitted, transforms included; the gate's objectives, in any order.
        gate (`Gate`): with an embedder.
        parts (`bool`, *optional*, defaults to `False`): give the K summands, under the objectives' names, instead of their sum.
        name (`str`, *optional*, defaults to `"overall"`): of the one objective of the sum.

    Raises:
        InputError: reward and gate have different objectives, or the gate has no embedder.
    """

    def __init__(self, reward: VectorReward, gate: Gate, *, parts: bool = False, name: str = "overall") -> None:
        for found in reward.objectives:
            if found not in gate.objectives:
                raise InputError(
                    f"{unknown_name('objective of the reward', found, gate.objectives)} (those of the gate); select() leaves objectives out"
                )
        missing = [found for found in gate.objectives if found not in reward.objectives]
        if missing:
            raise InputError(
                f"the gate weighs '{missing[0]}', which the reward lacks; it has {', '.join(reward.objectives)}"
            )
        if gate.embedder is None:
            raise InputError("a gated reward reads prompts, but this gate was fitted on embeddings and has no embedder")
        self.reward = reward
        self.gate = gate
        self.parts = parts
        self.name = name
        self.objectives = gate.objectives if parts else check_objectives([name])

    def score(self, prompts: Sequence[Text], completions: Sequence[Text]) -> Tensor:
        """`[B, 1]` mixed scores, or `[B, K]` summands; see [`VectorReward.score`]."""
        scores = score_checked(select(self.reward, self.gate.objectives), prompts, completions)
        return self._mixed(scores, self._factors(prompts))

    def score_with_uncertainty(self, prompts: Sequence[Text], completions: Sequence[Text]) -> tuple[Tensor, Tensor]:
        """What `score` gives and its standard deviation, given the gate: from an ensemble's members mixed one by one, else as if the heads erred independently."""
        reward, factors = select(self.reward, self.gate.objectives), self._factors(prompts)
        found = opinions(reward, prompts, completions)
        if found is not None:
            return self._mixed(found[0], factors), member_std(self._mixed(found[1], factors))
        scores, std = score_with_uncertainty(reward, prompts, completions)
        # Deviations have no level: only the scale of the normalizer counts.
        moved = self._weighted(
            std if self.gate.normalizer is None else std / std.new_tensor(self.gate.normalizer.scale), factors
        )
        return self._mixed(scores, factors), moved if self.parts else moved.square().sum(dim=-1, keepdim=True).sqrt()

    def _factors(self, prompts: Sequence[Text]) -> Tensor:
        return self.gate.scale * self.gate.weights(prompts)

    def _weighted(self, values: Tensor, factors: Tensor) -> Tensor:
        # An objective that doesn't count need not be known: 0 · NaN is 0 here.
        return (factors * values).where(factors > 0, 0.0)

    def _mixed(self, scores: Tensor, factors: Tensor) -> Tensor:
        """`[..., B, K]` scores of the reward to what `score` gives."""
        normalizer = self.gate.normalizer
        parts = self._weighted(scores if normalizer is None else normalizer(scores), factors)
        return parts if self.parts else parts.sum(dim=-1, keepdim=True)

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write the gate and, in a subfolder `reward-<digest>`, the reward with its transforms; whole or not at all.

        Raises:
            InputError: reward or embedder can't be saved.
        """
        from reward_heads.gating.saved import save_gate

        save_gate(self.gate, folder, self)

    @classmethod
    def from_pretrained(
        cls,
        folder: str | os.PathLike[str],
        *,
        device: str | torch.device | None = None,
        batch_size: int = 64,
        cache: str | os.PathLike[str] | None = None,
        embedder: TextEmbedder | None = None,
    ) -> "GatedReward":
        """Load what `save_pretrained` wrote.

        Args:
            folder (`str` or path): with `gate.json` and `reward/`.
            device (*optional*): of reward and encoder, by default the CPU.
            batch_size (`int`, *optional*, defaults to 64): texts per forward pass.
            cache (`str` or path, *optional*): a folder of embeddings, see [`Embedder.from_pretrained`].
            embedder (`TextEmbedder`, *optional*): of the prompts, instead of the one that is named.

        Raises:
            InputError: a file is missing, broken or of another save; the folder holds a gate alone; or the reward is not the one that the gate was saved with.
        """
        from reward_heads.gating.saved import load_gated_reward

        return load_gated_reward(folder, device=device, batch_size=batch_size, cache=cache, embedder=embedder)
