import subprocess
import sys

import pytest
import torch
from torch.testing import assert_close

from frontier.errors import InputError
from frontier.objectives import check_objectives
from reward_heads.functions import FunctionReward
from reward_heads.vector_reward import VectorReward, score_checked


class Fixed:
    """A reward that returns what it was given."""

    def __init__(self, scores, objectives):
        self.scores = scores
        self.objectives = objectives

    def score(self, prompts, completions):
        return self.scores


def test_anything_with_objectives_and_score_is_one():
    assert isinstance(Fixed(torch.zeros(1, 1), ("a",)), VectorReward)
    assert isinstance(FunctionReward({"a": lambda p, c: 0}), VectorReward)
    assert not isinstance(object(), VectorReward)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "at least one objective"),
        ("helpful", "write \\['helpful'\\]"),
        (["a", "b", "a"], "objective 'a' is named twice; found: a, b, a"),
        (["a=b"], "character '=' is not allowed"),
        ([" a"], "outer spaces"),
        ([""], "must be non-empty printable text"),
        ([3], "must be non-empty printable text"),
    ],
)
def test_refuses_bad_names(names, message):
    with pytest.raises(InputError, match=message):
        check_objectives(names)


def test_score_checked_brings_scores_to_the_contract():
    given = torch.tensor([[1.0, float("nan")]], dtype=torch.float64, requires_grad=True)
    scores = score_checked(Fixed(given, ("a", "b")), ["p"], ["c"])
    assert scores.dtype == torch.float32
    assert not scores.requires_grad
    assert_close(scores, torch.tensor([[1.0, float("nan")]]), equal_nan=True)


def test_score_checked_refuses_a_broken_reward():
    with pytest.raises(InputError, match=r"Fixed.score must return \[1, 2\], found \[1, 1\]"):
        score_checked(Fixed(torch.zeros(1, 1), ("a", "b")), ["p"], ["c"])
    with pytest.raises(InputError, match="objective 'b' is -inf in row 0"):
        score_checked(Fixed(torch.tensor([[0.0, -torch.inf]]), ("a", "b")), ["p"], ["c"])


def test_importing_the_package_loads_nothing_heavy():
    code = (
        "import sys, reward_heads; names = dir(reward_heads);"
        "print([m for m in ('torch', 'transformers', 'trl', 'datasets') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_there():
    import reward_heads

    for name in reward_heads.__all__:
        assert getattr(reward_heads, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Rewardd'"):
        _ = reward_heads.Rewardd
