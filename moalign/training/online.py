"""Online RL on a reward vector: TRL's RLOO with a preference per row, a scalarizer, and the reference for free."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from accelerate.utils import gather
from datasets import Dataset
from peft import LoraConfig, LoraModel
from scipy.stats import spearmanr
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl import RLOOConfig, RLOOTrainer

from frontier.atomic import write_text
from frontier.errors import InputError
from moalign.bundle import write_manifest
from moalign.evaluation import measure_normalizer
from moalign.model_card import model_card
from moalign.policy import SteerablePolicy
from moalign.preference import Preference
from moalign.scalarize.base import Scalarizer, StatefulScalarizer
from moalign.scalarize.linear import Linear
from moalign.training.rollout import PreferenceSampler, RolloutRows
from moalign.training.run_folder import watch, write_config
from moalign.training.starting_policy import starting_policy
from reward_heads import Normalizer, VectorReward, as_reward_funcs

STATE = "steering_state.json"
# Options of TRL's that would quietly undo the steering.
_REFUSED = {
    "use_vllm": "vLLM applies one adapter per request and would generate unsteered completions",
    "use_transformers_continuous_batching": "it regroups the rows of a batch, and each row has its own weights",
    "sync_ref_model": "the reference is the base model, which must stay as it is for the weights to keep their meaning",
    "reward_weights": "each prompt brings its own weights; set `preference` to train for one of them",
}


@dataclass
class OnlineConfig(RLOOConfig):
    """Configuration of the online learner: TRL's `RLOOConfig` plus the preference and the adapters.

    Deviations from TRL's defaults: bf16 and gradient checkpointing only where there is a GPU; a learning rate that suits LoRA.
    """

    learning_rate: float = field(default=1e-4, metadata={"help": "Initial learning rate; the default suits LoRA."})
    gradient_checkpointing: bool | None = field(  # type: ignore[assignment]
        default=None, metadata={"help": "Recompute activations to save memory. Defaults to true where there is a GPU."}
    )
    concentration: float = field(
        default=1.0,
        metadata={"help": "Dirichlet concentration of the sampled preferences: 1 is uniform, below 1 favours corners."},
    )
    preference: str | None = field(
        default=None,
        metadata={"help": "Train for this one preference (helpful=0.7,brief=0.3) instead of sampling preferences."},
    )
    normalize_rewards: bool = field(
        default=True,
        metadata={"help": "Centre and scale each reward by the reference policy, so that weights share a unit."},
    )
    normalizer_samples: int = field(
        default=256, metadata={"help": "Completions of the reference policy that location and scale are measured on."}
    )
    lora_r: int = field(default=16, metadata={"help": "Rank of each objective's LoRA."})
    lora_alpha: int = field(default=32, metadata={"help": "Alpha of each objective's LoRA."})
    lora_dropout: float = field(default=0.0, metadata={"help": "Dropout of each objective's LoRA."})
    lora_target_modules: str = field(
        default="all-linear", metadata={"help": "Target modules, separated by commas, or all-linear."}
    )

    def __post_init__(self) -> None:
        for name, why in _REFUSED.items():
            if getattr(self, name):
                raise InputError(f"{name} cannot be used: {why}")
        on_gpu = torch.cuda.is_available() and not self.use_cpu
        if self.bf16 is None:
            self.bf16 = on_gpu and not self.fp16
        if self.disable_tqdm is None:  # transformers would hide the bar together with its log messages
            self.disable_tqdm = False
        if self.gradient_checkpointing is None:
            self.gradient_checkpointing = on_gpu
        super().__post_init__()

    def lora_config(self) -> LoraConfig:
        """The configuration of every objective's adapter."""
        targets = self.lora_target_modules
        return LoraConfig(
            r=self.lora_r,
            lora_alpha=self.lora_alpha,
            lora_dropout=self.lora_dropout,
            target_modules=targets if targets == "all-linear" else [t.strip() for t in targets.split(",")],
            task_type="CAUSAL_LM",
        )


class _Reference:
    """Stands for the policy with all weights at zero where TRL expects a reference model."""


class OnlineTrainer(RLOOTrainer):
    r"""REINFORCE leave-one-out on a scalarized reward vector, with a policy that is told its preference per row.

    For a prompt group with preference w (and KL weight α under KL-mixing, α = 0 otherwise) it ascends

    $$ E_{y \sim \pi_w} [ (1 - \alpha) \, s(r(x, y) \mid w) - \beta_\alpha \log \pi_w(y|x) / \pi_{ref}(y|x) ] $$

    with β_α = α under KL-mixing and `args.beta` otherwise. Gradients reach every adapter. The reference log-probs come from the same model with all
    weights at zero, so no second model is held. TRL's long methods are untouched: only `_calculate_rewards`, the log-prob helper (to hand each chunk its
    rows' weights) and thin wrappers are overridden.

    Args:
        model (`str`, `PreTrainedModel` or `SteerablePolicy`): a base model, which gets one fresh LoRA per objective, or a policy to train further.
        reward (`VectorReward`): the reward vector; its objectives name the adapters.
        args (`OnlineConfig`): settings.
        train_dataset, eval_dataset (`datasets.Dataset`): with a `prompt` column.
        processing_class (`PreTrainedTokenizerBase`, *optional*): the base's tokenizer by default.
        scalarizer (`Scalarizer`, *optional*): the weighted sum by default.
        normalizer (`Normalizer`, *optional*): measured on the reference policy's completions by default.
        adapters (`Sequence[str]`, *optional*): the objectives whose adapters are trained; all by default.

    Raises:
        InputError: objectives that do not fit the policy's, no `prompt` column, a reward that is infinite.
    """

    _tag_names = ["moalign", "rloo"]  # noqa: RUF012 - TRL's own attribute
    method = "online"
    args: OnlineConfig
    paper: str | None = None

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
        self.policy = starting_policy(model, reward.objectives, args.lora_config(), args.seed, processing_class)
        self.reward = reward
        self.scalarizer = scalarizer or Linear()
        self.normalizer = normalizer.select(reward.objectives) if normalizer is not None else None
        self.trained_adapters = adapters
        preference = Preference.parse(args.preference, reward.objectives) if args.preference else None
        self.sampler = PreferenceSampler(
            tuple(reward.objectives), args.concentration, preference, self.alpha_range(args), args.seed
        )
        self._rollout: RolloutRows | None = None
        self._old_log_probs: Tensor | None = None
        peft_model = self.policy.model
        # TRL copies the adapter "default" to a frozen "ref": lend it the name, then take both away again. The reference here is weight zero.
        peft_model.peft_config["default"] = peft_model.peft_config[self.policy.objectives[0]]
        super().__init__(
            model=peft_model,
            reward_funcs=[*as_reward_funcs(reward), cast("Callable[..., list[float | None]]", _scalarized)],
            args=args,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            processing_class=self.policy.tokenizer,
            **kwargs,
        )
        peft_model.delete_adapter("ref")
        del peft_model.peft_config["default"]
        self._activate()
        self.ref_model: Any = _Reference()
        # The scalarized value sits in the last column: the others are logged by TRL, unweighted.
        self.reward_weights = torch.tensor([0.0] * len(reward.objectives) + [1.0])
        if args.gradient_checkpointing:
            options = {"use_reentrant": False, "context_fn": self.policy.mixture.checkpoint_context}
            peft_model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=options)
            args.gradient_checkpointing = False  # else Trainer would enable it again without the context
        watch(self)

    def _activate(self) -> None:
        """All adapters take part in every forward; gradients reach those that this run trains."""
        cast("LoraModel", self.policy.model.base_model).set_adapter(list(self.policy.objectives))
        self.policy.mixture.train_adapters(self.trained_adapters)

    def _group_size(self) -> int:
        """Completions per prompt in the present mode."""
        return cast("int", self.num_generations if self.policy.model.training else self.num_generations_eval)

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
        start = self.accelerator.process_index * len(inputs)
        self._rollout = everyone.rows(start, start + len(inputs))
        mixture_weights = self._rollout.mixture_weights.to(self.accelerator.device)
        output = super()._generate_and_score_completions(inputs)
        output["mixture_weights"] = mixture_weights
        self._rollout = self._old_log_probs = None
        return output

    def _generate_single_turn(self, *args: Any, **kwargs: Any) -> Any:
        with self.policy.mixture.steer(self._rows().mixture_weights):
            return super()._generate_single_turn(*args, **kwargs)

    def _rows(self) -> RolloutRows:
        if self._rollout is None:
            raise RuntimeError("no rollout is under way: TRL called a rollout helper from somewhere new")
        return self._rollout

    def _get_per_token_logps_and_entropies(
        self,
        model: nn.Module | _Reference,
        input_ids: Tensor,
        attention_mask: Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        if batch_size is None:  # the loss: one chunk, steered by `compute_loss`
            return super()._get_per_token_logps_and_entropies(
                model, input_ids, attention_mask, logits_to_keep, **kwargs
            )
        rows = self._rows()
        is_reference = isinstance(model, _Reference)
        weights = torch.zeros_like(rows.weights) if is_reference else rows.mixture_weights
        chunks = []
        for start in range(0, len(input_ids), batch_size):
            chunk = slice(start, start + batch_size)
            with self.policy.mixture.steer(weights[chunk]):
                chunks.append(
                    super()._get_per_token_logps_and_entropies(
                        self.model, input_ids[chunk], attention_mask[chunk], logits_to_keep, **kwargs
                    )[0]
                )
        log_probs = torch.cat(chunks)
        if not is_reference:
            self._old_log_probs = log_probs
        elif self.sampler.alpha_range is not None:
            # TRL subtracts beta * (old - ref). A reference moved to old - (alpha / beta)(old - ref) makes that alpha * (old - ref), row by row.
            assert self._old_log_probs is not None  # TRL scores the policy before the reference
            share = (rows.alpha.to(log_probs.device) / self.beta).unsqueeze(1)
            log_probs = self._old_log_probs - share * (self._old_log_probs - log_probs)
        return log_probs, None, None

    def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any) -> Tensor:
        rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        vector = rewards[:, :-1]
        if vector.isinf().any():
            column = int(vector.isinf().any(0).nonzero()[0])
            raise InputError(
                f"reward '{self.reward.objectives[column]}' is infinite for a completion: rewards must be finite, or NaN where unknown"
            )
        rows = self._rows()
        weights = gather(rows.weights.to(rewards.device))
        alpha = gather(rows.alpha.to(rewards.device))
        normalized = self.normalizer(vector) if self.normalizer is not None else vector
        if isinstance(self.scalarizer, StatefulScalarizer) and self.policy.model.training:
            self.scalarizer.observe(normalized)  # before the update that it steers, and on the gathered batch
            for name, value in self.scalarizer.metrics().items():
                self._metrics["train"][name].append(value)
        rewards[:, -1] = (1 - alpha) * self.scalarizer(normalized, weights)
        self._log_steering(weights, normalized)
        return rewards

    def _log_steering(self, weights: Tensor, rewards: Tensor) -> None:
        """Spearman between w_k and r_k over the prompt groups of the batch, and the steering error 1 − its mean over objectives."""
        mode, group = "train" if self.policy.model.training else "eval", self._group_size()
        asked = weights[::group].cpu()
        got = rewards.view(-1, group, rewards.shape[1]).nanmean(1).cpu()
        values = []
        for k, name in enumerate(self.reward.objectives):
            if len(asked) > 2 and asked[:, k].std() > 0 and got[:, k].std() > 0:
                value = float(spearmanr(asked[:, k], got[:, k]).statistic)
                self._metrics[mode][f"steering/{name}"].append(value)
                values.append(value)
        if values:
            self._metrics[mode]["steering_error"].append(1 - sum(values) / len(values))

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Tensor:
        """TRL's RLOO loss, with every row under the preference that it was rolled out with."""
        weights = inputs.pop("mixture_weights")
        with self.policy.mixture.steer(weights):
            return super().compute_loss(model, inputs, *args, **kwargs)

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
        return super().train(resume_from_checkpoint, *args, **kwargs)

    def describe(self) -> dict[str, Any]:
        """What `steer.json` and the model card say of the training."""
        asked = self.args.preference or f"sampled, Dirichlet({self.args.concentration})"
        return {
            "method": self.method,
            **({"paper": self.paper} if self.paper else {}),
            "preferences": asked,
            "beta": self.args.beta,
            "learning_rate": self.args.learning_rate,
            "max_steps": self.args.max_steps,
            "completions_per_step": self.args.generation_batch_size,
            "seed": self.args.seed,
        }

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        folder = Path(str(output_dir or self.args.output_dir))
        super()._save(str(folder), state_dict)
        (folder / "training_args.bin").unlink(missing_ok=True)  # a pickle; config.json says the same in the open
        self.policy.normalizer = self.normalizer.to_json() if self.normalizer is not None else None
        write_manifest(folder, self.policy.manifest(folder))

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Write moalign's card, which knows objectives and normaliser, where TRL would write its own."""
        if self.is_world_process_zero():
            folder = Path(str(self.args.output_dir))
            write_text(folder / "README.md", model_card(self.policy.manifest(folder)))

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write a bundle: `SteerablePolicy.from_pretrained(output_dir)` reads it, as it reads every checkpoint."""
        super().save_model(output_dir, _internal_call)
        if not _internal_call:
            self.create_model_card()

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        if self.args.should_save:
            folder = Path(self._get_output_dir(trial=trial)) / f"checkpoint-{self.state.global_step}"
            state = {
                "sampler": self.sampler.state(),
                "normalizer": self.normalizer.to_json() if self.normalizer is not None else None,
                "scalarizer": self.scalarizer.state() if isinstance(self.scalarizer, StatefulScalarizer) else None,
            }
            write_text(folder / STATE, json.dumps(state))

    def _load_from_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_checkpoint(*args, **kwargs)
        # Trainer leaves one adapter active and trainable; ours are trained together.
        self._activate()

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            path = Path(checkpoint) / STATE
            if not path.is_file():
                raise InputError(
                    f"{checkpoint} has no {STATE}: it was not written by moalign and cannot be resumed exactly"
                )
            state = json.loads(path.read_text(encoding="utf-8"))
            self.sampler.restore(state["sampler"])
            if isinstance(self.scalarizer, StatefulScalarizer):
                self.scalarizer.restore(state["scalarizer"])
            if state["normalizer"] is not None:
                self.normalizer = Normalizer.from_json(state["normalizer"])


def _scalarized(completions: Sequence[Any], **kwargs: Any) -> list[float]:
    """Room for the scalarized reward in TRL's table of reward functions; `_calculate_rewards` fills it in."""
    return [0.0] * len(completions)


_scalarized.__name__ = "scalarized"
