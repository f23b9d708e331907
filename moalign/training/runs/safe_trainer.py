"""A Trainer whose runs are not lost: whole checkpoints or none, a signal saves, what cannot go on stops with its cause."""

import errno
import math
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import broadcast_object_list, gather_object
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, rotate_checkpoints

from frontier.errors import InputError
from moalign.training.runs.batch_rows import batch_rows, rows_name
from moalign.training.runs.checkpoints import (
    TRAINER_STATE,
    checked,
    latest_checkpoint,
    publish,
    remove_unfinished,
    saving_folder,
)
from moalign.training.runs.record import recorded
from moalign.training.runs.stopping import RunStopped, StopSignals, stopped_by

if TYPE_CHECKING:
    from transformers import Trainer

    _Trainer = Trainer
else:
    _Trainer = object

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# What torch's archive writer says where the system said ENOSPC.
_TORCH_WRITER = ("PytorchStreamWriter", "inline_container", "iostream")


class SafeTrainer(_Trainer):
    """Mixed into a `transformers.Trainer`, before it.

    - A checkpoint is written by Trainer into a hidden folder, read back, sealed with checksums and renamed; only then older ones go. One process seals and
      renames, after all have written; without a disk that the machines share, set `save_on_each_node`.
    - SIGTERM and Ctrl-C let the step under way end (of a rollout that serves several steps, the last of them), save, and raise `RunTerminated` or
      `RunInterrupted`. Processes agree on the step.
    - A loss, gradient norm or weight that is not finite stops the run before the update, and a disk that is full while it saves, with `RunStopped`.
    """

    _saving: Path | None = None
    _saved_step = -1
    _signals: StopSignals
    _asked = 0
    _update: list[tuple[Tensor, Any]]

    # ---- the run

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        """Trainer's `train`, watched.

        Raises:
            RunStopped: the run cannot go on.
            RunTerminated, RunInterrupted: a signal came, and the run was saved. The first is a `SystemExit` of code 143, the second a `KeyboardInterrupt`.
        """
        if getattr(self.args, "enable_jit_checkpoint", False):
            raise InputError(
                "enable_jit_checkpoint saves in the middle of a step, which cannot be resumed exactly: leave it out, SIGTERM saves anyway"
            )
        self.accelerator.wait_for_everyone()  # no process still writes what it does before
        if self.args.should_save:
            remove_unfinished(Path(str(self.args.output_dir)))
        self.accelerator.wait_for_everyone()
        self._update, self._asked, self._saved_step = [], 0, -1
        guard = _AtStepEnd(self)
        self.add_callback(guard)
        try:
            with StopSignals() as self._signals, recorded(self, resume_from_checkpoint):
                return self._train(resume_from_checkpoint, *args, **kwargs)
        finally:
            self.remove_callback(guard)

    def _train(self, *args: Any, **kwargs: Any) -> Any:
        try:
            result = super().train(*args, **kwargs)
            self._agree(False)
            if self._asked:  # after the last step
                if self._saved_step != self.state.global_step:
                    self._save_checkpoint(self.model_wrapped, None)
                raise stopped_by(self._asked, self.state.global_step, self._checkpoint_path())
            return result
        except OSError as error:
            if error.errno not in _FULL:
                raise
            raise self._not_written(error) from error

    def checkpoint(self, resume: str | bool | None) -> str | None:
        """The checkpoint that `resume_from_checkpoint` means: a path, or (`True`) the latest whole one in the output folder; its checksums are verified.

        Raises:
            InputError: there is none, or the path's is not whole.
        """
        if not resume:
            return None
        if resume is not True:
            return str(checked(resume))
        found = [latest_checkpoint(str(self.args.output_dir)) if self.is_world_process_zero() else None]
        if self.accelerator.num_processes > 1:  # all go on from the same one
            broadcast_object_list(found)
        return str(found[0] or latest_checkpoint(str(self.args.output_dir), required=True))

    def resumes_exactly_after(self, step: int) -> bool:
        """Whether a checkpoint after this step would hold all that the next one needs."""
        return True

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        if self.state.global_step < self.state.max_steps:
            super()._run_epoch(*args, **kwargs)
        else:  # resumed when all steps were done: Trainer would train one more before it looks
            self.control.should_training_stop = True

    # ---- saving

    def _get_output_dir(self, trial: Any) -> str:
        return super()._get_output_dir(trial) if self._saving is None else str(self._saving)

    def _place_of(self, folder: Path) -> Path:
        """Where a folder that is being written will stand."""
        return folder.parent.parent / folder.name if folder.parent == self._saving else folder

    def _checkpoint_path(self) -> Path:
        return Path(super()._get_output_dir(None)) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        self._check_weights()
        run, name = Path(super()._get_output_dir(trial)), f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        self._saving = saving = saving_folder(run, self.state.global_step)
        try:
            with self._written_everywhere():
                super()._save_checkpoint(model, trial)
                self._settle_best(saving, run)
            with self._written_everywhere():
                if self.args.should_save:
                    publish(saving / name, run / name)
                    best, limit = self.state.best_model_checkpoint, self.args.save_total_limit
                    rotate_checkpoints(str(run), limit, best, use_mtime=True)
        finally:
            self._saving = None
            if self.args.should_save:
                shutil.rmtree(saving, ignore_errors=True)
        self._saved_step = self.state.global_step
        if self.args.push_to_hub:
            self._push_from_checkpoint(str(run / name))

    @contextmanager
    def _written_everywhere(self) -> Iterator[None]:
        """Processes wait for each other at the end of the block; where one of them could not write, all stop and name its reason."""
        failure: Exception | None = None
        try:
            yield
        except (OSError, RuntimeError, SafetensorError) as error:
            if isinstance(error, RuntimeError) and not any(part in str(error) for part in _TORCH_WRITER):
                raise
            failure = error
        found = [self._not_written(failure) if failure is not None else None]
        everywhere = gather_object(found) if self.accelerator.num_processes > 1 else found
        stops = [stop for stop in everywhere if stop is not None]
        if stops:
            raise stops[0] from failure

    def _settle_best(self, saving: Path, run: Path) -> None:
        """Let the best checkpoint, if it is the present one, be known by the name that it is about to get."""
        best = self.state.best_model_checkpoint
        if best is not None and Path(best).parent == saving:
            self.state.best_model_checkpoint = str(run / Path(best).name)
            if self.args.should_save:
                self.state.save_to_json(str(saving / Path(best).name / TRAINER_STATE))

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        if self._saving is None:  # not while its folder is still to be renamed
            super()._push_from_checkpoint(checkpoint_folder)

    def _not_written(self, error: Exception) -> RunStopped:
        run = Path(str(self.args.output_dir))
        inside = [path for path in run.glob(".*.saving/**/*") if path.is_file()]
        newest = max(inside, key=lambda path: path.stat().st_mtime_ns, default=None)
        if isinstance(error, SafetensorError):  # it writes beside, and takes that away again
            newest = saving_folder(run, self.state.global_step) / "*.safetensors"
        file = Path(getattr(error, "filename", None) or newest or "a file")
        name = file.relative_to(run) if file.is_relative_to(run) else file
        free = shutil.disk_usage(run).free / 2**20
        why = getattr(error, "strerror", None) or str(error).splitlines()[0]
        return RunStopped(
            f"step {self.state.global_step}: {name} could not be written: {why} ({free:,.0f} MiB are free on the disk of {run}). Nothing half-written is "
            "left; make room, or lower save_total_limit",
            self.state.global_step,
            checkpoint=latest_checkpoint(run),
        )

    # ---- what is not finite

    def training_step(self, model: nn.Module, inputs: Any, *args: Any, **kwargs: Any) -> Tensor:
        """Trainer's, whose loss is looked at before the update."""
        loss: Tensor = super().training_step(model, inputs, *args, **kwargs)
        self._update.append((loss.detach(), inputs))
        return loss

    def _get_grad_norm(self, model: nn.Module, *args: Any, **kwargs: Any) -> Any:
        norm = super()._get_grad_norm(model, *args, **kwargs)
        update, self._update = self._update, []
        finite = [bool(loss.isfinite().all()) for loss, _ in update]
        # A gradient that overflows in fp16 is how the scaler finds its scale: it leaves that update out by itself.
        scaled = self.args.fp16 or self.accelerator.scaler is not None or norm is None
        norm_is_finite = scaled or math.isfinite(_number(norm))
        if self._agree(not (all(finite) and norm_is_finite)) and self._stops_on_nan():
            raise self._not_finite(update, finite, norm)
        return norm

    def _stops_on_nan(self) -> bool:
        return bool(getattr(self.args, "stop_on_nan", True))

    def _not_finite(self, update: Sequence[tuple[Tensor, Any]], finite: list[bool], norm: Any) -> RunStopped:
        blamed = [part for part, good in zip(update, finite, strict=True) if not good]
        rows = [batch_rows(self.train_dataset, inputs) for _, inputs in blamed or update]
        found = [([float(loss.mean()) for loss, _ in blamed], rows)]
        everywhere = gather_object(found) if self.accelerator.num_processes > 1 else found
        # Where some process has a loss to blame, the rows of the others are only bystanders.
        guilty = [one for one in everywhere if one[0]] or everywhere
        losses = [loss for one in guilty for loss in one[0]]
        numbers = tuple(dict.fromkeys(n for one in guilty for part in one[1] for n in part))
        step = self.state.global_step + 1
        what = f"the loss is {losses[0]}" if losses else f"the gradient's norm is {_number(norm)} at a finite loss"
        where = f", of a batch from {rows_name(self.train_dataset)} {', '.join(map(str, numbers))}" if numbers else ""
        return RunStopped(
            f"step {step}: {what}{where}; the weights are as they were before it. Look at these rows (empty, very long, extreme rewards or labels?); if they "
            f"are sound, lower learning_rate ({self.args.learning_rate:g}) or max_grad_norm ({self.args.max_grad_norm:g}). stop_on_nan false would train on",
            step,
            numbers,
            latest_checkpoint(str(self.args.output_dir)) if self.is_world_process_zero() else None,
        )

    def _check_weights(self) -> None:
        """Refuse to save what no run could go on from."""
        if not self._stops_on_nan():
            return
        trained = (
            p.to_local() if hasattr(p, "to_local") else p for p in self.model_wrapped.parameters() if p.requires_grad
        )
        if self._any(not all(bool(p.isfinite().all()) for p in trained)):
            step = self.state.global_step
            raise RunStopped(
                f"step {step}: its update has made weights of the adapters infinite or NaN, so that nothing is saved of it. Lower learning_rate "
                f"({self.args.learning_rate:g}) or max_grad_norm ({self.args.max_grad_norm:g})",
                step,
                checkpoint=latest_checkpoint(str(self.args.output_dir)) if self.is_world_process_zero() else None,
            )

    # ---- agreement

    def _agree(self, flag: bool) -> bool:
        """Whether the flag is set in any process; with it, which signal any of them got."""
        caught = self._signals.caught or 0
        if self.accelerator.num_processes == 1:
            self._asked = caught
            return flag
        signals = [0, *StopSignals.numbers]
        own = torch.tensor([flag, *(caught == number for number in StopSignals.numbers)], dtype=torch.float32)
        flags = self.accelerator.reduce(own.to(self.accelerator.device), reduction="sum").tolist()
        self._asked = max(number if count else 0 for number, count in zip(signals, flags, strict=True))
        return flags[0] > 0

    def _any(self, flag: bool) -> bool:
        if self.accelerator.num_processes == 1:
            return flag
        own = torch.tensor([float(flag)], device=self.accelerator.device)
        return bool(self.accelerator.reduce(own, reduction="sum").item() > 0)


def _number(norm: Any) -> float:
    """Of a gradient norm, which is a sharded tensor where the gradients are."""
    return float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)


class _AtStepEnd(TrainerCallback):
    """Saves when a signal asks for the end, and ends the run once it is saved, before Trainer logs or measures what only belongs to the end of a whole run."""

    def __init__(self, trainer: SafeTrainer) -> None:
        self.trainer = trainer

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Ask for a checkpoint, if one would be exact here."""
        if self._asked() and self.trainer.resumes_exactly_after(state.global_step):
            control.should_save = True

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """End the run."""
        if self._asked():
            raise stopped_by(self._asked(), state.global_step, self.trainer._checkpoint_path())

    def _asked(self) -> int:
        """The signal, at once where no other process has to agree."""
        alone = self.trainer.accelerator.num_processes == 1
        return (self.trainer._signals.caught or 0) if alone else self.trainer._asked
