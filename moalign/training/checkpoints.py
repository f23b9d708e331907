"""Find the checkpoint that a killed run can go on from: the latest that was written to its end."""

import json
import logging
from pathlib import Path

from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from frontier.errors import InputError

logger = logging.getLogger(__name__)
STATE = "steering_state.json"
TRAINER_STATE = "trainer_state.json"


def latest_checkpoint(folder: str | Path, required: bool = False, needs: tuple[str, ...] = (STATE,)) -> Path | None:
    """The whole checkpoint of the highest step in a run folder; newer ones that were cut off are skipped with a warning.

    Args:
        folder (`str` or `Path`): the run's.
        required (`bool`, *optional*, defaults to `False`): refuse a folder without one, instead of returning `None`.
        needs (`tuple[str, ...]`, *optional*): files that it must hold besides Trainer's own.

    Raises:
        InputError: there is none, and one is required.
    """
    prefix = f"{PREFIX_CHECKPOINT_DIR}-"
    found = [path for path in Path(folder).glob(f"{prefix}*") if path.name.removeprefix(prefix).isdigit()]
    for path in sorted(found, key=lambda path: -int(path.name.removeprefix(prefix))):
        if is_whole(path, needs):
            return path
        logger.warning("%s was not written to its end: skipped", path)
    if required:
        raise InputError(f"resume_from_checkpoint: {folder} holds no checkpoint to go on from")
    return None


def is_whole(checkpoint: Path, needs: tuple[str, ...] = (STATE,)) -> bool:
    """Whether a checkpoint holds everything: Trainer writes its state last."""
    try:
        json.loads((checkpoint / TRAINER_STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return all((checkpoint / name).is_file() for name in needs)


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
