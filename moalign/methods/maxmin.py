"""MaxMin-RLHF: train one policy for the user group that is worst off, whatever the majority wants."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import PreTrainedModel

from frontier.atomic import write_text
from frontier.errors import InputError
from moalign.methods.dual_trainer import Answers, DualConfig, DualTrainer
from moalign.methods.win_rates import mean_and_error, win_rates
from moalign.policy import SteerablePolicy
from moalign.scalarize.max_min import MODES, MaxMin
from moalign.training.runs.folder import finite
from reward_heads import VectorReward

GROUPS = "groups.json"
SCHEMA_VERSION = 1


@dataclass
class MaxMinConfig(DualConfig):
    """Configuration of `MaxMinTrainer`: the online learner's, plus how the groups' weights move."""

    conditioning: str = field(
        default="none",
        metadata={"help": "Always none: one policy for all groups; their weights are found in training."},
    )
    mode: str = field(
        default="exponentiated",
        metadata={
            "help": "How the groups' weights move: exponentiated (approaches the worst-case weights), argmin (all on the worst group, as in the paper) or softmin.",
            "choices": MODES,
        },
    )
    proportional: float = field(
        default=1.0,
        metadata={
            "help": "Damps the swings of mode exponentiated: extra log-weight of a group per unit that it is worse off at present."
        },
    )
    soft_temperature: float = field(
        default=0.1, metadata={"help": "Temperature of mode softmin, in units of the normalised reward."}
    )

    def __post_init__(self) -> None:
        if self.conditioning != "none" or self.preference is not None:
            found = (
                f"preference {self.preference}" if self.preference is not None else f"conditioning {self.conditioning}"
            )
            raise InputError(
                f"max-min finds the groups' weights in training: it goes with conditioning none and without a preference, found {found}"
            )
        super().__post_init__()


class MaxMinTrainer(DualTrainer):
    r"""MaxMin-RLHF ([Chakraborty et al., 2024](https://huggingface.co/papers/2402.08925)): max-min scalarizer × one adapter × online RL.

    $$ \max_\pi \min_u F_u(\pi) - \beta\, KL(\pi \| \pi_{ref}), \quad F_u = E[(r_u - \mu_u) / \sigma_u] $$

    The reward's objectives are the groups (`moalign groups` finds them among users and writes such a reward); $\mu_u$ and $\sigma_u$ are the mean and
    spread of group u's reward under the reference policy, from the normaliser. Without them "worst off" has no meaning: a reward learnt from preferences
    has a free offset and scale, so that the paper's minimum depends on them. $F_u = 0$ for every group at the reference; it says by how many of its own
    standard deviations a group gains.

    The policy ascends $\sum_u \omega_u F_u - \beta KL$, while $\omega$ moves towards the groups that are worst off (`MaxMin`). At the optimum $\omega$ are
    the worst-case weights: the groups that they are positive for are level, and the policy is the best one for this mixture.

    Deviations from the paper: the exponentiated form by default, with damping and with a rate that follows the learning rate's schedule (`mode` argmin is
    the paper's), the anchor, and RLOO instead of PPO.

    `train` ends with a report on every group: its mean reward, its win rate against the reference and its weight, in `groups.json`, in the bundle and on
    its card. It is measured on the evaluation data set's prompts; without one on those of training, and then says so.

    Args: as of `OnlineTrainer`, with `reward` the groups'; there is no `scalarizer`.

    Raises:
        InputError: fewer than two groups, settings out of range, and as `OnlineTrainer`.
    """

    method = "maxmin"
    paper = "https://huggingface.co/papers/2402.08925"
    args: MaxMinConfig
    scalarizer: MaxMin

    def __init__(
        self,
        model: str | PreTrainedModel | SteerablePolicy,
        reward: VectorReward,
        args: MaxMinConfig,
        train_dataset: Dataset,
        eval_dataset: Dataset | None = None,
        **kwargs: Any,
    ) -> None:
        scalarizer = MaxMin(
            reward.objectives,
            args.mode,  # type: ignore[arg-type]
            args.rate,
            args.soft_temperature,
            proportional=args.proportional,
        )
        self.report: dict[str, Any] | None = None
        super().__init__(model, reward, args, train_dataset, eval_dataset, scalarizer=scalarizer, **kwargs)

    def write_report(self) -> None:
        """Measure every group and write `groups.json`."""
        self.report = self.group_report(self.answers(reference=True))
        text = json.dumps(finite(self.report), indent=2) + "\n"
        write_text(Path(str(self.args.output_dir)) / GROUPS, text)

    def group_report(self, answers: Answers) -> dict[str, Any]:
        """What every group has of the policy.

        Args:
            answers (`Answers`): of the policy and of the reference.

        Returns:
            `dict`: `groups` has, per group, `mean` (normalised) with `standard_error`, `reference_mean`, `win_rate` against the reference with
            `win_rate_standard_error`, `weight` (the last) and `average_weight`; `worst` names the group with the smallest mean, `kl` is in nats.
        """
        assert answers.reference is not None  # the caller asks for it
        shape = (-1, answers.per_prompt, len(self.reward.objectives))
        normal = self.normalizer or (lambda scores: scores)
        own, reference = normal(answers.policy.rewards).view(shape), normal(answers.reference.rewards).view(shape)
        mean, error = mean_and_error(own.double().nanmean(1))
        reference_mean, _ = mean_and_error(reference.double().nanmean(1))
        # By the reward itself, for ties are exact there.
        rate, rate_error = win_rates(answers.policy.rewards.view(shape), answers.reference.rewards.view(shape))
        columns = {
            "mean": mean.tolist(),
            "standard_error": error.tolist(),
            "reference_mean": reference_mean.tolist(),
            "win_rate": rate.tolist(),
            "win_rate_standard_error": rate_error.tolist(),
            "weight": self.scalarizer.weights,
            "average_weight": self.scalarizer.average_weights,
        }
        return {
            "schema_version": SCHEMA_VERSION,
            "mode": self.args.mode,
            "prompts_from": answers.source,
            "n_prompts": len(own),
            "completions_per_prompt": answers.per_prompt,
            "kl": float(answers.policy.log_ratio.mean()),
            "worst": self.scalarizer.worst(mean)[0],
            "groups": [
                {"group": name} | {key: values[u] for key, values in columns.items()}
                for u, name in enumerate(self.reward.objectives)
            ],
        }

    def describe(self) -> dict[str, Any]:
        """What `steer.json` and the model card say of the training: the groups' figures among it once there are any."""
        story = super().describe() | {"preferences": "the worst-off group's", "mode": self.args.mode}
        if self.report is None:
            return story
        seen = "held-out" if self.report["prompts_from"] == "eval_dataset" else "training"
        story["measured on"] = (
            f"{self.report['n_prompts']} {seen} prompts, {self.report['completions_per_prompt']} completions each"
        )
        for row in self.report["groups"]:
            worst = " (worst off)" if row["group"] == self.report["worst"] else ""
            story[f"group {row['group']}{worst}"] = (
                f"mean {row['mean']:.3g} ± {row['standard_error']:.2g}, preferred to the reference "
                f"{row['win_rate']:.1%} ± {row['win_rate_standard_error']:.1%}, weight {row['weight']:.3g}"
            )
        return story
