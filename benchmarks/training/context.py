"""What every part of the training benchmark gets."""

from dataclasses import dataclass
from pathlib import Path

# Of this process and of those it starts, ours and the peer's.
THREADS = 2


@dataclass(frozen=True)
class Context:
    """Of one run.

    Args:
        scratch (`Path`): a folder that is removed afterwards.
        keep (`Path`, *optional*): a folder for finished parts.
        quick (`bool`): a small run that shows only that everything works.
        data (`Path`): the folder with real data.
        pictures (`Path`, *optional*): a folder for pictures: where the JSON goes, if it is written.
    """

    scratch: Path
    keep: Path | None
    quick: bool
    data: Path
    pictures: Path | None = None
