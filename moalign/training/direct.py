"""Learn from preference pairs with a policy that is told its preference: DPO and its relatives, with a margin for what the label does not say."""

import logging
import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from datasets import Dataset
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer, TrainerCallback

from frontier.errors import InputError
from moalign.policy import SteerablePolicy
from moalign.preference import Preference
from moalign.scalarize.gradient_aggregation import Conflict, GradientAggregation
from moalign.scalarize.linear import Linear
from moalign.training.direct_config import DirectConfig
from moalign.training.direct_loss import BatchLoss, batch_loss
from moalign.training.direct_metrics import pair_metrics
from moalign.training.forward.shared_prompts import shared_log_probs
from moalign.training.margins import NATS, MarginScale, margins, measure_margin_scale, shares
from moalign.training.pair_cache import PairCache
from moalign.training.pairs import PairTable, canonical, collate, labelled_objectives
from moalign.training.rollouts.rollout import preference_sampler
from moalign.training.runs.folder import watch, write_config
from moalign.training.runs.step_means import StepMeans, Sums
from moalign.training.starting_policy import starting_policy
from moalign.training.steerable_trainer import SteerableTrainer
from reward_heads import Normalizer, VectorReward

logger = logging.getLogger(__name__)
__all__ = ["DirectConfig", "DirectTrainer"]


class DirectTrainer(SteerableTrainer, Trainer):
    r"""Direct alignment on pairs with a label per objective, at a preference per row.

    A row with weights w trains every objective k that it has a label $p_k$ for and that weighs at least `min_weight`, by

    $$ \sum_k \frac{w_k}{\sum_{k'} w_{k'}} \, L(d_k, p_k), \qquad
       d_k = \frac{\beta}{w_k} (h_a - h_b) - \frac{1}{w_k} \sum_{j \neq k} w_j a_j \, (r_j(a) - r_j(b)) $$

    where $h_y = \log \pi_w(y|x) - \log \pi_{ref}(y|x)$, L is DPO's logistic loss or another of `moalign.training.losses`, and $a_j$ says how many nats one unit
    of reward j is worth (`margin_scale`). That is the expectation of drawing the objective with probability $w_k$ (`rotation="sampled"` draws it); every summand
    has its optimum at $\pi_w \propto \pi_{ref} \exp(\sum_j w_j a_j r_j / \beta)$. One objective, or all weight on one, is plain DPO and needs no reward.
    The 1 / w of a small weight cancels with its share, so that gradients keep their size. With `label_source="reward"` the probability $\sigma(a_k (r_k(a) - r_k(b)))$
    takes the place of $p_k$ wherever the reward is known (reward distillation, [Fisch et al., 2024](https://huggingface.co/papers/2405.19316)), and the labels serve only to
    measure $a_k$.

    Token ids, reference log-probs (the same model with all weights at zero) and rewards are made once, in the constructor; a step costs one forward over
    the two completions of each row. Rows without any objective to train are left out of the mean, and counted.

    Args:
        model (`str`, `PreTrainedModel` or `SteerablePolicy`): a base model, which gets one fresh LoRA per objective, or a policy to train further.
        reward (`VectorReward`, *optional*): gives the margins; its objectives name the adapters. Without it, those of the labels do.
        args (`DirectConfig`): settings. A `preference` may name labelled objectives that the reward does not know, as in MODPO's paper.
        train_dataset, eval_dataset (`datasets.Dataset`): pairs (`prompt`, `completion_a`, `completion_b`, `labels`), or TRL preference rows. The `PairTable` of
            another run over the same base, reward and normaliser serves as training data too and is not computed again: `trainer.train_dataset`.
        processing_class (`PreTrainedTokenizerBase`, *optional*): the base's tokenizer by default.
        normalizer (`Normalizer`, *optional*): applied to the rewards before their scale is measured.
        adapters (`Sequence[str]`, *optional*): the objectives whose adapters are trained; all by default.

    Raises:
        InputError: objectives that do not fit the policy's, no label that the preference could train, a loss that takes no margin where one is needed, a
            reward that is infinite, a scale that cannot be measured.
    """

    _tag_names = ["moalign", "dpo"]  # noqa: RUF012 - TRL's own attribute
    method = "direct"
    args: DirectConfig

    def __init__(
        self,
        model: str | PreTrainedModel | SteerablePolicy,
        reward: VectorReward | None,
        args: DirectConfig,
        train_dataset: Dataset | PairTable,
        eval_dataset: Dataset | dict[str, Dataset] | None = None,
        processing_class: PreTrainedTokenizerBase | None = None,
        normalizer: Normalizer | None = None,
        adapters: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        known = reward.objectives if reward is not None else ()
        prepared = train_dataset if isinstance(train_dataset, PairTable) else None
        if prepared is not None:
            self.objectives = prepared.objectives
        else:
            train_dataset = canonical(cast("Dataset", train_dataset), known)
            self.objectives = _objectives(known, labelled_objectives(train_dataset), args.preference)
        self.sampler = preference_sampler(args, self.objectives)
        self._evaluation_sampler = preference_sampler(args, self.objectives)
        self.losses = args.make_losses()
        fixed = self.sampler.fixed
        self._needs_margins = len(self.objectives) > 1 and (fixed is None or int((fixed != 0).sum()) > 1)
        if self._needs_margins:
            self._check_margins(reward, args)
        # At a corner nothing has a margin, but the reward may still have to say what a label would.
        self._needs_rewards = self._needs_margins or args.label_source == "reward"
        if self._needs_rewards and reward is None:
            raise InputError("label_source reward needs a reward, found none")
        self.policy = starting_policy(model, self.objectives, args, args.seed, processing_class)
        self.reward = reward
        self.scalarizer = Linear()
        self.normalizer = normalizer.select(known) if normalizer is not None and known else None
        self.trained_adapters = adapters
        self.aggregation = GradientAggregation(args.gradient_aggregation) if args.gradient_aggregation else None
        self._cache = PairCache.of(args.cache_dir)
        self._prefix, self._warned = "eval", False
        if args.disable_dropout:
            _disable_dropout(self.policy.base)
        table = prepared or self._tokenized(cast("Dataset", train_dataset), args)
        evaluation = _each(eval_dataset, lambda part: self._tokenized(part, args))
        super().__init__(
            model=self.policy.model,
            args=args,
            data_collator=collate,
            train_dataset=table,
            eval_dataset=evaluation,
            processing_class=self.policy.tokenizer,
            **kwargs,
        )
        # Here, for the model may have been on the CPU until now, and processes with a GPU each exchange nothing else.
        self._metrics = {mode: StepMeans(self.accelerator.device) for mode in ("train", "eval")}
        self.model_accepts_loss_kwargs = False  # the loss is a mean over a batch; Trainer averages accumulated ones
        self._activate()
        if prepared is not None and self._needs_rewards and prepared.differences.isnan().all():
            raise InputError(
                "the prepared pairs hold no rewards: prepare them in a run that needs them (several objectives, or label_source reward)"
            )
        if prepared is None:
            self._score(table, args.per_device_train_batch_size)
        _each(evaluation, self._score)
        self.margin_scale: MarginScale = measure_margin_scale(
            args.margin_scale if self._needs_rewards else NATS, table.differences, table.labels, self.objectives
        )
        self._check_trainable(table)
        self._checkpoint_activations()
        watch(self)
        self.add_callback(_LogMarginScale(self))

    # ---- preparation

    def _check_margins(self, reward: VectorReward | None, args: DirectConfig) -> None:
        names = ", ".join(self.objectives)
        if reward is None:
            raise InputError(
                f"training between {names} needs a reward for the margins, which say what a label leaves out; without one, put all weight on one "
                f"objective, as in --preference {self.objectives[0]}=1"
            )
        for loss, _ in self.losses:
            if not loss.takes_margin:
                raise InputError(
                    f"loss_type {loss.name} takes no margin, which training between {names} needs: use sigmoid, hinge, ipo or another loss of the score "
                    f"difference, or put all weight on one objective, as in --preference {self.objectives[0]}=1"
                )
        if args.min_weight > 1 / len(self.objectives):
            raise InputError(
                f"min_weight must be at most 1 / {len(self.objectives)} for {len(self.objectives)} objectives, else some preferences train nothing; "
                f"found {args.min_weight}"
            )

    def _check_trainable(self, table: PairTable) -> None:
        """Refuse a run that could not learn from any pair."""
        differences = table.differences * self.margin_scale.tensor()
        labels = self._labels(table.labels, differences)
        for name, label in zip(self.objectives, labels.T, strict=True):
            if label.isnan().all():
                logger.warning("no pair has a label for objective '%s': it counts in the margins only", name)
        if self.sampler.fixed is not None:
            weights = self.sampler.fixed.expand(len(table), -1)
            if not shares(weights, labels, margins(weights, differences), self.args.min_weight).any():
                raise InputError(
                    f"no pair can be trained on at preference {self.args.preference}: none has a label for an objective of weight {self.args.min_weight} or more "
                    "(min_weight) and known rewards for the others that weigh something"
                )

    def _labels(self, labels: Tensor, differences: Tensor) -> Tensor:
        """What pairs are trained to say: their labels, or the reward's Bradley-Terry probabilities where the reward is known."""
        if self.args.label_source == "data":
            return labels
        return torch.where(differences.isnan(), labels, differences.sigmoid())

    def _tokenized(self, dataset: Dataset, args: DirectConfig) -> PairTable:
        return PairTable(dataset, self.objectives, self.policy, args.max_length, progress=not args.disable_tqdm)

    def _score(self, table: PairTable, batch_size: int | None = None) -> PairTable:
        """Add the reference's log-probs and the rewards to a table."""
        size = self.args.precompute_ref_batch_size or batch_size or self.args.per_device_eval_batch_size
        progress = not self.args.disable_tqdm and self.is_world_process_zero()
        with self.accelerator.autocast():
            table.score_reference(self.policy, size, progress, self._cache, self.args.share_prompts)
        if self._needs_rewards and self.reward is not None:
            table.score_rewards(self.reward, size, progress, self._cache if self.args.cache_dir else None)
            if self.normalizer is not None:
                columns = [self.objectives.index(name) for name in self.normalizer.objectives]
                table.differences[:, columns] /= torch.tensor(self.normalizer.scale)
        return table

    # ---- the loss

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Mean loss of a batch of pairs, each row under a preference of its own."""
        training = self.policy.model.training and torch.is_grad_enabled()
        weights, uniform = self._preferences(len(inputs["ids"]), training)
        batch = self._batch_loss(model, inputs, weights, uniform)
        loss = batch.total()
        metrics = self._metrics["train" if training else "eval"]
        if training and self.aggregation is not None:
            conflict = Conflict(math.nan, math.nan, math.nan, (math.nan,) * len(self.objectives))
            if batch.used.any():
                loss, conflict = self.aggregation.loss(batch.by_objective(), self.policy.mixture.parameters())
            found = conflict.metrics(
                self.objectives
            )  # the same names in every process; what is not known does not count
            metrics.add({n: (0.0, 0.0) if math.isnan(value) else (value, 1.0) for n, value in found.items()})
        if not batch.used.any() and not self._warned:
            self._warned = True
            logger.warning(
                "no row of a batch could be trained on: its loss is 0 (see rows_left_out and labels/* in the log)"
            )
        return (loss, {}) if return_outputs else loss

    def _preferences(self, rows: int, training: bool) -> tuple[Tensor, Tensor | None]:
        """`[B, K]` weights of this process's rows, and `[B]` randomness to draw objectives by (`rotation="sampled"`)."""
        sampler = self.sampler if training else self._evaluation_sampler
        draws_objectives = self.args.rotation == "sampled" and training
        # Every process draws for all and takes its own, and row by row, so that a row's draw depends on its place in the update's batch alone,
        # however that is cut into processes and accumulated steps.
        total, start = rows * self.accelerator.num_processes, rows * self.accelerator.process_index
        drawn, uniform = [], []
        for _ in range(total):
            drawn.append(sampler.sample(1, 1).weights)
            if draws_objectives:
                uniform.append(torch.rand(1, generator=sampler.generator))
        weights = torch.cat(drawn[start : start + rows]).to(self.accelerator.device)
        if not draws_objectives:
            return weights, None
        return weights, torch.cat(uniform[start : start + rows]).to(self.accelerator.device)

    def _batch_loss(
        self, model: nn.Module, inputs: dict[str, Any], weights: Tensor, uniform: Tensor | None
    ) -> BatchLoss:
        ids, device = inputs["ids"], weights.device
        told = [pair.prompt for pair in ids]
        if self.policy.conditioning.kind == "prompt":
            encoded = self.policy.encode(inputs["prompt"], weights)
            told = [prompt[: len(prompt) - pair.cut] for prompt, pair in zip(encoded, ids, strict=True)]
        found = shared_log_probs(
            model,
            self.policy,
            told,
            [(pair.a, pair.b) for pair in ids],
            weights,
            share=self.args.share_prompts,
            split=self.args.split_by_length,
        )
        policy, lengths = found.sums().view(-1, 2), found.lengths.view(-1, 2)
        labels, reference = inputs["preferred"].to(device), inputs["reference"].to(device)
        differences = inputs["differences"].to(device) * self.margin_scale.tensor().to(device)
        labels = self._labels(labels, differences)
        batch = batch_loss(
            self.losses,
            self.args.beta,
            policy,
            reference,
            lengths,
            weights,
            labels,
            differences,
            self.args.min_weight,
            uniform,
        )
        figures = pair_metrics(batch, self.objectives, labels, policy.detach(), reference, self.args.beta)
        self._record({**figures, "padding": (found.padding, found.computed)})
        return batch

    # ---- the log

    def _record(self, sums: Sums) -> None:
        """Keep sums and counts for the next line of the log."""
        self._metrics["train" if self.policy.model.training and torch.is_grad_enabled() else "eval"].add(sums)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Trainer's figures together with the means of ours since the last time."""
        mode = "eval" if any(name.startswith(f"{self._prefix}_") for name in logs) else "train"
        prefix = f"{self._prefix}_" if mode == "eval" else ""
        own = {prefix + name: value for name, value in self._metrics[mode].take().items()}
        super().log(logs | own, start_time)

    # ---- evaluation

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Trainer's evaluation, at the same preferences each time, drawn from a generator of its own."""
        eval_dataset = _each(
            eval_dataset,
            lambda part: self._score(self._tokenized(part, self.args)) if isinstance(part, Dataset) else part,
        )
        self._evaluation_sampler.generator.manual_seed(self.args.seed)
        self._metrics["eval"].clear()
        self._prefix = metric_key_prefix
        return super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)

    def prediction_step(
        self, model: nn.Module, inputs: dict[str, Any], prediction_loss_only: bool, ignore_keys: list[str] | None = None
    ) -> tuple[Tensor, None, None]:
        """The loss; pairs have neither logits nor labels to hand on."""
        with torch.no_grad(), self.compute_loss_context_manager():
            return self.compute_loss(model, self._prepare_inputs(inputs)).detach(), None, None

    # ---- the run

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        """Write the resolved configuration, then train."""
        write_config(str(self.args.output_dir), self.args.to_dict() | {"method": self.method})
        self.policy.training = self.describe()
        return super().train(self.checkpoint(resume_from_checkpoint), *args, **kwargs)

    def describe(self) -> dict[str, Any]:
        """What `steer.json` and the model card say of the training."""
        own: dict[str, Any] = {
            "pairs": len(cast("PairTable", self.train_dataset)),
            "loss_type": "+".join(self.args.loss_type),
        }
        if self._needs_rewards:
            own |= {"rotation": self.args.rotation, "margin_scale": self.margin_scale.to_json()}
        return super().describe() | own

    def steering_state(self) -> dict[str, Any]:
        """What a checkpoint has to know beyond weights and optimizer: also the scales of the margins."""
        return super().steering_state() | {"margin_scale": self.margin_scale.to_json()}

    def restore_steering(self, state: dict[str, Any]) -> None:
        """Go on from a `steering_state`."""
        super().restore_steering(state)
        self.margin_scale = MarginScale.from_json(state["margin_scale"])
        self.policy.training = self.describe()


class _LogMarginScale(TrainerCallback):
    """Writes the scales of the margins into the first line of the metrics."""

    def __init__(self, trainer: DirectTrainer) -> None:
        self.trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """At the start of a run, not where one is resumed."""
        if self.trainer._needs_rewards and state.global_step == 0:
            self.trainer.log(self.trainer.margin_scale.metrics())


def _objectives(known: Sequence[str], labelled: Sequence[str], preference: str | None) -> tuple[str, ...]:
    """The reward's objectives, and those that the preference names beside them; the labels' where there is no reward.

    Raises:
        InputError: no pair has a label of any of them.
    """
    names = (*known, *(name for name in labelled if name not in known))
    if not labelled:
        raise InputError("no pair has a label: every label of the data set is missing")
    if known:
        named = Preference.parse(preference, names).values if preference else {}
        unused = [name for name in labelled if name not in known and not named.get(name)]
        names = tuple(name for name in names if name not in unused)
        if unused:
            logger.warning("labels of objectives that the reward does not know are not used: %s", ", ".join(unused))
    if not set(names) & set(labelled):
        raise InputError(
            f"the labels are of {', '.join(labelled)}, the reward's objectives are {', '.join(known)}: no label could be trained on"
        )
    return names


def _each(datasets: Any, function: Callable[[Any], Any]) -> Any:
    """A function of one data set, or of each of several by name."""
    if datasets is None or isinstance(datasets, str):
        return datasets
    return {n: function(d) for n, d in datasets.items()} if isinstance(datasets, dict) else function(datasets)


def _disable_dropout(base: nn.Module) -> None:
    """Turn the base model's own dropout off, as TRL does; the adapters' is a setting of theirs."""
    for name, module in base.named_modules():
        if isinstance(module, nn.Dropout) and "lora_dropout" not in name:
            module.p = 0.0
