"""Guard a run's output folder: no trained work is overwritten unasked, and a run refused for its input leaves nothing behind."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from frontier.errors import InputError
from moalign.cli.console import is_main_process

# Files that mark a reward of any kind; a test holds them against `reward_heads.saved.MARKERS`, which this must not import to stay quick.
REWARD_MARKERS = (
    *("reward_heads.json", "probe.json", "ensemble.json", "gate.json", "remote.json", "general_preference.json"),
    *("low_rank.json", "latent.json"),
)
RESULTS = ("steer.json", "adapter_config.json", "config.json", "model.safetensors", *REWARD_MARKERS)
# What an earlier run wrote beside its result, and what a reader would take for the new run's.
LEFTOVERS = (
    *("front.json", "front.prompts.safetensors", "groups.json"),
    *("constraints.json", "constraints.md", "constraints.png"),
    *("transforms.json", "calibration.json", "report.json", "report.html", "run.json"),
)
# And those whose names hold a label.
LABELLED_LEFTOVERS = ("front-*.json", "front-*.prompts.safetensors")


def check_writable(path: str | Path) -> Path:
    """The folder, once it can be written to or made.

    Raises:
        InputError: a file stands in its place, or the rights are missing.
    """
    folder = Path(path)
    nearest = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    if not nearest.is_dir():
        raise InputError(f"output_dir {folder}: {nearest} is a file, expected a folder")
    if not os.access(nearest, os.W_OK):
        raise InputError(f"output_dir {folder}: no right to write in {nearest}")
    return folder


def check_unused(path: str | Path, overwrite: bool, remedy: str = "", names: tuple[str, ...] = RESULTS) -> Path:
    """The folder, once it holds no result of another run, or overwriting was asked for.

    Args:
        path (`str` or `Path`): the folder.
        overwrite (`bool`): go ahead all the same.
        remedy (`str`, *optional*): another way out, for the message.
        names (`tuple[str, ...]`, *optional*): the files that are a result; by default a bundle's and a reward's, and checkpoints.

    Raises:
        InputError: it holds a result, or cannot be written to.
    """
    folder = check_writable(path)
    if not overwrite:
        found = next((name for name in names if (folder / name).exists()), None)
        kept = checkpoints(folder) if names is RESULTS else []
        checkpoint = next((str(p.relative_to(folder)) for p in kept), None)
        if found or checkpoint:
            raise InputError(
                f"output_dir {folder} already holds a result ({found or checkpoint}): name another folder{remedy}, or pass "
                "--overwrite_output_dir to replace it"
            )
    return folder


def checkpoints(folder: Path) -> list[Path]:
    """All checkpoints of a run, or of the runs of a method that trains several policies."""
    return [path for pattern in ("checkpoint-*", "runs/*/checkpoint-*") for path in sorted(folder.glob(pattern))]


def clear_results(path: str | Path) -> None:
    """Remove what an earlier run left that a resumed run or a reader would take for this one's: checkpoints, rounds, fronts, reports, a reward of another kind."""
    folder = Path(path)
    if not is_main_process():
        return
    for old in [*checkpoints(folder), folder / "rounds"]:
        shutil.rmtree(old, ignore_errors=True)
    labelled = [path for pattern in LABELLED_LEFTOVERS for path in folder.glob(pattern)]
    for old in [*labelled, *(folder / name for name in (*LEFTOVERS, *REWARD_MARKERS))]:
        old.unlink(missing_ok=True)


@contextmanager
def nothing_left_of_refused_input(path: str | Path) -> Iterator[None]:
    """If the block raises `InputError` before a checkpoint was saved, a folder that it made vanishes again, files that it added to an older one too."""
    folder = Path(path)
    made = next((p for p in (*reversed(folder.absolute().parents), folder.absolute()) if not p.exists()), None)
    before = set(folder.rglob("*")) if folder.exists() else set()
    try:
        yield
    except InputError:
        if is_main_process() and folder.exists() and not any(set(folder.rglob("checkpoint-*")) - before):
            if made is not None:
                shutil.rmtree(made)
            else:
                for added in sorted(set(folder.rglob("*")) - before, reverse=True):  # files before their folders
                    added.rmdir() if added.is_dir() else added.unlink()
        raise
