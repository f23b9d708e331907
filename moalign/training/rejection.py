"""Rejection sampling on a reward vector: draw, keep what the preference likes best, learn to say it, and draw again."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from accelerate.utils import gather_object
from datasets import Dataset
from torch import Tensor, nn
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from frontier.atomic import write_text
from frontier.errors import InputError
from moalign.conditioning.base import Text
from moalign.evaluation import measure_normalizer, score_completions
from moalign.policy import SteerablePolicy
from moalign.preference import Preference
from moalign.scalarize.base import Scalarizer, StatefulScalarizer
from moalign.scalarize.linear import Linear
from moalign.training.directions import DirectionSampler
from moalign.training.losses import PairScores, Sigmoid
from moalign.training.rejection_config import RejectionConfig
from moalign.training.rollouts.rollout import PreferenceSampler, check_group_size, reward_figures
from moalign.training.rollouts.rounds import (
    Draws,
    KeptRow,
    RoundCollator,
    RoundData,
    completion_log_probs,
    draw_completions,
    keep_best,
    shuffled_passes,
)
from moalign.training.runs.folder import watch, write_config
from moalign.training.starting_policy import starting_policy
from moalign.training.steerable_trainer import SteerableTrainer
from reward_heads import Normalizer, VectorReward


class _Rounds(TrainerCallback):
    """Draws a round before the first of its epochs, and logs what it found with the first update."""

    def __init__(self, trainer: "RejectionTrainer") -> None:
        self.trainer = trainer

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Trainer makes the epoch's iterator after this, so that it reads the new rows."""
        due = int(state.epoch or 0) // cast("RejectionConfig", args).epochs_per_round + 1
        if due != self.trainer.round:  # a run that resumes within a round has its rows
            self.trainer.start_round(due)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Not earlier: a checkpoint between two rounds must not know of the second one, which a resumed run logs again."""
        if self.trainer.figures:
            due = control.should_log
            self.trainer.log(self.trainer.figures)
            control.should_log = due  # logging clears it, and the loss would be left out
            self.trainer.figures = {}


class RejectionTrainer(SteerableTrainer, Trainer):
    r"""Iterated preference-conditioned rejection sampling: best-of-n, taught to the policy, round by round.

    In round t, for prompts x and preferences v,

    $$ y_1, \dots, y_n \sim \pi_{t-1}(\cdot \mid x, v), \quad y^* = \arg\max_j s(r(x, y_j) \mid v), \quad
       \pi_t = \arg\max_\pi E_{x, v} \log \pi(y^* \mid x, v) $$

    with the scalarizer s, v·r by default, every reward maximised. Each round goes on from the policy before it. The likelihood is averaged over the tokens of an
    update; with `dpo_weight` the DPO loss of best against worst is added, averaged over the groups of a batch where the two differ (then over the
    batches of an update, where there are several), held to the policy with all weights at zero. A round's kept rows stand in `rounds/round-N.jsonl` of the run folder.

    A completion whose value is not known (NaN) is never kept; a group without a known value is left out. Where rows are missing to a full epoch, the round's
    first ones come again.

    Args:
        model (`str`, `PreTrainedModel` or `SteerablePolicy`): a base model, which gets fresh LoRAs, or a policy to train further.
        reward (`VectorReward`): the reward vector; its objectives are the preference's.
        args (`RejectionConfig`): settings.
        train_dataset, eval_dataset (`datasets.Dataset`): with a `prompt` column.
        processing_class (`PreTrainedTokenizerBase`, *optional*): the base's tokenizer by default.
        scalarizer (`Scalarizer`, *optional*): the weighted sum by default.
        normalizer (`Normalizer`, *optional*): measured on the reference policy's completions by default.
        adapters (`Sequence[str]`, *optional*): the adapters that are trained; all by default.

    Raises:
        InputError: objectives that do not fit the policy's, no `prompt` column, no prompts, a reward that is infinite, a round in which nothing is known.
    """

    method = "rejection"
    args: RejectionConfig

    def __init__(
        self,
        model: str | PreTrainedModel | SteerablePolicy,
        reward: VectorReward,
        args: RejectionConfig,
        train_dataset: Dataset,
        eval_dataset: Dataset | None = None,
        processing_class: PreTrainedTokenizerBase | None = None,
        scalarizer: Scalarizer | None = None,
        normalizer: Normalizer | None = None,
        adapters: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        self.prompts = _prompts(train_dataset, "train_dataset")
        if eval_dataset is not None:
            _prompts(eval_dataset, "eval_dataset")
        self.policy = starting_policy(model, reward.objectives, args, args.seed, processing_class)
        self.reward = reward
        self.scalarizer = scalarizer or Linear()
        self.normalizer = normalizer.select(reward.objectives) if normalizer is not None else None
        check_group_size(self.scalarizer, args, evaluates=False)
        self.trained_adapters = adapters
        self.sampler = self._fresh_sampler(args)
        if isinstance(self.sampler, DirectionSampler) and not isinstance(model, SteerablePolicy):
            middle = dict(zip(reward.objectives, self.sampler.middle().tolist(), strict=True))
            self.policy.default_preference = Preference.direction(middle, normalize=True)
        self.round = 0
        self.rows: list[KeptRow] = []
        self.figures: dict[str, float] = {}
        self._data = RoundData(args.prompts_per_round * args.keep, self.policy)
        super().__init__(
            model=self.policy.model,
            args=args,
            data_collator=RoundCollator(self.policy.pad_token_id),
            train_dataset=self._data,
            eval_dataset=eval_dataset,
            processing_class=self.policy.tokenizer,
            **kwargs,
        )
        # The loss below is a sum over tokens, divided by those of the whole update.
        self.model_accepts_loss_kwargs = True
        self._activate()
        self._checkpoint_activations()
        self.add_callback(_Rounds(self))
        watch(self)

    def _fresh_sampler(self, args: RejectionConfig) -> PreferenceSampler:
        return args.sampler(tuple(self.reward.objectives), isinstance(self.scalarizer, StatefulScalarizer))

    # ---- rounds

    def start_round(self, number: int) -> None:
        """Draw a round from the present policy and make its kept completions the training data.

        Raises:
            InputError: the value of none of the completions is known.
        """
        args = self.args
        picked = shuffled_passes(len(self.prompts), args.prompts_per_round, self.sampler.generator)
        weights = self.sampler.sample(len(picked), 1).weights
        draws = self._draw([self.prompts[i] for i in picked], weights, args.num_generations, self._seed())
        values, rewards = self._values(draws, observe=True)
        rows = keep_best(draws, values, args.keep, args.dpo_weight > 0)
        if not rows:
            raise InputError(
                f"round {number}: the reward is not known (NaN) for any of the {len(draws.texts)} completions of {len(draws.prompts)} prompts, so nothing can be kept"
            )
        self.rows = self._with_reference(rows)
        self.round = number
        self._data.fill(self.rows)
        kept = torch.tensor([row.value for row in rows])
        unknown = values.view(len(draws.prompts), -1).isnan().all(1).sum()
        self.figures |= {
            "round": float(number),
            "completions": float(len(values)),
            "kept": float(len(rows)),
            "unknown_groups": float(unknown),
            "reward": float(values.nanmean()),
            "reward_kept": float(kept.mean()),
            **_means(self.reward.objectives, rewards),
            **reward_figures(
                self.reward.objectives,
                weights.repeat_interleave(args.num_generations, 0),
                rewards,
                args.num_generations,
            ),
        }
        if self.is_world_process_zero():
            lines = [json.dumps({"round": number} | line) + "\n" for line in self._rows_json()]
            write_text(Path(str(args.output_dir)) / "rounds" / f"round-{number}.jsonl", "".join(lines))

    def _seed(self) -> int:
        """Of a round's sampling, so that training's own random numbers are left as they were."""
        return int(torch.randint(2**31, (), generator=self.sampler.generator))

    def _share(self, n: int) -> slice:
        """This process's part of n things."""
        count, index = self.accelerator.num_processes, self.accelerator.process_index
        return slice(n * index // count, n * (index + 1) // count)

    def _draw(self, prompts: list[Text], weights: Tensor, n: int, seed: int) -> Draws:
        """Scored completions, n of each prompt, drawn by all processes and known to all."""
        share = self._share(len(prompts))
        each = [prompt for prompt in prompts[share] for _ in range(n)]
        found = []
        if each:
            texts, ids = draw_completions(
                self.policy,
                each,
                weights[share].repeat_interleave(n, 0),
                max_new_tokens=self.args.max_completion_length,
                temperature=self.args.temperature,
                seed=seed + share.start * n,
                batch_size=self.args.generation_batch_size,
            )
            scores = score_completions(self.reward, each, texts, self.args.generation_batch_size)
            found = list(zip(texts, ids, scores.tolist(), strict=True))
        found = gather_object(found)
        rewards = torch.tensor([row for _, _, row in found])
        return Draws(prompts, weights, [text for text, _, _ in found], [ids for _, ids, _ in found], rewards)

    def _values(self, draws: Draws, observe: bool = False) -> tuple[Tensor, Tensor]:
        """What each completion is worth to its preference `[G · n]`, and its rewards `[G · n, K]` in the units that weights refer to."""
        rewards = self.normalizer(draws.rewards) if self.normalizer is not None else draws.rewards
        if observe and isinstance(self.scalarizer, StatefulScalarizer):
            self.scalarizer.observe(rewards)
            self.figures |= self.scalarizer.metrics()
        n = len(rewards) // len(draws.prompts)
        return self.scalarizer(rewards, draws.weights.repeat_interleave(n, 0)), rewards

    @torch.no_grad()
    def _with_reference(self, rows: list[KeptRow]) -> list[KeptRow]:
        """The rows with the reference's log-probs, once for all epochs, where DPO will ask for them."""
        if self.args.dpo_weight == 0:
            return rows
        self.policy.model.eval()
        mine, size = rows[self._share(len(rows))], self.args.generation_batch_size
        scored: list[KeptRow] = []
        for start in range(0, len(mine), size):
            part = mine[start : start + size]
            # The reference reads the prompt without whatever the policy is told there.
            prompts = self.policy.encode([row.prompt for row in part])
            zero = torch.zeros(len(part), len(self.reward.objectives))
            best = self.policy.token_log_probs(prompts, [row.ids for row in part], zero)[0].sum(1)
            worst = self.policy.token_log_probs(prompts, [row.worst_ids or row.ids for row in part], zero)[0].sum(1)
            pairs = zip(best.tolist(), worst.tolist(), strict=True)
            scored += [replace(row, reference=pair) for row, pair in zip(part, pairs, strict=True)]
        self.policy.model.train()
        return cast("list[KeptRow]", gather_object(scored))

    # ---- the loss

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """−log π of the kept completions per token of the whole update, plus the weighted DPO loss."""
        with self.policy.steer_rows(inputs["steering_weights"]):
            log_probs = completion_log_probs(model, inputs)
        summed = log_probs.sum(1)
        worst = len(inputs["better"]) if "better" in inputs else 0
        best = len(summed) - worst
        tokens = inputs["completion_mask"][:best].sum() if num_items_in_batch is None else num_items_in_batch
        loss = -summed[:best].sum() / tokens
        if num_items_in_batch is not None and self.args.average_tokens_across_devices:
            loss = loss * self.accelerator.num_processes  # gradients are averaged, and these are shares of one mean
        if worst:
            chunks = 1 if num_items_in_batch is None else self.current_gradient_accumulation_steps
            loss = loss + self.args.dpo_weight * self._dpo(summed, best, inputs) / chunks
        return (loss, {"log_probs": log_probs}) if return_outputs else loss

    def _dpo(self, summed: Tensor, best: int, inputs: dict[str, Any]) -> Tensor:
        reference_a, reference_b = inputs["reference"].unbind(1)
        scores = PairScores(
            policy_a=summed[inputs["better"]],
            policy_b=summed[best:],
            reference_a=reference_a,
            reference_b=reference_b,
            scale=self.args.beta,
        )
        return Sigmoid()(scores, torch.ones_like(reference_a)).mean()

    # ---- the run

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        """Measure the normaliser on the reference policy (unless resuming, which restores it), then train."""
        write_config(str(self.args.output_dir), self.args.to_dict() | {"method": self.method})
        if self.normalizer is None and self.args.normalize_rewards and not resume_from_checkpoint:
            self.normalizer = measure_normalizer(
                self.policy,
                self.reward,
                self.prompts,
                samples=self.args.normalizer_samples,
                max_new_tokens=self.args.max_completion_length,
                temperature=self.args.temperature,
                seed=self.args.seed,
                batch_size=self.args.generation_batch_size,
            )
        self.policy.training = self.describe()
        self.round = 0
        return super().train(self.checkpoint(resume_from_checkpoint), *args, **kwargs)

    def evaluate(
        self,
        eval_dataset: Dataset | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """Mean rewards of one completion per prompt (of a group, where the scalarizer compares), at the same preferences and with the same seed every time."""
        chosen = eval_dataset if eval_dataset is not None else self.eval_dataset
        if chosen is None:
            raise InputError("evaluation needs an eval_dataset with a column 'prompt'")
        prompts = _prompts(cast("Dataset", chosen), "eval_dataset")
        weights = self._fresh_sampler(self.args).sample(len(prompts), 1).weights
        group = getattr(self.scalarizer, "group_size", None) or 1
        values, rewards = self._values(self._draw(prompts, weights, group, self.args.seed))
        found = {"reward": float(values.nanmean()), **_means(self.reward.objectives, rewards)}
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in found.items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def describe(self) -> dict[str, Any]:
        """What `steer.json` and the model card say of the training."""
        args, found = self.args, super().describe()
        del found["max_steps"]
        if args.dpo_weight == 0:
            del found["beta"]
        if isinstance(self.sampler, DirectionSampler):
            name, angle = self.reward.objectives[self.sampler.primary], args.max_angle
            around = f"within {angle:g}° of {name}" if angle is not None else "without negative components"
            found["preferences"] = f"sampled, directions {around}"
        counted = ("rounds", "num_generations", "keep", "prompts_per_round", "epochs_per_round", "dpo_weight")
        return found | {name: getattr(args, name) for name in counted}

    # ---- saving and resuming

    def _rows_json(self) -> list[dict[str, Any]]:
        kind = Preference.parse(self.args.preference).kind if self.args.preference else "weights"
        kind = "direction" if isinstance(self.sampler, DirectionSampler) else kind
        return [row.to_json(self.reward.objectives, kind) for row in self.rows]

    def steering_state(self) -> dict[str, Any]:
        """What every learner remembers, and the present round with its rows."""
        return super().steering_state() | {"round": self.round, "rows": self._rows_json()}

    def restore_steering(self, state: dict[str, Any]) -> None:
        """Go on from a `steering_state`."""
        super().restore_steering(state)
        self.round = state["round"]
        self.rows = [KeptRow.from_json(row, self.reward.objectives) for row in state["rows"]]
        if self.rows:
            self._data.fill(self.rows)


def _prompts(dataset: Dataset, what: str) -> list[Text]:
    if "prompt" not in dataset.column_names:
        raise InputError(f"{what} needs a column 'prompt', found {', '.join(dataset.column_names)}")
    if not len(dataset):
        raise InputError(f"{what} holds no prompts")
    return list(dataset["prompt"])


def _means(objectives: Sequence[str], rewards: Tensor) -> dict[str, float]:
    return {f"rewards/{name}/mean": float(column.nanmean()) for name, column in zip(objectives, rewards.T, strict=True)}
