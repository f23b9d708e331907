"""Use a policy that was trained on pairs as a reward: how much likelier it made a completion than the reference."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from frontier.errors import InputError
from moalign.policy import SteerablePolicy
from moalign.training.pairs import as_asked, completion_log_probs, tokenize_pairs
from reward_heads.text import Text, check_same_length


class ImplicitReward:
    r"""The rewards that a policy's adapters stand for ([Rafailov et al., 2023](https://huggingface.co/papers/2305.18290), eq. 5), a `VectorReward` in nats.

    $$ r_k(x, y) = \beta \log \frac{\pi_k(y \mid x)}{\pi_\mathrm{ref}(y \mid x)} $$

    where $\pi_k$ is the policy at objective k alone and $\pi_\mathrm{ref}$ the same model with all weights at zero, so that K rewards cost one base model.
    Up to a term of the prompt this is the Bradley-Terry reward whose labels the policy was trained on: MODPO's margins
    ([Zhou et al., 2024](https://huggingface.co/papers/2310.03708)).

    Args:
        policy (`SteerablePolicy`): K objectives.
        beta (`float`, *optional*): of its training; by default what the bundle says.
        batch_size (`int`, *optional*, defaults to 16): completions at once.

    Raises:
        InputError: an unconditioned policy of several objectives (which has one reward, not several), or no `beta`.
    """

    def __init__(self, policy: SteerablePolicy, beta: float | None = None, batch_size: int = 16) -> None:
        if policy.conditioning.kind == "none" and len(policy.objectives) > 1:
            raise InputError(
                f"the policy was trained for one preference between {', '.join(policy.objectives)} and has no reward of each: "
                "train one for each objective, or with adapters"
            )
        found = policy.training.get("beta") if beta is None else beta
        if not isinstance(found, int | float) or not found > 0:
            raise InputError(f"beta must be positive, found {found}: give the beta that the policy was trained with")
        self.policy = policy
        self.beta = float(found)
        self.batch_size = batch_size

    @classmethod
    def from_pretrained(cls, folder: str | Path, beta: float | None = None, batch_size: int = 16) -> "ImplicitReward":
        """The rewards of a bundle; arguments and errors as for the class."""
        return cls(SteerablePolicy.from_pretrained(folder), beta, batch_size)

    @property
    def objectives(self) -> tuple[str, ...]:
        """The K names."""
        return self.policy.objectives

    @torch.no_grad()
    def score(self, prompts: Sequence[Text], completions: Sequence[Text]) -> Tensor:
        """`[B, K]` float32 on the CPU, in nats, higher is better; the end of a completion counts."""
        check_same_length(prompts, completions)
        scores = torch.zeros(len(prompts), len(self.objectives))
        was_training = self.policy.model.training
        self.policy.model.eval()
        for start in range(0, len(prompts), self.batch_size):
            chunk = slice(start, start + self.batch_size)
            scores[chunk] = self._score(prompts[chunk], completions[chunk])
        self.policy.model.train(was_training)
        return scores

    def _score(self, prompts: Sequence[Text], completions: Sequence[Text]) -> Tensor:
        ids = tokenize_pairs(self.policy, prompts, completions, completions)
        texts, asked = [pair.a for pair in ids], list(map(as_asked, prompts, completions))

        def log_probs(weights: Tensor) -> Tensor:
            told = self.policy.encode(asked, weights)
            heads = [head[: len(head) - pair.cut] for head, pair in zip(told, ids, strict=True)]
            return completion_log_probs(self.policy.model, self.policy, heads, texts, weights).cpu()

        k = len(self.objectives)
        reference = log_probs(torch.zeros(1, k))
        return torch.stack([self.beta * (log_probs(vertex[None]) - reference) for vertex in torch.eye(k)], 1)
