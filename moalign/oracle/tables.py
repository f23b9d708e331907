"""Draws the reward tables of an oracle world: objectives in conflict, user groups of opposite taste, one cost, on a scale that means something.

A table has one number for every prompt and every completion. Each is made of random *features* of a completion (what each step's choice is worth, and each
pair of neighbours) and standardised under the reference: mean 0, standard deviation 1 for every prompt. So weights compare, and a reward of 2 is "two
standard deviations better than the reference".
"""

import itertools

import torch
from torch import Tensor

from frontier.errors import InputError
from moalign.oracle.config import WorldConfig

CONFLICT = 0.6  # correlation -0.6 between neighbouring objectives, and +0.6 between the first objective and the cost
RARE = 1e-3


def all_choices(vocabulary: int, length: int) -> Tensor:
    """Every completion as its choices, `[S, L]` with S = V^L, the last step changing fastest."""
    return torch.tensor(list(itertools.product(range(vocabulary), repeat=length)))


def standardise(values: Tensor, reference: Tensor) -> Tensor:
    """Mean 0 and standard deviation 1 under the reference, for every prompt.

    Args:
        values (`Tensor`): `[P, S]`.
        reference (`Tensor`): `[P, S]` probabilities.

    Raises:
        InputError: a table is constant, so that it has no scale.
    """
    centred = values - (reference * values).sum(1, keepdim=True)
    deviation = (reference * centred**2).sum(1, keepdim=True).sqrt()
    if not (deviation > 1e-9).all():
        raise InputError("a reward is the same for every completion of a prompt: it cannot be standardised")
    return centred / deviation


def draw_features(count: int, choices: Tensor, reference: Tensor, generator: torch.Generator) -> Tensor:
    """`[count, P, S]` standardised random features; half of what a choice is worth is shared by all prompts.

    Args:
        count (`int`): how many.
        choices (`Tensor`): `[S, L]` from `all_choices`.
        reference (`Tensor`): `[P, S]` probabilities.
        generator (`torch.Generator`): where the randomness comes from.
    """
    prompts, (_, length), vocabulary = len(reference), choices.shape, int(choices.max()) + 1

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    features = []
    for _ in range(count):
        worth = normal(length, vocabulary) + normal(prompts, length, vocabulary)
        pairs = 0.7 * normal(max(length - 1, 1), vocabulary, vocabulary)
        values = sum((worth[:, t, choices[:, t]] for t in range(length)), torch.zeros(prompts, len(choices)).double())
        for t in range(length - 1):
            values = values + pairs[t, choices[:, t], choices[:, t + 1]]
        features.append(standardise(values, reference))
    return torch.stack(features)


def within(values: Tensor, bound: float, reference: Tensor) -> Tensor:
    """Squash a standardised table with tanh, no more than needed, until every standardised value lies in [-bound, bound].

    Raises:
        InputError: the bound cannot be kept (a standardised table reaches at least 1 in size).
    """
    scale = float(values.abs().max())
    for _ in range(60):
        squashed = standardise(torch.tanh(values / scale), reference)
        if squashed.abs().max() <= bound:
            return squashed
        scale *= 0.9
    raise InputError(f"a reward cannot be kept within {bound} standard deviations; allowed: 1.5 or more")


def objective_tables(features: Tensor, reference: Tensor) -> Tensor:
    """`[P, S, K]` from K features: each objective after the first works against the one before it."""
    tables = [features[0]]
    for k in range(1, len(features)):
        mixed = -CONFLICT * features[k - 1] + (1 - CONFLICT**2) ** 0.5 * features[k]
        tables.append(standardise(mixed, reference))
    return torch.stack(tables, -1)


def group_tables(features: Tensor, shared: Tensor, reference: Tensor) -> Tensor:
    """`[P, S, G]` from G features: a taste that all groups share, and one in which they oppose each other as much as G groups can.

    The G opposing tastes are the corners of a regular simplex (for two groups, one is the other's negative).
    """
    opposed = features - features.mean(0, keepdim=True)
    tables = [
        standardise(0.5 * shared + 0.75**0.5 * standardise(taste, reference), reference) for taste in opposed.unbind()
    ]
    return torch.stack(tables, -1)


def cost_table(first_objective: Tensor, feature: Tensor, reference: Tensor) -> Tensor:
    """`[P, S]`: what is good by the first objective tends to be costly."""
    return standardise(CONFLICT * first_objective + (1 - CONFLICT**2) ** 0.5 * feature, reference)


def rare_table(choices: Tensor, reference: Tensor) -> Tensor:
    """`[P, S]`: in how many of the first steps the choice is the one that the reference likes least there, standardised.

    The reward grows with every such step, so that exploring finds the way; as many steps count as it takes to make all of them together rarer than 1e-3.

    Raises:
        InputError: the world is so small that even all steps together are more likely than that.
    """
    length, vocabulary = choices.shape[1], int(choices.max()) + 1
    marginals = torch.zeros(len(reference), length, vocabulary, dtype=torch.float64)
    for t in range(length):
        marginals[:, t].index_add_(1, choices[:, t], reference)
    unloved = choices == marginals.argmin(2)[:, None]  # [P, S, L]
    for steps in range(1, length + 1):
        matches = unloved[..., :steps].sum(2)
        best = float((reference * (matches == steps)).sum(1).mean())
        if best <= RARE:
            return standardise(matches.double(), reference)
    raise InputError(
        f"the rare reward's best completions have probability {best:.2g} under the reference, at most {RARE} is needed: "
        "take more tokens or a greater length"
    )


def draw_tables(config: WorldConfig, reference: Tensor) -> dict[str, Tensor]:
    """All tables of a world: `rewards` `[P, S, K]`, `group_rewards` `[P, S, G]` and `cost` `[P, S]`, standardised and bounded as the settings say.

    Args:
        config (`WorldConfig`): the settings.
        reference (`Tensor`): `[P, S]` probabilities.

    Raises:
        InputError: a reward is constant or cannot be kept within the bound; the world is too small for a rare reward.
    """
    choices = all_choices(config.vocabulary, config.length)
    generator = torch.Generator().manual_seed(config.seed + 1)
    count, groups = len(config.objectives), len(config.groups)
    features = draw_features(count + groups + 2, choices, reference, generator)
    objectives = objective_tables(features[:count], reference)
    tastes = group_tables(features[count : count + groups], features[-2], reference)
    cost = cost_table(objectives[..., 0], features[-1], reference)
    drawn = torch.cat([objectives, tastes, cost.unsqueeze(-1)], -1)
    tables = torch.stack([within(table, config.bound, reference) for table in drawn.unbind(-1)], -1)
    if config.rare:
        tables[..., count - 1] = rare_table(choices, reference)
    return {
        "rewards": tables[..., :count].contiguous(),
        "group_rewards": tables[..., count : count + groups].contiguous(),
        "cost": tables[..., -1].contiguous(),
    }
