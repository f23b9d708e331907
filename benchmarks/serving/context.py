"""What every part of the serving benchmark gets: limits and, made once, the models on disk."""

from dataclasses import dataclass
from pathlib import Path

from benchmarks.serving.models import TINY, Size, save, served_size


@dataclass(frozen=True)
class Context:
    """Of one run.

    Args:
        scratch (`Path`): a folder that is removed afterwards.
        keep (`Path`, *optional*): a folder for finished parts.
        quick (`bool`): a small run that shows only that everything works.
    """

    scratch: Path
    keep: Path | None
    quick: bool

    @property
    def size(self) -> Size:
        """Of the model that is timed."""
        return served_size(self.quick)

    def models(self, size: Size | None = None) -> Path:
        """The folder with base and adapters; by default of the model that is timed."""
        size = size or self.size
        folder = self.scratch / f"{size.hidden}x{size.layers}"
        return folder if folder.exists() else save(folder, size)

    def tiny(self) -> Path:
        """The same of a model that is small enough for ten thousand answers."""
        return self.models(TINY)
