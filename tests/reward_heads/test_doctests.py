import doctest
import importlib

import pytest


@pytest.mark.parametrize(
    "name",
    [
        "reward_heads",
        "reward_heads.bradley_terry",
        "reward_heads.cost",
        "reward_heads.functions",
        "reward_heads.rules",
        "reward_heads.text",
        "reward_heads.trl_functions",
        "reward_heads.users",
    ],
)
def test_examples_in_docstrings(name):
    results = doctest.testmod(importlib.import_module(name))
    assert results.attempted > 0
    assert results.failed == 0
