"""Which weights a user gives to known objectives, from a handful of pairs: the preference to steer a policy with, and how sure it is."""

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from frontier.errors import InputError
from frontier.objectives import check_objectives
from reward_heads.users.low_rank_config import LowRankConfig
from reward_heads.users.low_rank_em import fit_population
from reward_heads.users.observations import UserPairs, read_user_pairs
from reward_heads.users.posterior import UserPosterior, check_differences
from reward_heads.users.simplex import Population
from reward_heads.users.simplex_saved import read, write
from reward_heads.users.simplex_users import SimplexUsers, pairs_of, seen_users
from reward_heads.vector_reward import VectorReward, score_checked

TEMPERATURE_SPREAD = 0.5  # first guess: users differ in log temperature by about so much


@dataclass(frozen=True)
class ObjectiveUsers(SimplexUsers):
    r"""Users who weigh K known objectives: a prefers over b with probability $\sigma(\beta_u\, w_u \cdot (r(a) - r(b)))$, w_u on the simplex.

    A [`UserModel`] whose components are the objectives of a vector reward, so that weights mean what they say and `posterior(pairs).weights` is a request's preference. They are
    weights of the rewards *as scored*: normalise the reward first where weights should compare with those that a policy was trained on. Weights can't be negative: what
    some dislike needs an objective of its own sign.

    Args:
        reward (`VectorReward`, *optional*): what scores texts.

    Raises:
        InputError: the reward has other objectives.
    """

    reward: VectorReward | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.reward is not None and tuple(self.reward.objectives) != self.names:
            raise InputError(
                f"the users weigh {', '.join(self.names)}, but the reward scores {', '.join(self.reward.objectives)}"
            )

    def differences(self, pairs: Iterable[Mapping[str, Any]]) -> Tensor:
        """See [`UserModel.differences`]."""
        return check_differences(self._read(pairs)[0], self.names)

    def posterior(self, pairs: Iterable[Mapping[str, Any]]) -> UserPosterior:
        """See [`UserModel.posterior`]."""
        return self.posterior_of(*self._read(pairs))

    def with_reward(self, reward: VectorReward) -> "ObjectiveUsers":
        """The same model, reading texts through this reward."""
        return replace(self, reward=reward)

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write `low_rank.json` and `low_rank.safetensors`, whole or not at all. The reward is not saved: see `reward_heads.saved`."""
        write(folder, "objectives", self, {}, {})

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike[str], *, reward: VectorReward | None = None) -> "ObjectiveUsers":
        """Read what `save_pretrained` wrote.

        Args:
            folder (`str` or path): the folder.
            reward (`VectorReward`, *optional*): with the same objectives, to read texts.

        Raises:
            InputError: a file or field is missing, unknown or wrong, or the reward has other objectives.
        """
        own, _, _ = read(folder, "objectives", (), ())
        return cls(**own, reward=reward)

    def _read(self, rows: Iterable[Mapping[str, Any]]) -> tuple[Tensor, Tensor]:
        examples, labels = pairs_of(rows, self.objective)
        if not examples:
            return torch.empty(0, len(self.names), dtype=torch.float64), labels
        if self.reward is None:
            raise InputError("this model has no reward to read texts with: give it one (with_reward)")
        prompts = [example.prompt for example in examples]
        others = [example.other for example in examples if example.other is not None]
        scores = score_checked(self.reward, prompts * 2, [example.completion for example in examples] + others)
        a, b = scores.double().chunk(2)
        return a - b, labels


def fit_objective_users(
    scores_a: Tensor,
    scores_b: Tensor,
    labels: Tensor,
    users: Sequence[Any],
    objectives: Sequence[str],
    config: LowRankConfig | None = None,
) -> ObjectiveUsers:
    """The population of users' weights over known objectives, learned by empirical Bayes (`reward_heads.users.low_rank_em`), and each user's posterior.

    With known bases the low-rank reward of [LoRe](https://huggingface.co/papers/2504.14439) is identified: weights and temperature are facts about the user.

    Args:
        scores_a (`Tensor`): `[N, K]`, what the objectives score of the first completion of each pair; only differences matter.
        scores_b (`Tensor`): `[N, K]`, of the second one.
        labels (`Tensor`): `[N]`, the probability that a is better; NaN = missing.
        users (`Sequence`): N users; `None` = unknown. Pairs without a user or a label are left out.
        objectives (`Sequence[str]`): K names, at least two.
        config (`LowRankConfig`, *optional*): temperature, rounds, draws, samples and seed; the rank is K.

    Raises:
        InputError: shapes differ, a score of a pair that counts is missing or not finite, there is a single user or objective, or nothing ever differs.
    """
    config, names = config or LowRankConfig(), check_objectives(objectives)
    if scores_a.shape != scores_b.shape or scores_a.shape != (len(users), len(names)):
        raise InputError(
            f"scores must both be [{len(users)}, {len(names)}], found {list(scores_a.shape)} and {list(scores_b.shape)}"
        )
    if len(names) < 2:
        raise InputError(f"weights are of at least two objectives, found only '{names[0]}'")
    pairs, kept = UserPairs.of(users, labels)
    differences = scores_a.detach().cpu().double() - scores_b.detach().cpu().double()
    left_out = torch.ones(len(differences), dtype=torch.bool).index_fill(0, kept, False)
    x = check_differences(differences.masked_fill(left_out[:, None], 0.0), names)[kept]
    for k, name in enumerate(names):
        if not x[:, k].any():
            raise InputError(
                f"objective '{name}' scores both completions of every pair alike, so no pair tells what it weighs"
            )
    start = _start(names, x, config.temperature)
    population = fit_population(
        *(x, pairs, torch.arange(len(pairs)), start, torch.eye(len(names), dtype=torch.float64)),
        rounds=config.rounds,
        draws=config.draws,
        seed=config.seed,
    ).population
    seen = seen_users(population, x, pairs.labels, pairs.user_of, pairs.users, config.seed)
    return ObjectiveUsers(population, seen, None, config.samples, config.seed)


def fit_objective_texts(
    reward: VectorReward,
    pairs: Iterable[Mapping[str, Any]],
    config: LowRankConfig | None = None,
    *,
    objective: str | None = None,
) -> ObjectiveUsers:
    """[`fit_objective_users`] on what a reward scores of texts.

    Args:
        reward (`VectorReward`): of at least two objectives; the result keeps it.
        pairs (`Iterable[Mapping]`): rows with `prompt`, `completion_a`, `completion_b`, `labels`, `user`; those without user or label are left out.
        config (`LowRankConfig`, *optional*): settings.
        objective (`str`, *optional*): under which name the users' labels stand; needed where pairs are labelled for several.

    Raises:
        InputError: a row is broken or a rating, no pair has a user and a label, there is a single user, or the reward does not know a score.
    """
    known, examples, name = read_user_pairs(pairs, objective)
    prompts = [example.prompt for example in examples]
    others = [example.other for example in examples if example.other is not None]
    a, b = score_checked(reward, prompts * 2, [example.completion for example in examples] + others).chunk(2)
    users = [known.users[at] for at in known.user_of.tolist()]
    found = fit_objective_users(a, b, known.labels, users, reward.objectives, config)
    return ObjectiveUsers(**{**vars(found), "objective": name, "reward": reward})


def _start(names: tuple[str, ...], x: Tensor, temperature: str) -> Population:
    """Equal weights, and the temperature at which pairs differ by about a nat."""
    shared = temperature == "shared"
    # Not the mean of the differences: those of opposed objectives cancel.
    size_of_pairs = float(x.square().sum(dim=1).mean().sqrt().clamp(min=1e-12)) / len(names)
    log_temperature = -math.log(size_of_pairs)
    size = len(names) - shared
    mean, spread = torch.zeros(size, dtype=torch.float64), torch.ones(size, dtype=torch.float64)
    if not shared:
        mean[-1], spread[-1] = log_temperature, TEMPERATURE_SPREAD**2
    return Population(names, mean, torch.diag(spread), log_temperature if shared else None)
