"""Online RL on a reward vector: TRL's RLOO with a preference per row, a scalarizer, and the reference for free."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from accelerate.utils import gather
from datasets import Dataset
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from frontier.errors import InputError
from moalign.evaluation import measure_normalizer
from moalign.policy import SteerablePolicy
from moalign.scalarize.base import Scalarizer, StatefulScalarizer
from moalign.scalarize.linear import Linear
from moalign.training.forward import output_layer
from moalign.training.online_config import OnlineConfig
from moalign.training.rollouts.overlap import OverlappedReward
from moalign.training.rollouts.rollout import (
    PreferenceSampler,
    check_group_size,
    keep_checkpoint_context,
    leave_one_out,
    make_aggregation,
    preference_sampler,
    reward_figures,
)
from moalign.training.rollouts.trainer import RolloutTrainer
from moalign.training.runs.folder import watch, write_config
from moalign.training.starting_policy import starting_policy
from moalign.training.steerable_trainer import SteerableTrainer
from reward_heads import Normalizer, VectorReward, as_reward_funcs


class OnlineTrainer(SteerableTrainer, RolloutTrainer):
    r"""REINFORCE leave-one-out on a scalarized reward vector, with a policy that is told its preference per row.

    For a prompt group with preference w (and KL weight α under KL-mixing, α = 0 otherwise) it ascends

    $$ E_{y \sim \pi_w} [ (1 - \alpha) \, s(r(x, y) \mid w) - \beta_\alpha \log \pi_w(y|x) / \pi_{ref}(y|x) ] $$

    with β_α = α under KL-mixing and `args.beta` otherwise. Gradients reach every adapter. The reference log-probs come from the same model with all
    weights at zero, so no second model is held. TRL's long methods are untouched: only `_calculate_rewards`, the log-prob helper (to hand each chunk its
    rows' weights) and thin wrappers are overridden.

    A reward that is not known (NaN) is left out as the scalarizer says; a row in which nothing is known that its preference asks for does not train.
    `missing/OBJECTIVE` in the log is the share of rows without that reward.

    Args:
        model (`str`, `PreTrainedModel` or `SteerablePolicy`): a base model, which gets fresh LoRAs (see `args.conditioning`), or a policy to train further.
        reward (`VectorReward`): the reward vector; its objectives name the adapters.
        args (`OnlineConfig`): settings.
        train_dataset, eval_dataset (`datasets.Dataset`): with a `prompt` column.
        processing_class (`PreTrainedTokenizerBase`, *optional*): the base's tokenizer by default.
        scalarizer (`Scalarizer`, *optional*): the weighted sum by default.
        normalizer (`Normalizer`, *optional*): measured on the reference policy's completions by default.
        adapters (`Sequence[str]`, *optional*): the adapters that are trained; all by default.

    Raises:
        InputError: objectives that do not fit the policy's, no `prompt` column, settings that do not combine, a reward that is infinite.
    """

    _tag_names = ["moalign", "rloo"]  # noqa: RUF012 - TRL's own attribute
    method = "online"
    args: OnlineConfig

    def __init__(
        self,
        model: str | PreTrainedModel | SteerablePolicy,
        reward: VectorReward,
        args: OnlineConfig,
        train_dataset: Dataset,
        eval_dataset: Dataset | None = None,
        processing_class: PreTrainedTokenizerBase | None = None,
        scalarizer: Scalarizer | None = None,
        normalizer: Normalizer | None = None,
        adapters: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        if "prompt" not in train_dataset.column_names:
            raise InputError(f"train_dataset needs a column 'prompt', found {', '.join(train_dataset.column_names)}")
        self.policy = starting_policy(model, reward.objectives, args, args.seed, processing_class)
        self.reward = reward
        self.overlap = OverlappedReward(reward, args.overlap_rewards) if args.overlap_rewards else None
        self.scalarizer = scalarizer or Linear()
        self.normalizer = normalizer.select(reward.objectives) if normalizer is not None else None
        self.trained_adapters = adapters
        check_group_size(self.scalarizer, args, eval_dataset is not None)
        alpha_range = self.alpha_range(args)
        if alpha_range is not None and not self.policy.conditioning.linear:
            raise InputError(
                f"kl_mixing scales mixed weights: it goes with conditioning adapter_mixture, found {args.conditioning}"
            )
        decides_alone = isinstance(self.scalarizer, StatefulScalarizer)
        self.sampler: PreferenceSampler = preference_sampler(args, reward.objectives, decides_alone, alpha_range)
        self.aggregation = make_aggregation(args, self.scalarizer)
        peft_model = self.policy.model
        # TRL copies the adapter "default" to a frozen "ref": lend it the name, then take both away again. The reference here is weight zero.
        peft_model.peft_config["default"] = peft_model.peft_config[self.policy.mixture.names[0]]
        with output_layer.hidden_adapter_on_output_layer(self.policy):
            super().__init__(
                model=peft_model,
                reward_funcs=[
                    *as_reward_funcs(self.overlap or reward),
                    cast("Callable[..., list[float | None]]", _scalarized),
                ],
                args=args,
                train_dataset=train_dataset,
                eval_dataset=eval_dataset,
                processing_class=self.policy.tokenizer,
                **kwargs,
            )
        peft_model.delete_adapter("ref")
        del peft_model.peft_config["default"]
        self._activate()
        self.prepare_rollouts()
        # The scalarized value sits in the last column.
        self.reward_weights = torch.tensor([0.0] * len(reward.objectives) + [1.0])
        on_output = output_layer.has_adapter_on_output_layer(self.policy)
        if self.aux_loss_enabled and (self.aggregation is not None or on_output):
            raise InputError(
                "a load-balancing loss goes neither with gradient_aggregation nor with an adapter on the output layer: set router_aux_loss_coef to 0"
            )
        if args.gradient_checkpointing:
            args.reuse_rollout_forward = False  # activations are to be recomputed, not kept
            keep_checkpoint_context(self.policy)
        self._checkpoint_activations()
        watch(self)

    def _group_size(self) -> int:
        """Completions per prompt in the present mode."""
        return cast("int", self.num_generations if self._mode() == "train" else self.num_generations_eval)

    @staticmethod
    def alpha_range(args: Any) -> tuple[float, float] | None:
        """Range of the KL weight α that is sampled per prompt group; `None` without KL-mixing."""
        return None

    # ---- rollouts

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        group = self._group_size()
        total = len(inputs) * self.accelerator.num_processes
        # Every process draws the whole batch from the same generator and takes its own rows, so that they agree on each group.
        everyone = self.sampler.sample(total // group, group)
        first = self.accelerator.process_index * len(inputs)
        self._rollout = rows = everyone.rows(first, first + len(inputs))
        rows.prompts = [row["prompt"] for row in inputs]
        told = self.policy.conditioning.prompts(rows.prompts, rows.weights)
        try:
            output = super()._generate_and_score_completions(
                [{**row, "prompt": prompt} for row, prompt in zip(inputs, told, strict=True)]
            )
        finally:
            if self.overlap is not None:
                self.overlap.close()
        if self.sampler.alpha_range is not None:
            self._log_kl(output["completion_mask"])
        self._kept.label(output)
        output["steering_weights"] = rows.mixture_weights.to(self.accelerator.device)
        if self.aggregation is not None:
            output["objective_advantages"] = self._objective_advantages(output["completion_mask"])
        self._rollout = None
        return output

    def _objective_advantages(self, mask: Tensor) -> Tensor:
        """`[B, K]` advantages of this process's rows, each objective's for itself, weighted so that their sum is that of the weighted sum."""
        rows = self._rows()
        assert rows.rewards is not None  # set by `_calculate_rewards`
        penalty = torch.zeros(len(mask), device=mask.device)
        if self.beta != 0.0:
            coefficient = self.beta if self.sampler.alpha_range is None else rows.alpha.to(mask.device)
            penalty = coefficient * (rows.log_ratio() * mask).sum(-1)
        weights = gather(rows.weights.to(rows.rewards.device))
        # Of a direction, whose components need not sum to 1, each objective carries its share of the divergence all the same.
        share = weights.abs() / weights.abs().sum(1, keepdim=True)
        total = weights * rows.rewards - share * gather(penalty).unsqueeze(1)
        start = self.accelerator.process_index * len(mask)
        return leave_one_out(total, self._group_size())[start : start + len(mask)]

    def _log_kl(self, mask: Tensor) -> None:
        """Log the divergence itself under KL-mixing, where TRL saw it times α / β."""
        sums = torch.stack([(self._rows().log_ratio() * mask).sum(), mask.sum().float()])
        total, tokens = self.accelerator.reduce(sums, reduction="sum").tolist()
        self._metrics[self._mode()]["kl"][-1] = total / max(tokens, 1.0)

    # ---- rewards and losses

    def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any) -> Tensor:
        rows = self._rows()
        assert rows.prompts is not None  # set by `_generate_and_score_completions`
        # Rewards judge the answer to what the user asked, not to what else the policy was told.
        rewards = super()._calculate_rewards(inputs, rows.prompts, completions, completion_ids_list)
        vector = rewards[:, :-1]
        if vector.isinf().any():
            column = int(vector.isinf().any(0).nonzero()[0])
            raise InputError(
                f"reward '{self.reward.objectives[column]}' is infinite for a completion: rewards must be finite, or NaN where unknown"
            )
        weights = gather(rows.weights.to(rewards.device))
        alpha = gather(rows.alpha.to(rewards.device))
        normalized = self.normalizer(vector) if self.normalizer is not None else vector
        if isinstance(self.scalarizer, StatefulScalarizer) and self.policy.model.training:
            self.scalarizer.observe(normalized)  # before the update that it steers, and on the gathered batch
            for name, value in self.scalarizer.metrics().items():
                self._metrics["train"][name].append(value)
        rewards[:, -1] = (1 - alpha) * self.scalarizer(normalized, weights)
        rows.rewards = (1 - alpha).unsqueeze(1) * normalized
        self._log_rewards(weights, normalized)
        unscored = rewards[:, -1].isnan()
        if isinstance(self.scalarizer, Linear):  # 0 where nothing is known that the preference asks for
            unscored |= ((weights == 0) | vector.isnan()).all(1)
        # TRL leaves a row out only if it has no reward at all, and counts one that is not known as 0.
        rewards[unscored] = torch.nan
        return rewards

    def _log_rewards(self, weights: Tensor, rewards: Tensor) -> None:
        for name, value in reward_figures(self.reward.objectives, weights, rewards, self._group_size()).items():
            self._metrics[self._mode()][name].append(value)

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Tensor:
        """TRL's RLOO loss, with every row under the preference that it was rolled out with."""
        inputs = dict(inputs)  # TRL keeps the batch for the other iterations over the same rollout
        self._loss_weights = weights = inputs.pop("steering_weights")
        self._kept.unlabel(inputs)
        each = inputs.pop("objective_advantages", None)
        with self.policy.steer_rows(weights):
            if each is None or self.aggregation is None or not torch.is_grad_enabled():
                return super().compute_loss(model, inputs, *args, **kwargs)
            return self._aggregated_loss(model, inputs, each)

    def _aggregated_loss(self, model: nn.Module, inputs: dict[str, Any], advantages: Tensor) -> Tensor:
        """TRL's loss once per objective over one forward, and the combination of their gradients on the adapters."""
        assert self.aggregation is not None  # the caller's condition
        self._shared_forward = {}
        try:
            losses = [
                super(OnlineTrainer, self).compute_loss(model, {**inputs, "advantages": column.nan_to_num()})
                if not column.isnan().all()
                else None
                for column in advantages.T
            ]
        finally:
            self._shared_forward = None
        adapters = self.policy.mixture.parameters()
        loss, conflict = self.aggregation.loss(losses, adapters)
        if not loss.requires_grad:  # no reward is known: a step of zero, as without aggregation
            loss = loss + sum((0.0 * p).sum() for p in adapters if p.requires_grad)
        for name, value in conflict.metrics(self.reward.objectives).items():
            self._metrics["train"][name].append(value)
        return loss

    # ---- the run

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        """Measure the normaliser on the reference policy (unless resuming, which restores it), then train."""
        write_config(str(self.args.output_dir), self.args.to_dict() | {"method": self.method})
        if self.normalizer is None and self.args.normalize_rewards and not resume_from_checkpoint:
            self.normalizer = measure_normalizer(
                self.policy,
                self.reward,
                cast("Dataset", self.train_dataset)["prompt"],
                samples=self.args.normalizer_samples,
                max_new_tokens=self.max_completion_length,
                temperature=self.temperature,
                seed=self.args.seed,
            )
        self.policy.training = self.describe()
        return super().train(self.checkpoint(resume_from_checkpoint), *args, **kwargs)

    def describe(self) -> dict[str, Any]:
        """What `steer.json` and the model card say of the training."""
        known = super().describe() | {"completions_per_step": self.args.generation_batch_size}
        if not isinstance(self.scalarizer, Linear):
            known["scalarizer"] = type(self.scalarizer).__name__
        if self.aggregation is not None:
            known["gradient_aggregation"] = self.aggregation.name
        return known


def _scalarized(completions: Sequence[Any], **kwargs: Any) -> list[float]:
    """Room for the scalarized reward in TRL's table of reward functions; `_calculate_rewards` fills it in."""
    return [0.0] * len(completions)


_scalarized.__name__ = "scalarized"
