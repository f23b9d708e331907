"""Say which versions of other packages a result came to be with: for run records and bug reports."""

import importlib.metadata
from collections.abc import Iterable

# What a run's figures depend on.
TRAINED_WITH = (
    *("moalign", "torch", "transformers", "trl", "peft", "accelerate", "datasets", "tokenizers", "safetensors"),
    "numpy",
)


def versions(packages: Iterable[str] = TRAINED_WITH) -> dict[str, str]:
    """The versions of those of the packages that are installed.

    Args:
        packages (`Iterable[str]`, *optional*): by default what a run's figures depend on.
    """
    found = {}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
