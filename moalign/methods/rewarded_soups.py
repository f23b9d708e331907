"""Rewarded Soups: train each objective alone, mix the results afterwards. The peer that steerable training has to beat."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import PreTrainedModel

from frontier.errors import InputError
from moalign.policy import SteerablePolicy
from moalign.preference import Preference
from moalign.training.online import OnlineConfig, OnlineTrainer
from moalign.training.runs.checkpoints import latest_checkpoint
from reward_heads import Normalizer, VectorReward


class SingleObjectiveTrainer(OnlineTrainer):
    """Online RL of one adapter at one vertex of the simplex; the other adapters stay at zero."""

    method = "rewarded_soups"
    paper = "https://huggingface.co/papers/2306.04488"


def train_rewarded_soups(
    model: str | PreTrainedModel | SteerablePolicy,
    reward: VectorReward,
    args: OnlineConfig,
    train_dataset: Dataset,
    normalizer: Normalizer | None = None,
    objectives: Sequence[str] | None = None,
    resume_from_checkpoint: bool = False,
    **kwargs: Any,
) -> SteerablePolicy:
    r"""Rewarded Soups ([Ramé et al., 2023](https://huggingface.co/papers/2306.04488)): K runs of one objective each, mixed at inference.

    $$ \Delta(w) = \sum_k w_k \Delta_k, \quad \Delta_k = \arg\max_\Delta E[r_k] - \beta KL $$

    The soup of the weight changes is exact (Σ w_k s_k B_k A_k). The reference code averages the raw factors A and B instead, which is another, worse
    algorithm. The K runs share `args.max_steps` evenly, so that a soup costs as many updates in total as one steerable run.

    Args:
        model: base model or a `SteerablePolicy` with fresh adapters.
        reward (`VectorReward`): as for `OnlineTrainer`.
        args (`OnlineConfig`): of all K runs together; each gets `max_steps / K` updates and `OUTPUT/OBJECTIVE` as its folder.
        train_dataset (`datasets.Dataset`): with a `prompt` column.
        normalizer (`Normalizer`, *optional*): measured by the first run by default.
        objectives (`Sequence[str]`, *optional*): train only these.
        resume_from_checkpoint (`bool`, *optional*, defaults to `False`): go on from each objective's latest checkpoint; those that have none start afresh.
        **kwargs: passed to each trainer.

    Returns:
        `SteerablePolicy`: its adapters are the K policies, its mixtures the soups.

    Raises:
        InputError: fewer updates than runs, or another conditioning than the adapter mixture.
    """
    chosen = list(objectives or reward.objectives)
    if args.max_steps < len(chosen):
        raise InputError(
            f"max_steps is shared by {len(chosen)} runs: give at least {len(chosen)}, found {args.max_steps}"
        )
    if args.conditioning != "adapter_mixture":
        raise InputError(
            f"soups mix one adapter per objective: conditioning must be adapter_mixture, found {args.conditioning}"
        )
    policy: str | PreTrainedModel | SteerablePolicy = model
    folder = Path(str(args.output_dir))
    for name in chosen:
        (folder / name).mkdir(parents=True, exist_ok=True)
        own = dataclasses.replace(
            args,
            output_dir=str(folder / name),
            max_steps=args.max_steps // len(chosen),
            preference=str(Preference.only(name)),
            # The derived one of these two would be taken for a second, conflicting setting.
            generation_batch_size=None,
        )
        trainer = SingleObjectiveTrainer(
            policy, reward, own, train_dataset, normalizer=normalizer, adapters=[name], **kwargs
        )
        latest = latest_checkpoint(folder / name)
        # A run that was finished is only loaded: its last checkpoint has no step left to do.
        trainer.train(resume_from_checkpoint=str(latest) if resume_from_checkpoint and latest else None)
        policy, normalizer = trainer.policy, trainer.normalizer
    assert isinstance(policy, SteerablePolicy)
    policy.normalizer = normalizer.to_json() if normalizer is not None else None
    policy.training = {
        "method": "rewarded_soups",
        "paper": SingleObjectiveTrainer.paper,
        "updates": args.max_steps // len(chosen) * len(chosen),
    }
    return policy
