import pytest
import torch

from moalign.oracle import OracleWorld


@pytest.fixture(scope="session")
def world():
    """Small enough for brute force, with everything in it."""
    return OracleWorld.covered(vocabulary=3, length=3, prompts=2, seed=3)


@pytest.fixture(scope="session")
def default_world():
    return OracleWorld.covered()


@pytest.fixture(scope="session")
def rare_world():
    return OracleWorld.rare()


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(7)
