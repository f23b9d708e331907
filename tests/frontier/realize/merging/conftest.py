"""Tiny models on disk, shared by the tests of merging."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from tiny_checkpoints import save_llama


@pytest.fixture(scope="session")
def llamas(tmp_path_factory):
    """`base`, `one` (in shards) and `two` (bf16): untied Llamas of one shape; never written to."""
    root = tmp_path_factory.mktemp("llamas")
    return {
        "base": save_llama(root / "base", 0),
        "one": save_llama(root / "one", 1, shard="20KB"),
        "two": save_llama(root / "two", 2, dtype=torch.bfloat16),
    }


@pytest.fixture
def fresh(tmp_path):
    """Makes a Llama that a test may spoil."""
    return lambda name, seed=5, **options: save_llama(tmp_path / name, seed, **options)
