import doctest
import importlib
from pathlib import Path

import pytest

import reward_heads

ROOT = Path(reward_heads.__file__).parent


def modules_with_examples():
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        if ">>> " in path.read_text(encoding="utf-8"):
            parts = path.relative_to(ROOT.parent).with_suffix("").parts
            found.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return found


@pytest.mark.parametrize("name", modules_with_examples())
def test_examples_in_docstrings(name):
    results = doctest.testmod(importlib.import_module(name))
    assert results.attempted > 0
    assert results.failed == 0


def test_finds_the_examples_of_the_package_itself():
    assert "reward_heads" in modules_with_examples()
