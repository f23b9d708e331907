"""Train K reward heads at once on pairs, ratings or both, where any objective may be missing in any row."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, Trainer, TrainerCallback
from transformers.trainer_utils import EvalPrediction

from frontier.errors import InputError, unknown_name
from reward_heads.accuracy import agreement
from reward_heads.batching import PairCollator, TokenizedExamples, texts_of
from reward_heads.cost import check_boundary, check_flags, sign_aware_losses, sign_aware_mask
from reward_heads.examples import Example, check_every_objective_is_labelled, labelled_objectives, read_examples
from reward_heads.losses import label_counts, mean_loss
from reward_heads.model import TransformerReward
from reward_heads.normalizer import Normalizer
from reward_heads.sidecar import FILE_NAME
from reward_heads.training_config import RewardHeadsConfig

Rows = Iterable[Mapping[str, Any]]


class RewardHeadsTrainer(Trainer):
    """Train a [`TransformerReward`] with the loss of `reward_heads.losses`, or of `reward_heads.cost` for objectives whose boundary is to be at 0.

    Args:
        model (`TransformerReward`, `PreTrainedModel`, `str` or path): a reward model to go on with (also as a folder that
            `TransformerReward.save_pretrained` wrote), or a language model that gets new heads.
        args (`RewardHeadsConfig`, *optional*): settings.
        train_dataset (`Iterable[Mapping]`): pairs and ratings in any mixture, see [`read_examples`]; dictionaries or a `datasets.Dataset`.
        eval_dataset (*optional*): the same, or a mapping of names to such. Evaluation reports `eval_accuracy/OBJECTIVE` on pairs (see
            [`pairwise_accuracy`]), `eval_mse/OBJECTIVE` on ratings (in standard deviations of the training ratings, squared) and
            `eval_sign_accuracy/OBJECTIVE` on flags (how often the score is positive where the flag says safe).
        processing_class (*optional*): the tokenizer, where `model` is a language model without its own.
        callbacks, optimizers (*optional*): as for `transformers.Trainer`.

    After `train()`, `trainer.reward` is the trained reward. Ratings are standardised per objective, and the location and scale are kept in
    `reward.units`. The loss is a mean over known labels of the *whole* update, so it does not depend on how a batch is cut into
    accumulation steps or processes.

    Raises:
        InputError: a row is broken (names row and field), an objective is unknown or has no label in the whole training set, every rating of
            an objective is the same, the flags of a sign-aware objective fix no boundary, or a setting names an unknown objective.
    """

    args: RewardHeadsConfig

    def __init__(
        self,
        model: TransformerReward | PreTrainedModel | str | os.PathLike[str],
        args: RewardHeadsConfig | None = None,
        train_dataset: Rows | None = None,
        eval_dataset: Rows | Mapping[str, Rows] | None = None,
        processing_class: Any = None,
        callbacks: list[TrainerCallback] | None = None,
        optimizers: tuple[Any, Any] = (None, None),
    ) -> None:
        args = args or RewardHeadsConfig(output_dir="reward_heads_output")
        if train_dataset is None:
            raise InputError("a reward model is trained on pairs or ratings: train_dataset is missing")
        rows = list(train_dataset)
        self.reward = _reward(model, args, rows, processing_class)
        examples = read_examples(rows, self.reward.objectives, what="train_dataset")
        check_every_objective_is_labelled(examples, self.reward.objectives, what="train_dataset")
        self._sign_aware = sign_aware_mask(args.sign_aware, self.reward.objectives)
        check_boundary(examples, self.reward.objectives, self._sign_aware, what="train_dataset")
        self.rated, self.reward.units = _standardiser(examples, self.reward.objectives, self._sign_aware)
        kinds = {"pairs": any(e.is_pair for e in examples), "ratings": any(not e.is_pair for e in examples)}
        self.reward.training = "+".join(kind for kind, found in kinds.items() if found)
        self.reward.offset = torch.zeros(len(self.reward.objectives))  # the loss is on the raw outputs
        self._loss_weights = _loss_weights(args, self.reward.objectives)
        if args.disable_dropout:
            for module in self.reward.model.modules():
                if isinstance(module, nn.Dropout):
                    module.p = 0.0
        self.tokenized = self._tokenized(examples)
        super().__init__(
            model=self.reward.model,
            args=args,
            data_collator=PairCollator(self.reward),
            train_dataset=self.tokenized,
            eval_dataset=self._prepared(eval_dataset),
            processing_class=self.reward.tokenizer,
            compute_metrics=self._metrics,
            callbacks=callbacks,
            optimizers=optimizers,
        )
        # compute_loss divides by the labels of the whole update, so the Trainer must not divide by the accumulation steps again.
        self.loss_is_scaled_for_ga = True

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """`transformers.Trainer.train`, after which the scores are centred (`center_scores`)."""
        output = super().train(*args, **kwargs)
        # Mixed precision left an autocast around the model's forward: without it, the reward scores as it will when loaded again.
        self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)
        if self.args.center_scores:
            self._center()
        return output

    def evaluate(self, eval_dataset: Any = None, *args: Any, **kwargs: Any) -> dict[str, float]:
        """`transformers.Trainer.evaluate`; rows that were not given at construction are prepared first."""
        return super().evaluate(self._prepared(eval_dataset), *args, **kwargs)

    def get_batch_samples(
        self, epoch_iterator: Iterator, num_batches: int, device: torch.device
    ) -> tuple[list, Tensor | int | None]:
        """Also count, per objective, the known labels of the whole update: its accumulation steps, on every process."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        if not batches:
            return batches, None
        counts = torch.stack([label_counts(batch["targets"]) for batch in batches]).sum(dim=0).to(device)
        return batches, self.accelerator.reduce(counts, "sum")

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The loss of one batch, or of its share of an update with `num_items_in_batch` `[K]` known labels."""
        logits = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits.float()
        targets, is_pair = inputs["targets"], inputs["is_pair"]
        size = len(targets)
        others = torch.zeros_like(logits[:size]).index_put((is_pair.nonzero().squeeze(1),), logits[size:])
        predictions = logits[:size] - others
        losses = sign_aware_losses(predictions, targets, is_pair, self._sign_aware.to(targets.device))
        weights = self._loss_weights.to(losses.device)
        if isinstance(num_items_in_batch, Tensor):
            # Processes average their gradients; each holds only its part of the sum.
            loss = mean_loss(losses, num_items_in_batch, weights) * self.accelerator.num_processes
        else:
            loss = mean_loss(losses, label_counts(targets), weights)
        return (loss, {"predictions": predictions}) if return_outputs else loss

    def prediction_step(
        self, model: nn.Module, inputs: dict[str, Any], prediction_loss_only: bool, ignore_keys: list[str] | None = None
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Loss, `[B, K]` predictions, and `[B, K + 1]` labels: the targets and whether the row is a pair."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            loss, outputs = self.compute_loss(model, inputs, return_outputs=True)
        if prediction_loss_only:
            return loss, None, None
        labels = torch.cat([inputs["targets"], inputs["is_pair"][:, None].to(inputs["targets"].dtype)], dim=1)
        return loss, outputs["predictions"], labels

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        super()._save(output_dir, state_dict)
        if self.args.should_save:
            self.reward.write_sidecar(Path(output_dir or str(self.args.output_dir)))

    def _metrics(self, prediction: EvalPrediction) -> dict[str, float]:
        predictions, labels = torch.as_tensor(prediction.predictions), torch.as_tensor(prediction.label_ids)
        targets, is_pair = labels[:, :-1], labels[:, -1].bool()
        metrics = {}
        for index, (name, found) in enumerate(
            zip(self.reward.objectives, agreement(predictions[is_pair], targets[is_pair]), strict=True)
        ):
            if found.n:
                metrics[f"accuracy/{name}"] = found.accuracy
            if self._sign_aware[index]:
                flagged = ~is_pair & ~targets[:, index].isnan()
                (sign,) = agreement(predictions[flagged, index, None], targets[flagged, index, None])
                if sign.n:
                    metrics[f"sign_accuracy/{name}"] = sign.accuracy
                continue
            errors = (predictions - targets)[~is_pair, index]
            if not errors.isnan().all():
                metrics[f"mse/{name}"] = errors.square().nanmean().item()
        return metrics

    def _prepared(self, rows: Any, what: str = "eval_dataset") -> Any:
        """Rows (or a mapping of names to rows) tokenized; what is ready, the name of an evaluation set or `None` stays as it is."""
        if rows is None or isinstance(rows, TokenizedExamples | str):
            return rows
        if isinstance(rows, Mapping):
            return {name: self._prepared(part, f"eval_dataset '{name}'") for name, part in rows.items()}
        examples = read_examples(rows, self.reward.objectives, what=what)
        check_flags(examples, self.reward.objectives, self._sign_aware, what)
        return self._tokenized(examples)

    def _tokenized(self, examples: Sequence[Example]) -> TokenizedExamples:
        targets = torch.tensor([e.targets for e in examples]).reshape(len(examples), len(self.reward.objectives))
        if self.reward.units is not None:
            rated = torch.tensor([not e.is_pair for e in examples])
            targets = torch.where(rated[:, None], self.reward.units(targets), targets)
        return TokenizedExamples(examples, targets, self.reward)

    def _center(self) -> None:
        """Set `reward.offset` to the mean output over training completions, for the objectives that have no ratings."""
        items = self.tokenized.items
        step = max(1, len(items) // self.args.center_samples)
        rows = [row for item in items[::step][: self.args.center_samples] for row in texts_of(item)]
        mean = self.reward.outputs(rows).mean(dim=0)
        self.reward.offset = mean.masked_fill(torch.tensor(self.rated), 0.0)


def _reward(
    model: Any, args: RewardHeadsConfig, rows: Sequence[Mapping[str, Any]], tokenizer: Any
) -> TransformerReward:
    """The reward to train: given, saved, or new heads on a language model."""
    if isinstance(model, TransformerReward):
        reward = model
    elif isinstance(model, PreTrainedModel) and type(model).__name__.endswith("ForSequenceClassification"):
        if tokenizer is None:
            raise InputError("a model that is given loaded needs its tokenizer too: processing_class=...")
        reward = TransformerReward(model, tokenizer)
    elif not isinstance(model, PreTrainedModel) and (Path(model) / FILE_NAME).is_file():
        reward = TransformerReward.from_pretrained(model, dtype=torch.float32)
    else:
        objectives = args.objectives or labelled_objectives(rows)
        if not objectives:
            raise InputError("train_dataset: no row has a label, so there is no objective to train")
        return TransformerReward.from_base(
            model, objectives, tokenizer=tokenizer, max_length=args.max_length, seed=args.seed
        )
    if args.objectives is not None and tuple(args.objectives) != reward.objectives:
        raise InputError(
            f"objectives: the reward model has {', '.join(reward.objectives)}, found {', '.join(args.objectives)}"
        )
    reward.max_length = args.max_length or reward.max_length
    return reward


def _standardiser(
    examples: Sequence[Example], objectives: Sequence[str], sign_aware: Tensor
) -> tuple[list[bool], Normalizer | None]:
    """Which objectives have ratings or flags, and the location and scale of the ratings (0 and 1 for all others); `None` without any rating."""
    ratings = torch.tensor([e.targets for e in examples if not e.is_pair], dtype=torch.float64).reshape(
        -1, len(objectives)
    )
    known = (~ratings.isnan()).any(dim=0)
    # Flags are no quantity with a unit: standardised, their boundary would move.
    measurable = (known & ~sign_aware).tolist()
    if not any(measurable):
        return known.tolist(), None
    location, scale = [], []
    for name, column, found in zip(objectives, ratings.T, measurable, strict=True):
        measured = Normalizer.from_scores(column[:, None], [name]) if found else None
        location.append(measured.location[0] if measured else 0.0)
        scale.append(measured.scale[0] if measured else 1.0)
    return known.tolist(), Normalizer(
        tuple(objectives), tuple(location), tuple(scale), len(ratings), "training ratings"
    )


def _loss_weights(args: RewardHeadsConfig, objectives: Sequence[str]) -> Tensor:
    weights = args.objective_weights or {}
    assert isinstance(weights, dict)  # RewardHeadsConfig has read the text form
    for name in weights:
        if name not in objectives:
            raise unknown_name("objective in objective_weights", name, objectives)
    return torch.tensor([float(weights.get(name, 1.0)) for name in objectives])
