"""Train K reward heads at once on pairs, ratings and flags, where any objective may be missing in any row."""

import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset, Sampler, SequentialSampler
from transformers import PreTrainedModel, Trainer, TrainerCallback
from transformers.trainer_utils import EvalPrediction

from frontier.errors import InputError
from reward_heads.adapters import has_lora, lora_layers, merge_lora, merged_state_dict, set_trainable
from reward_heads.batching import PairCollator, TokenizedExamples, texts_of
from reward_heads.cost import check_boundary, check_flags
from reward_heads.examples import Example, check_every_objective_is_labelled, check_rows, read_examples
from reward_heads.losses.means import label_counts, mean_loss
from reward_heads.model import TransformerReward
from reward_heads.pooling import set_pooling
from reward_heads.sampling import GROUP_BY_PROMPT, PromptGroupedSampler
from reward_heads.training_config import RewardHeadsConfig
from reward_heads.training_metrics import evaluation_metrics
from reward_heads.training_setup import (
    heads_to_train,
    losses_of,
    objective_weights,
    rating_ranges,
    reward_to_train,
    targets_of,
    units_of,
)
from reward_heads.training_state import check_sizes, read_parameters, write_parameters

Rows = Iterable[Mapping[str, Any]]
LOSSES = "reward_head_losses"
"""Under this name the losses hang in the model while it is trained, so that the optimizer, gradient clipping and the device see them."""

logger = logging.getLogger(__name__)


class RewardHeadsTrainer(Trainer):
    """Train a [`TransformerReward`] with the losses of `reward_heads.losses`, chosen for each objective.

    Args:
        model (`TransformerReward`, `PreTrainedModel`, `str` or path): a reward model to go on with (also as a folder that
            `TransformerReward.save_pretrained` wrote), or a language model that gets new heads.
        args (`RewardHeadsConfig`, *optional*): settings.
        train_dataset (`Iterable[Mapping]`): pairs and ratings in any mixture, see [`read_examples`]; dictionaries or a `datasets.Dataset`.
        eval_dataset (*optional*): the same, or a mapping of names to such. Evaluation reports per objective what [`evaluation_metrics`] says, such as
            `eval_accuracy/OBJECTIVE` on pairs and `eval_mse/OBJECTIVE` on ratings, and `eval_truncated_texts`, `eval_truncated_tokens`: how many texts were cut, by how much.
        processing_class (*optional*): the tokenizer, where `model` is a language model without its own.
        callbacks, optimizers (*optional*): as for `transformers.Trainer`.

    After `train()`, `trainer.reward` is the trained reward: LoRA layers are merged, `reward.units` has location and scale of ratings, `reward.heads` what each head was taught and
    what its loss learned (ties, thresholds). The loss is a mean over known labels of the *whole* update, so it does not depend on how a batch is cut into
    accumulation steps or processes; `eval_loss` is that mean over the whole evaluation set. Checkpoints are reward models too, and go on bit for bit as if training had not stopped.

    Raises:
        InputError: a row is broken (names row and field), a rating is out of range, an objective is unknown or has no label in the whole training set, every rating of
            an objective is the same, the flags of a sign-aware objective fix no boundary, or a setting names an unknown objective. A given reward is then as it was.
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
        check_rows(train_dataset, "train_dataset")
        rows = list(train_dataset)
        # A copy (of a given reward) until everything has been accepted.
        self.reward = reward = reward_to_train(model, args, rows, processing_class)
        self._ranges = rating_ranges(args, reward.objectives)
        examples = read_examples(rows, reward.objectives, what="train_dataset", rating_range=self._ranges)
        check_every_objective_is_labelled(examples, reward.objectives, what="train_dataset")
        heads = heads_to_train(args, examples, reward.objectives, reward.heads)
        self._sign_aware = torch.tensor([head.sign_aware for head in heads])
        check_boundary(examples, reward.objectives, self._sign_aware, what="train_dataset")
        reward.units = units_of(examples, reward.objectives, heads)
        reward.heads = heads
        self.losses = losses_of(args, heads, reward.objectives)
        self._loss_weights = objective_weights(args, reward.objectives)
        self._sums = torch.zeros(2, len(heads))
        if optimizers[1] is not None and list(self.losses.parameters()):
            raise InputError(
                "a scheduler can't be given where the losses learn (ties, thresholds): their group joins the optimizer when training starts; "
                "set lr_scheduler_type, or tie_parameter"
            )
        if args.lora_rank is not None:
            lora_layers(reward.model, args.lora_target_modules)  # refuses before the rows are tokenized
            if optimizers[0] is not None:
                raise InputError("an optimizer can't be given with lora_rank: its layers are made when training starts")
        kinds = {"pairs": any(e.is_pair for e in examples), "ratings": any(not e.is_pair for e in examples)}
        reward.training = "+".join(kind for kind, found in kinds.items() if found)
        reward.offset = torch.zeros(len(reward.objectives))  # the loss is on the raw outputs
        self.tokenized = self._tokenized(examples, "train_dataset")
        super().__init__(
            model=reward.model,
            args=args,
            data_collator=PairCollator(reward),
            train_dataset=self.tokenized,
            eval_dataset=self._prepared(eval_dataset),
            processing_class=reward.tokenizer,
            compute_metrics=self._metrics,
            callbacks=callbacks,
            optimizers=optimizers,
        )
        if isinstance(model, TransformerReward):
            vars(model).update(vars(reward))
            self.reward = model
        if args.pooling is not None:
            set_pooling(reward.model, args.pooling)
        if args.disable_dropout:
            _disable_dropout(reward.model)
        # compute_loss divides by the labels of the whole update, so the Trainer must not divide by the accumulation steps again.
        self.loss_is_scaled_for_ga = True

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler | None:
        """`transformers.Trainer._get_train_sampler`, which does not know prompts."""
        if self.args.train_sampling_strategy == GROUP_BY_PROMPT:
            return PromptGroupedSampler(self.tokenized.prompts)
        sampler: Sampler | None = super()._get_train_sampler(train_dataset)
        return sampler

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """`transformers.Trainer.train`, after which LoRA layers are merged and the scores are centred (`center_scores`)."""
        self._begin()
        try:
            output = super().train(*args, **kwargs)
        finally:
            self._finish()
        # Mixed precision left an autocast around the model's forward: without it, the reward scores as it will when loaded again.
        self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)
        if self.args.center_scores:
            self._center()
        return output

    def evaluate(self, eval_dataset: Any = None, *args: Any, **kwargs: Any) -> dict[str, float]:
        """`transformers.Trainer.evaluate`; rows that were not given at construction are prepared first."""
        return super().evaluate(self._prepared(eval_dataset), *args, **kwargs)

    def predict(self, test_dataset: Any, *args: Any, **kwargs: Any) -> Any:
        """`transformers.Trainer.predict` on rows: `predictions` are `[N, K]` outputs (of pairs, differences), `label_ids` the targets and whether the row is a pair, in the order of the rows."""
        check_rows(test_dataset, "test_dataset")
        return super().predict(self._prepared(test_dataset, "test_dataset"), *args, **kwargs)

    def get_test_dataloader(self, test_dataset: Any) -> DataLoader:
        """`transformers.Trainer.get_test_dataloader`, in the order of the rows: batches of like length would shuffle what `predict` returns."""
        return self._get_dataloader(
            dataset=test_dataset,
            description="test",
            batch_size=self.args.eval_batch_size,
            sampler_fn=lambda rows: SequentialSampler(test_dataset),
        )

    def evaluation_loop(
        self,
        dataloader: Any,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> Any:
        """`transformers.Trainer.evaluation_loop`, with the mean loss of all labels, however they fall into batches; it also says how many of the texts were cut."""
        self._sums = torch.zeros(2, len(self.reward.objectives), device=self.args.device)
        output = super().evaluation_loop(dataloader, description, prediction_loss_only, ignore_keys, metric_key_prefix)
        assert output.metrics is not None
        losses, counts = self.accelerator.reduce(self._sums, "sum")
        weights = self._loss_weights.to(losses.device)
        output.metrics[f"{metric_key_prefix}_loss"] = mean_loss(losses[None], counts, weights).item()
        output.metrics.update(_truncation_metrics(dataloader.dataset, f"{metric_key_prefix}_"))
        return output

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """`transformers.Trainer.log`; the summary of a training also says how many of its texts were cut."""
        if "train_runtime" in logs:
            logs.update(_truncation_metrics(self.tokenized, "train_"))
        super().log(logs, *args, **kwargs)

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """`transformers.Trainer.create_optimizer`, with a group of its own for what the losses learn (`loss_learning_rate`, no weight decay)."""
        learned = list(self.losses.parameters())
        made = self.optimizer
        if made is None:
            # Hidden from the Trainer, which would give them the rate and the weight decay of the model.
            for weight in learned:
                weight.requires_grad_(False)
            made = super().create_optimizer(model)
            for weight in learned:
                weight.requires_grad_(True)
        present = {id(weight) for group in made.param_groups for weight in group["params"]}
        if learned and id(learned[0]) not in present:
            group = {"params": learned, "lr": self.args.loss_learning_rate, "weight_decay": 0.0}
            made.add_param_group(group)
        return made

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
        predictions, losses = self._losses(model, inputs)
        weights = self._loss_weights.to(losses.device)
        if isinstance(num_items_in_batch, Tensor):
            # Processes average their gradients; each holds only its part of the sum.
            loss = mean_loss(losses, num_items_in_batch, weights) * self.accelerator.num_processes
        else:
            loss = mean_loss(losses, label_counts(inputs["targets"]), weights)
        return (loss, {"predictions": predictions, "losses": losses}) if return_outputs else loss

    def _losses(self, model: nn.Module, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """`[B, K]` predictions (of pairs, differences) and the `[B, K]` losses of their labels."""
        logits = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits.float()
        logits = logits[inputs["texts"]]
        targets, is_pair = inputs["targets"], inputs["is_pair"]
        size = len(targets)
        others = torch.zeros_like(logits[:size]).index_put((is_pair.nonzero().squeeze(1),), logits[size:])
        predictions = logits[:size] - others
        return predictions, self.losses.to(logits.device)(predictions, targets, is_pair, inputs.get("margins"))

    def prediction_step(
        self, model: nn.Module, inputs: dict[str, Any], prediction_loss_only: bool, ignore_keys: list[str] | None = None
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Loss, `[B, K]` predictions, and `[B, K + 1]` labels: the targets and whether the row is a pair."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            loss, outputs = self.compute_loss(model, inputs, return_outputs=True)
        sums = torch.stack([outputs["losses"].sum(dim=0), label_counts(inputs["targets"])])
        self._sums = self._sums.to(sums.device) + sums
        if prediction_loss_only:
            return loss, None, None
        labels = torch.cat([inputs["targets"], inputs["is_pair"][:, None].to(inputs["targets"].dtype)], dim=1)
        return loss, outputs["predictions"], labels

    def _begin(self) -> None:
        """Hang what only training needs into the model: LoRA layers, and what the losses learn."""
        args, model = self.args, self.reward.model
        if args.lora_rank is not None or args.freeze_trunk:
            trainable = "heads" if args.lora_rank is None else "lora"
            alpha, targets = args.lora_alpha, args.lora_target_modules
            set_trainable(
                self.reward, trainable, args.lora_rank or 1, args.seed, lora_alpha=alpha, target_modules=targets
            )
            self.optimizer = self.optimizer if args.lora_rank is None else None
        learned = list(self.losses.named_parameters())
        if not learned:
            return
        model.add_module(LOSSES, self.losses)
        # They are used outside the model's forward pass, where DistributedDataParallel would not look for them: processes average their gradients here.
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(
            model, [f"{LOSSES}.{name}" for name, _ in [*learned, *self.losses.named_buffers()]]
        )
        self._hooks = [weight.register_hook(self._average_over_processes) for _, weight in learned]

    def _finish(self) -> None:
        """Make the model an ordinary one again."""
        model = self.reward.model
        if LOSSES in model._modules:
            del model._modules[LOSSES]
            for hook in self._hooks:
                hook.remove()
        self.reward.heads = self.losses.heads()
        if self.args.lora_rank is not None:
            merge_lora(model)
        if self.args.lora_rank is not None or self.args.freeze_trunk:
            model.requires_grad_(True)

    def _average_over_processes(self, gradient: Tensor) -> Tensor:
        return self.accelerator.reduce(gradient, "mean") if self.accelerator.num_processes > 1 else gradient

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        folder = Path(output_dir or str(self.args.output_dir))
        with_lora = has_lora(self.reward.model)
        super()._save(output_dir, merged_state_dict(self.reward.model) if with_lora else state_dict)
        if not self.args.should_save:
            return
        self.reward.heads = self.losses.heads()
        self.reward.write_sidecar(folder)
        if self.is_in_train:
            write_parameters(folder, self._own_parameters())

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        if not has_lora(self.reward.model):
            check_sizes(resume_from_checkpoint, self.reward.model)
            super()._load_from_checkpoint(resume_from_checkpoint, model)
        read_parameters(resume_from_checkpoint, self._own_parameters())

    def _load_best_model(self) -> None:
        if not has_lora(self.reward.model):
            super()._load_best_model()
        read_parameters(str(self.state.best_model_checkpoint), self._own_parameters())

    def _own_parameters(self) -> dict[str, Tensor]:
        """What a checkpoint's model file does not hold as it is trained: LoRA layers with the heads beside them, and what the losses learn."""
        found: dict[str, Tensor] = {f"{LOSSES}.{name}": weight for name, weight in self.losses.named_parameters()}
        if has_lora(self.reward.model):
            found |= {name: weight for name, weight in self.reward.model.named_parameters() if weight.requires_grad}
        return found

    def _metrics(self, prediction: EvalPrediction) -> dict[str, float]:
        predictions, labels = torch.as_tensor(prediction.predictions), torch.as_tensor(prediction.label_ids)
        targets, is_pair = labels[:, :-1], labels[:, -1].bool()
        return evaluation_metrics(predictions, targets, is_pair, self.reward.objectives, self.losses.heads())

    def _prepared(self, rows: Any, what: str = "eval_dataset") -> Any:
        """Rows (or a mapping of names to rows) tokenized; what is ready, the name of an evaluation set or `None` stays as it is."""
        if rows is None or isinstance(rows, TokenizedExamples | str):
            return rows
        if isinstance(rows, Mapping):
            return {name: self._prepared(part, f"{what} '{name}'") for name, part in rows.items()}
        examples = read_examples(rows, self.reward.objectives, what=what, rating_range=self._ranges)
        check_flags(examples, self.reward.objectives, self._sign_aware, what)
        return self._tokenized(examples, what)

    def _tokenized(self, examples: Sequence[Example], what: str) -> TokenizedExamples:
        reward = self.reward
        targets = targets_of(examples, reward.objectives, reward.heads, reward.units, what)
        found = TokenizedExamples(examples, targets, reward)
        if found.truncation.cut:
            logger.warning(
                "%s: %s", what, found.truncation.describe(reward.max_length, reward.tokenizer.truncation_side)
            )
        return found

    def _center(self) -> None:
        """Set `reward.offset` to the mean output over training completions, for the objectives that have no ratings."""
        items = self.tokenized.items
        n = min(self.args.center_samples, len(items))
        rows = [row for i in range(n) for row in texts_of(items[i * len(items) // n])]
        mean = self.reward.outputs(rows).mean(dim=0)
        rated = torch.tensor([head.ratings is not None for head in self.reward.heads])
        self.reward.offset = mean.masked_fill(rated, 0.0)


def _disable_dropout(model: nn.Module) -> None:
    """Layers, and the rates that OPT, BART or Llama keep as numbers for dropout as a function."""
    for module in model.modules():
        if isinstance(module, _DropoutNd):
            module.p = 0.0
        for name, value in list(vars(module).items()):
            if "dropout" in name and isinstance(value, float):
                setattr(module, name, 0.0)


def _truncation_metrics(dataset: Any, prefix: str) -> dict[str, float]:
    if not isinstance(dataset, TokenizedExamples):
        return {}
    cut = dataset.truncation
    return {f"{prefix}truncated_texts": cut.cut, f"{prefix}truncated_tokens": cut.tokens}
