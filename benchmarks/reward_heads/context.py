"""What every part of the benchmark gets."""

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType


@dataclass(frozen=True)
class Context:
    """Data, encoder and limits.

    Args:
        loaders (`ModuleType`): the readers of the real data folder.
        data (`Path`): that folder, for parts that start processes of their own.
        encoder (`Path`): a folder with a sentence encoder (all-MiniLM-L6-v2).
        scratch (`Path`): for embeddings and models; parts of one run share it.
        keep (`Path`, *optional*): a folder for finished trainings, from which a run that was cut off goes on.
        quick (`bool`): a small run that shows only that everything works.
    """

    loaders: ModuleType
    data: Path
    encoder: Path
    scratch: Path
    keep: Path | None = None
    quick: bool = False
