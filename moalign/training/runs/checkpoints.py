"""Find the checkpoint that a killed run can go on from, the latest that is whole; and give a checkpoint its name only once it is."""

import logging
import os
import re
import shutil
from pathlib import Path

from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from frontier.errors import InputError
from moalign.training.runs.checkpoint_seal import broken, seal, sync

logger = logging.getLogger(__name__)
STATE = "steering_state.json"
TRAINER_STATE = "trainer_state.json"
_SAVING = re.compile(rf"\.{PREFIX_CHECKPOINT_DIR}-\d+\.saving")
# What `frontier.atomic` calls a file of a run folder before it is whole.
_WRITING = re.compile(r"\.(config\.json|run\.json|metrics\.jsonl|steer\.json|README\.md)\.\w{8}")


def latest_checkpoint(
    folder: str | Path, required: bool = False, needs: tuple[str, ...] = (STATE,), verify: bool = True
) -> Path | None:
    """The whole checkpoint of the highest step in a run folder; newer ones that are not are skipped with a warning that says why.

    Args:
        folder (`str` or `Path`): the run's.
        required (`bool`, *optional*, defaults to `False`): refuse a folder without one, instead of returning `None`.
        needs (`tuple[str, ...]`, *optional*): files that it must hold besides Trainer's own.
        verify (`bool`, *optional*, defaults to `True`): read all files and compare checksums; without, it is enough that it was written to its end.

    Raises:
        InputError: there is none, and one is required.
    """
    prefix = f"{PREFIX_CHECKPOINT_DIR}-"
    found = [path for path in Path(folder).glob(f"{prefix}*") if path.name.removeprefix(prefix).isdigit()]
    for path in sorted(found, key=lambda path: -int(path.name.removeprefix(prefix))):
        reason = why_not_whole(path, needs, verify)
        if reason is None:
            return path
        logger.warning("%s %s: skipped", path, reason)
    if required:
        raise InputError(f"resume_from_checkpoint: {folder} holds no checkpoint to go on from")
    return None


def checked(checkpoint: str | Path) -> Path:
    """A checkpoint that was asked for by its path, once it is found whole.

    Raises:
        InputError: it is not; it says what is wrong and which one could be taken instead.
    """
    path = steering_file(checkpoint).parent
    reason = why_not_whole(path)
    if reason is not None:
        other = latest_checkpoint(path.parent) if path.parent.is_dir() else None
        instead = f"; {other} is whole" if other is not None else ""
        raise InputError(f"resume_from_checkpoint: {path} {reason}{instead}")
    return path


def why_not_whole(checkpoint: Path, needs: tuple[str, ...] = (STATE,), verify: bool = True) -> str | None:
    """What is wrong with a checkpoint, as the end of a sentence that begins with its path; `None` if nothing is."""
    for name in (TRAINER_STATE, *needs):
        if not (checkpoint / name).is_file():
            return f"was not written to its end ({name} is missing)"
    reason = broken(checkpoint) if verify else None
    return None if reason is None else f"is damaged ({reason})"


def steering_file(checkpoint: str | Path) -> Path:
    """Where a checkpoint keeps what a learner remembers beyond weights and optimizer.

    Raises:
        InputError: it has none.
    """
    path = Path(checkpoint) / STATE
    if not path.is_file():
        raise InputError(
            f"{checkpoint} has no {STATE}: it was not written by moalign, or not to its end, and cannot be resumed exactly"
        )
    return path


def saving_folder(run: Path, step: int) -> Path:
    """Where the checkpoint of a step is written until it is whole: hidden beside its place, under one name on all processes."""
    return run / f".{PREFIX_CHECKPOINT_DIR}-{step}.saving"


def publish(written: Path, checkpoint: Path) -> None:
    """Verify a checkpoint that was written and give it its name in one rename; what stood there (a damaged one, or an earlier run's) goes.

    Raises:
        OSError: a file cannot be read back, or the rename fails.
    """
    seal(written)
    if checkpoint.exists():
        os.replace(checkpoint, written.parent / "replaced")
    os.replace(written, checkpoint)
    sync(checkpoint.parent)


def remove_unfinished(run: Path) -> None:
    """Remove what runs that were killed while they saved have left in a run folder."""
    for path in run.glob(".*") if run.is_dir() else ():
        if _SAVING.fullmatch(path.name):
            shutil.rmtree(path)
        elif _WRITING.fullmatch(path.name):
            path.unlink(missing_ok=True)
