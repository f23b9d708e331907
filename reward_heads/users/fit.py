"""Find user groups and train a reward for each, from preference pairs that say who preferred what."""

import logging
import os
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from reward_heads.model import TransformerReward
from reward_heads.users.config import UserGroupsConfig
from reward_heads.users.em import Mixture
from reward_heads.users.grouping import group_names, summarise
from reward_heads.users.groups import UserGroups
from reward_heads.users.linear import LinearScorer, fit_linear
from reward_heads.users.observations import UserPairs, read_user_pairs
from reward_heads.users.search import Search, search
from reward_heads.users.transformer import TokenizedPairs, TransformerScorer, fit_transformer
from reward_heads.users.trunk import new_reward, pooled_features, reduced, take_heads

logger = logging.getLogger(__name__)
CENTER_SAMPLES = 4096  # on about how many training completions, spread evenly, the mean score is made 0


def fit_user_groups(
    model: str | os.PathLike[str] | PreTrainedModel | TransformerReward,
    pairs: Iterable[Mapping[str, Any]],
    config: UserGroupsConfig | None = None,
    *,
    objective: str | None = None,
    tokenizer: Any = None,
) -> UserGroups:
    r"""Find groups of users by EM, choose their number on held-out pairs, and train one transformer with a reward per group.

    The reward side of [MaxMin-RLHF](https://huggingface.co/papers/2402.08925) (its algorithm 2), with soft responsibilities and a prior by default. Three steps:

    1. Linear EM on the frozen model's features (seconds, several starts), for 1, 2, ... groups.
    2. The fewest groups whose held-out log-likelihood per pair is within one standard error of the best (`selection="features"`); or the same with a
       transformer trained for each number (`selection="model"`: as many trainings, all models kept on the device).
    3. EM of the transformer from the responsibilities of step 1: few gradient steps on trunk and heads, then users are assigned anew, `rounds` times.

    A group that loses its users is dropped, and a message logged. Equal seeds give equal results on a CPU.

    Args:
        model (`str`, path, `PreTrainedModel` or `TransformerReward`): a language model, or a reward whose trunk is taken and heads are left behind.
        pairs (`Iterable[Mapping]`): rows with `prompt`, `completion_a`, `completion_b`, `labels`, `user`; those without user or label are left out.
        config (`UserGroupsConfig`, *optional*): settings.
        objective (`str`, *optional*): whose labels count; needed where pairs are labelled for several.
        tokenizer (*optional*): needed with a loaded `PreTrainedModel`.

    Raises:
        InputError: a row is broken, no pair has a user and a label, there is a single user, or there are more groups than users.
    """
    config = config or UserGroupsConfig()
    known, examples, objective = read_user_pairs(pairs, objective)
    device = config.device or ("cuda" if torch.cuda.is_available() else "cpu")

    def fresh(groups: int) -> TransformerReward:
        names, length = group_names(groups), config.max_length
        return new_reward(model, names, tokenizer=tokenizer, seed=config.seed, max_length=length, device=device)

    reader = fresh(1)
    prompts = [e.prompt for e in examples]
    texts = TokenizedPairs(
        reader.encode(prompts, [e.completion for e in examples]),
        reader.encode(prompts, [e.other for e in examples if e.other is not None]),
    )
    features = pooled_features(reader, texts.texts)
    x = reduced(features[texts.first] - features[texts.second], config.seed)
    del reader, features

    def linear(groups: int, rows: Tensor) -> tuple[LinearScorer, Mixture]:
        return fit_linear(
            *(x, known, rows, groups),
            assignment=config.assignment,
            restarts=config.restarts,
            ridge=config.ridge,
            seed=config.seed,
        )

    def trained(groups: int, rows: Tensor) -> tuple[TransformerScorer, Mixture]:
        return _train(linear(groups, rows)[1], fresh, texts, known, rows, config)

    if config.selection == "model":
        found = search(trained, known, config)
    else:
        quick = search(linear, known, config)
        scorer, mixture = _train(quick.mixture, fresh, texts, known, quick.train, config)
        found = Search(scorer, mixture, quick.chosen, quick.table, quick.train, quick.held)
    return _result(found, texts, known, config, objective)


def _train(
    start: Mixture, fresh: Any, texts: TokenizedPairs, known: UserPairs, rows: Tensor, config: UserGroupsConfig
) -> tuple[TransformerScorer, Mixture]:
    """Train a transformer from what linear heads have found, without the groups that they dropped."""
    alive = (start.shares > 0).nonzero().squeeze(1)
    gamma = start.responsibilities[:, alive]
    logger.info("training the rewards of %d groups", len(alive))
    scorer, mixture = fit_transformer(
        fresh(len(alive)), texts, known, rows, gamma / gamma.sum(dim=1, keepdim=True), config
    )
    lost = int((mixture.shares == 0).sum())
    if lost:
        logger.warning(
            "while the rewards of %d groups were trained, %d lost their users and were dropped", len(alive), lost
        )
    return scorer, mixture


def _result(
    found: Search[TransformerScorer],
    texts: TokenizedPairs,
    known: UserPairs,
    config: UserGroupsConfig,
    objective: str,
) -> UserGroups:
    """Order the heads, centre them on the training completions, judge them."""
    order = found.order
    judged = found.held if len(found.held) else found.train
    differences = found.scorer.differences(judged)[:, order]
    reward = take_heads(found.scorer.reward, order, group_names(len(order)))
    rows = texts.of_pairs(found.train)[0]
    reward.offset = reward.outputs(rows[:: max(1, len(rows) // CENTER_SAMPLES)]).mean(dim=0)
    grouping = summarise(found, known, differences, config.assignment)
    return UserGroups(**vars(grouping), reward=reward, objective=objective)
