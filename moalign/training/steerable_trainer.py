"""What every learner has in common: a steerable policy, a folder that is a bundle at every save, and runs that resume exactly."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from peft import LoraModel
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from frontier.atomic import write_text
from frontier.errors import unknown_name
from moalign.bundle import write_manifest
from moalign.model_card import model_card
from moalign.policy import SteerablePolicy
from moalign.scalarize.base import Scalarizer, StatefulScalarizer
from moalign.training.forward.output_layer import adapters_saved_alone
from moalign.training.rollouts.rollout import PreferenceSampler
from moalign.training.runs.checkpoints import STATE, steering_file
from moalign.training.runs.safe_trainer import SafeTrainer
from moalign.training.runs.sharded import gathered_adapters, is_sharded, remember_base
from reward_heads import Normalizer


class SteerableTrainer(SafeTrainer):
    """Mixed into a `transformers.Trainer`, before it: saving, resuming and describing; what keeps a run from being lost is `SafeTrainer`'s.

    A learner sets `policy`, `sampler`, `normalizer` and `scalarizer` in its `__init__`, calls `_activate` when the model stands, and adds what else it
    remembers to `steering_state` and `restore_steering`.
    """

    method = "steerable"
    paper: str | None = None
    policy: SteerablePolicy
    sampler: PreferenceSampler
    scalarizer: Scalarizer
    normalizer: Normalizer | None
    trained_adapters: Sequence[str] | None

    def _build_accelerator_args(self, **kwargs: Any) -> Any:
        """Every adapter takes part in every forward, so that several processes need not look for those that don't; but for experts that no token is sent to."""
        if self.args.ddp_find_unused_parameters is None:
            layers = self.policy.mixture.layers.values()
            self.args.ddp_find_unused_parameters = any(getattr(layer, "routed", False) for layer in layers)
        return super()._build_accelerator_args(**kwargs)

    def _activate(self) -> None:
        """All adapters take part in every forward; gradients reach those that this run trains."""
        for name in self.trained_adapters or ():
            if name not in self.policy.mixture.names:
                raise unknown_name("adapter", name, self.policy.mixture.names)
        cast("LoraModel", self.policy.model.base_model).set_adapter(list(self.policy.mixture.names))
        self.policy.mixture.train_adapters(self.trained_adapters)
        remember_base(self.policy)
        if (self.is_fsdp_enabled or self.is_deepspeed_enabled) and not is_sharded(self.policy.model.parameters()):
            # Trainer leaves it on the CPU until it is sharded, and references are scored before.
            self.policy.model.to(self.accelerator.device)
            # transformers' own mark: processes generate as long as the longest completion of any of them needs, for each forward takes all.
            cast("Any", self.policy.base)._is_fsdp_managed_module = self.is_fsdp_enabled

    def _checkpoint_activations(self) -> None:
        """Gradient checkpointing whose recomputation, which may run in another thread, sees the weights of its forward."""
        if self.args.gradient_checkpointing:
            options = {"use_reentrant": False, "context_fn": self.policy.mixture.checkpoint_context}
            self.policy.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=options)
            # Under both of its names, or Trainer would enable it again without the context.
            self.args.gradient_checkpointing = self.args.activation_checkpointing = False

    def describe(self) -> dict[str, Any]:
        """What `steer.json` and the model card say of the training."""
        args: Any = self.args
        kind = self.policy.conditioning.kind
        asked = args.preference or f"sampled, Dirichlet({args.concentration})"
        if self.sampler.fixed is not None and not args.preference:
            asked = "none: the scalarizer weighs the objectives"
        return {
            "method": self.method,
            **({"paper": self.paper} if self.paper else {}),
            "preferences": asked,
            **({"conditioning": kind} if kind != "adapter_mixture" else {}),
            "beta": args.beta,
            "learning_rate": args.learning_rate,
            "max_steps": args.max_steps,
            "seed": args.seed,
        }

    # ---- saving

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        folder = Path(str(output_dir or self.args.output_dir))
        with adapters_saved_alone(self.policy):
            super()._save(str(folder), state_dict)
        if not self.args.should_save:  # another process writes
            return
        (folder / "training_args.bin").unlink(missing_ok=True)  # a pickle; config.json says the same in the open
        self.policy.normalizer = self.normalizer.to_json() if self.normalizer is not None else None
        write_manifest(folder, self.policy.manifest(self._place_of(folder)))
        if folder.name.startswith(PREFIX_CHECKPOINT_DIR):
            # Before Trainer writes `trainer_state.json`, which makes a checkpoint whole, and before it deletes older ones.
            write_text(folder / STATE, json.dumps(self.steering_state()))

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Write moalign's card, which knows objectives and normaliser, where TRL would write its own."""
        self._write_card(Path(str(self.args.output_dir)))

    def _write_card(self, folder: Path) -> None:
        if self.is_world_process_zero():
            write_text(folder / "README.md", model_card(self.policy.manifest(folder)))

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write a bundle: `SteerablePolicy.from_pretrained(output_dir)` reads it, as it reads every checkpoint."""
        if is_sharded(self.policy.mixture.parameters()):
            # Trainer would gather the whole base.
            self._save(output_dir, gathered_adapters(self.policy))
        else:
            super().save_model(output_dir, _internal_call)
        if not _internal_call:
            self._write_card(Path(str(output_dir or self.args.output_dir)))

    # ---- resuming

    def resumes_exactly_after(self, step: int) -> bool:
        """Not in the middle of what one rollout serves: the rest of the rollout is in no checkpoint."""
        args: Any = self.args
        if not hasattr(args, "steps_per_generation"):
            return True
        served = args.steps_per_generation * args.num_iterations // args.gradient_accumulation_steps
        return step % max(1, served) == 0

    def steering_state(self) -> dict[str, Any]:
        """What a checkpoint has to know beyond weights and optimizer, as JSON."""
        return {
            "sampler": self.sampler.state(),
            "normalizer": self.normalizer.to_json() if self.normalizer is not None else None,
            "scalarizer": self.scalarizer.state() if isinstance(self.scalarizer, StatefulScalarizer) else None,
        }

    def restore_steering(self, state: dict[str, Any]) -> None:
        """Go on from a `steering_state`."""
        self.sampler.restore(state["sampler"])
        if isinstance(self.scalarizer, StatefulScalarizer):
            self.scalarizer.restore(state["scalarizer"])
        if state["normalizer"] is not None:
            self.normalizer = Normalizer.from_json(state["normalizer"])

    def _load_best_model(self) -> None:
        """The adapters of the best checkpoint; Trainer looks for a file that adapters in folders of their own do not leave."""
        self._load_from_checkpoint(str(self.state.best_model_checkpoint))

    def _load_from_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_checkpoint(*args, **kwargs)
        # Trainer leaves one adapter active and trainable; ours are trained together.
        self._activate()

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            self.restore_steering(json.loads(steering_file(checkpoint).read_text(encoding="utf-8")))
