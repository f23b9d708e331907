r"""Ask a user about the pair that tells most: expected information of an answer, for one question or a batch.

With $p_s$ the probability of an answer by draw s of the posterior, an answer is expected to tell $I = H[\bar p] - \overline{H[p_s]}$ nats about the user's taste: what is unsure about the
answer, less what would be unsure even if the taste were known ([BALD, Houlsby et al., 2011](https://huggingface.co/papers/1112.5745)). It is at most $\log 2$ nats for two answers.

Where a user may say "can't tell", answers follow [Rao & Kupper, 1967](https://doi.org/10.1080/01621459.1967.10482901): with $\Delta$ the log-odds and an indifference of $\theta$ nats,
$P(a) = \sigma(\Delta - \theta)$, $P(b) = \sigma(-\Delta - \theta)$, and what is left is a tie. Ties are the likeliest answer to close pairs only where
$\theta > \log 2$: of equals, $1 - 2\sigma(-\theta)$ are ties.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from frontier.errors import InputError
from reward_heads.users.posterior import UserPosterior, check_differences

HISTORIES = 256
"""So many sequences of answers to the questions of a batch are told apart; of more, so many are drawn."""


class Question(NamedTuple):
    """What to ask next.

    Args:
        pair (`int`): position among the candidates.
        information (`float`): what the answer is expected to tell about the user's taste, in nats.
    """

    pair: int
    information: float


class Questions(NamedTuple):
    """What to ask in one go.

    Args:
        pairs (`tuple[int, ...]`): positions among the candidates, the most informative first.
        information (`float`): what all answers together are expected to tell, in nats; less than the sum of each one's.
    """

    pairs: tuple[int, ...]
    information: float


def answer_chances(posterior: UserPosterior, candidates: Tensor, indifference: float = 0.0) -> Tensor:
    """`[S, M, 2]`, or `[S, M, 3]` if `indifference` is positive: by each draw, the probabilities of "a", "b" and "can't tell".

    Args:
        posterior (`UserPosterior`): what is known of the user.
        candidates (`Tensor`): `[M, D]`, components of a minus those of b.
        indifference (`float`, *optional*, defaults to 0): θ in nats; 0 = the user always chooses.

    Raises:
        InputError: the shape is wrong, a number is not finite, or `indifference` is negative.
    """
    if not 0 <= indifference < float("inf"):
        raise InputError(f"indifference must be a number of nats, 0 or more, found {indifference}")
    margins = posterior.margins(candidates)
    a, b = torch.sigmoid(margins - indifference), torch.sigmoid(-margins - indifference)
    if not indifference:
        return torch.stack([a, b], dim=-1)
    # 1 - a - b cancels where ties are rare; this doesn't.
    tie = -torch.expm1(torch.tensor(-2.0 * indifference, dtype=margins.dtype)) * (
        torch.sigmoid(margins + indifference) * torch.sigmoid(indifference - margins)
    )
    return torch.stack([a, b, tie], dim=-1)


def expected_information(posterior: UserPosterior, candidates: Tensor, indifference: float = 0.0) -> Tensor:
    """`[M]` float64: nats that the answer about each candidate is expected to tell; arguments and errors as of [`answer_chances`]."""
    chances = answer_chances(posterior, candidates, indifference)
    return (_entropy(chances.mean(dim=0)) - _entropy(chances).mean(dim=0)).clamp(min=0.0)


def next_pair(
    posterior: UserPosterior,
    candidates: Tensor,
    *,
    indifference: float = 0.0,
    asked: Sequence[int] = (),
) -> Question:
    """The candidate whose answer is expected to tell most about the user.

    Args:
        posterior (`UserPosterior`): what is known of the user.
        candidates (`Tensor`): `[M, D]`, components of a minus those of b.
        indifference (`float`, *optional*, defaults to 0): nats below which the user is likely to say that he can't tell; 0 = always chooses.
        asked (`Sequence[int]`, *optional*): positions of candidates that are not to be asked again.

    Raises:
        InputError: no candidate is left, the shape is wrong, or a number is not finite.
    """
    information = _allowed(expected_information(posterior, candidates, indifference), asked)
    index = int(information.argmax())
    return Question(index, float(information[index]))


def next_pairs(
    posterior: UserPosterior,
    candidates: Tensor,
    count: int,
    *,
    indifference: float = 0.0,
    asked: Sequence[int] = (),
    seed: int = 0,
) -> Questions:
    """Several questions to ask in one go, without two that tell the same: each adds most to what those before it tell ([BatchBALD](https://huggingface.co/papers/1906.08158)).

    Greedy, which reaches at least 63 % of the best batch's information. Exact for as long as the answers so far can come in at most 256 ways, then over 256 ways drawn
    in proportion to their probability.

    Args:
        posterior (`UserPosterior`): what is known of the user.
        candidates (`Tensor`): `[M, D]`, components of a minus those of b.
        count (`int`): how many, at most as many as candidates are left.
        indifference (`float`, *optional*, defaults to 0): as of [`next_pair`].
        asked (`Sequence[int]`, *optional*): as of [`next_pair`].
        seed (`int`, *optional*, defaults to 0): of the ways that are drawn.

    Raises:
        InputError: too few candidates are left, the shape is wrong, or a number is not finite.
    """
    chances = answer_chances(posterior, candidates, indifference)
    left = len(candidates) - len(set(asked))
    if not 1 <= count <= left:
        raise InputError(f"count must be between 1 and the {left} candidates that are left, found {count}")
    generator = torch.Generator().manual_seed(seed)
    known = _entropy(chances).mean(dim=0)
    draws, m, answers = chances.shape
    flat = chances.reshape(draws, m * answers)
    # Column c of `given` is proportional to the posterior after history c, which comes with probability weight[c].
    given, weight = torch.full((draws, 1), 1 / draws, dtype=flat.dtype), torch.ones(1, dtype=flat.dtype)
    chosen: list[int] = []
    total = 0.0
    for _ in range(count):
        unsure = weight @ _entropy((given.T @ flat).reshape(-1, m, answers))
        gain = _allowed((unsure - known).clamp(min=0.0), [*asked, *chosen])
        chosen.append(int(gain.argmax()))
        total += float(gain[chosen[-1]])
        given = (given[:, :, None] * chances[:, chosen[-1]][:, None, :]).reshape(draws, -1)
        likely = given.sum(dim=0)
        weight = (weight[:, None] * likely.reshape(len(weight), answers)).flatten()
        given = given / likely.clamp(min=1e-300)
        if len(weight) > HISTORIES:
            kept = torch.multinomial(weight, HISTORIES, replacement=True, generator=generator)
            given, weight = given[:, kept], torch.full((HISTORIES,), 1 / HISTORIES, dtype=flat.dtype)
    return Questions(tuple(chosen), total)


def expected_best(posterior: UserPosterior, components_a: Tensor, components_b: Tensor) -> Tensor:
    r"""`[M]` float64: $E[\max(u(a), u(b))]$, the value to the user of the one of two completions that he would take (EUBO, [Lin et al., 2022](https://huggingface.co/papers/2203.11382)).

    Asking about the pair of the largest value finds the best completion for this user soonest, where [`next_pair`] learns the taste as a whole.

    Args:
        posterior (`UserPosterior`): what is known of the user.
        components_a (`Tensor`): `[M, D]`, components of the first completions, all on one scale.
        components_b (`Tensor`): `[M, D]`, of the second ones.

    Raises:
        InputError: a shape is wrong, or a number is not finite.
    """
    a, b = (check_differences(components, posterior.names) for components in (components_a, components_b))
    if a.shape != b.shape:
        raise InputError(f"both completions of each pair need components, found {list(a.shape)} and {list(b.shape)}")
    return torch.maximum(posterior.margins(a), posterior.margins(b)).mean(dim=0)


def _entropy(chances: Tensor) -> Tensor:
    return torch.special.entr(chances).sum(dim=-1)


def _allowed(values: Tensor, asked: Sequence[int]) -> Tensor:
    out = values.clone()
    for index in asked:
        if not 0 <= index < len(values):
            raise InputError(f"asked names candidate {index}, but there are {len(values)}, from 0")
        out[index] = -torch.inf
    if not len(out) or not out.isfinite().any():
        raise InputError("no candidate is left to ask about")
    return out
