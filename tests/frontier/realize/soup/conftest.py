import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from frontier.realize.soup import Experts, Soup

sys.path.insert(0, str(Path(__file__).parent))  # for toy.py


@pytest.fixture(scope="module")
def experts(plain_adapters):
    return Experts.read(plain_adapters)


@pytest.fixture
def base(tiny_base):
    return AutoModelForCausalLM.from_pretrained(tiny_base).eval()


@pytest.fixture
def soup(experts):
    """Other coefficients in each of two layers and the output layer; negative, zero and above 1."""
    rows = ((0.7, 0.3, 0.0), (-0.5, 1.5, 1.0))
    return Soup(experts.names, ("layers 0-0", "layers 1-1"), rows)


@pytest.fixture
def ids():
    return torch.tensor([[1, 4, 9, 12, 7], [1, 5, 6, 30, 11]])
