"""The settings that every learner shares: how the policy is told its preference, and which preferences it is trained at."""

from dataclasses import dataclass, field
from typing import Any

import torch
from peft import LoraConfig
from transformers import PreTrainedModel

from frontier.errors import InputError, unknown_name
from moalign.conditioning.base import Conditioning
from moalign.conditioning.prompt import STYLES

CONDITIONINGS = ("adapter_mixture", "prompt", "none")


@dataclass
class SteeringConfig:
    """Mixed into a learner's configuration, before TRL's.

    Deviations from TRL's defaults: bf16 and gradient checkpointing only where there is a GPU; a learning rate that suits LoRA.
    """

    learning_rate: float = field(default=1e-4, metadata={"help": "Initial learning rate; the default suits LoRA."})
    gradient_checkpointing: bool | None = field(
        default=None, metadata={"help": "Recompute activations to save memory. Defaults to true where there is a GPU."}
    )
    conditioning: str = field(
        default="adapter_mixture",
        metadata={
            "help": "How the policy is told the preference: adapter_mixture (a LoRA per objective), prompt (in words, one LoRA) or none (one LoRA for one preference).",
            "choices": CONDITIONINGS,
        },
    )
    prompt_style: str = field(
        default="plain",
        metadata={
            "help": "Wording of the preference under conditioning prompt: plain or dpa.",
            "choices": tuple(STYLES),
        },
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
    lora_r: int = field(default=16, metadata={"help": "Rank of each LoRA."})
    lora_alpha: int = field(default=32, metadata={"help": "Alpha of each LoRA."})
    lora_dropout: float = field(default=0.0, metadata={"help": "Dropout of each LoRA."})
    lora_target_modules: str = field(
        default="all-linear",
        metadata={
            "help": "Where the LoRAs go: all-linear, attention, not-attention, output, or module names separated by commas."
        },
    )
    shared_target_modules: str | None = field(
        default=None,
        metadata={"help": "Where a LoRA goes that all preferences share (adapter_mixture only); none by default."},
    )

    stop_on_nan: bool = field(
        default=True,
        metadata={
            "help": "Stop at a loss, gradient or weight that is not finite and say at which rows; false trains on, as transformers would."
        },
    )

    def settle(self) -> None:
        """Fill in what depends on the machine and refuse what does not fit together; learners call it before TRL's own checks.

        Raises:
            InputError: an unknown conditioning or style, or settings that do not combine.
        """
        for name, value, allowed in (
            ("conditioning", self.conditioning, CONDITIONINGS),
            ("prompt_style", self.prompt_style, tuple(STYLES)),
        ):
            if value not in allowed:
                raise unknown_name(name, value, allowed)
        if self.shared_target_modules is not None and self.conditioning != "adapter_mixture":
            raise InputError(
                f"shared_target_modules goes with conditioning adapter_mixture, found {self.conditioning}, which has one adapter anyway"
            )
        args: Any = self  # what follows are TRL's fields
        if args.n_gpu > 1:
            raise InputError(
                "several GPUs need a process each: start with `accelerate launch`, or set CUDA_VISIBLE_DEVICES to one of them"
            )
        on_gpu = torch.cuda.is_available() and not args.use_cpu
        if args.bf16 is None:
            args.bf16 = on_gpu and not args.fp16
        if args.disable_tqdm is None:
            args.disable_tqdm = False  # transformers would hide the bar together with its log messages
        if args.gradient_checkpointing is None:
            args.gradient_checkpointing = on_gpu

    def make_conditioning(self, objectives: tuple[str, ...]) -> Conditioning:
        """The conditioning of a fresh policy."""
        from moalign.conditioning.adapter_mixture import MixtureConditioning
        from moalign.conditioning.prompt import PromptConditioning
        from moalign.conditioning.unconditioned import Unconditioned

        if self.conditioning == "prompt":
            return PromptConditioning(objectives, self.prompt_style)
        if self.conditioning == "none":
            return Unconditioned(objectives)
        return MixtureConditioning(objectives, self.shared_target_modules is not None)

    def lora_config(self, model: PreTrainedModel, targets: str | None = None) -> LoraConfig:
        """The configuration of an adapter on `targets`, by default those of every objective's adapter."""
        from moalign.conditioning.targets import target_modules

        return LoraConfig(
            r=self.lora_r,
            lora_alpha=self.lora_alpha,
            lora_dropout=self.lora_dropout,
            target_modules=target_modules(model, targets or self.lora_target_modules),
            task_type="CAUSAL_LM",
        )
