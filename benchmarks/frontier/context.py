"""What every part of the benchmark gets."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Context:
    """Limits and places.

    Args:
        scratch (`Path`): for files; parts of one run share it.
        data (`Path`, *optional*): the folder of real data, for a part that wants it.
        keep (`Path`, *optional*): a folder for finished jobs, from which a run that was cut off goes on.
        quick (`bool`): a small run that shows only that everything works.
    """

    scratch: Path
    data: Path | None = None
    keep: Path | None = None
    quick: bool = False
