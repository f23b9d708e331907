import math

import pytest
import torch
from torch.testing import assert_close

from frontier.errors import InputError
from reward_heads import CachedReward, CombinedReward, FunctionReward, NormalizedReward, Normalizer, negated, select
from reward_heads.ensemble import EnsembleReward, UncertainReward, score_with_uncertainty
from reward_heads.transforms import TransformedReward

NAN = math.nan
TEXTS = (["p", "p"], ["x", "y"])


class Sure:
    """A reward that is given its scores and deviations."""

    def __init__(self, scores, std, objectives=("a", "b")):
        self.objectives, self.scores, self.std = tuple(objectives), torch.tensor(scores), torch.tensor(std)

    def score(self, prompts, completions):
        return self.scores

    def score_with_uncertainty(self, prompts, completions):
        return self.scores, self.std


class Map:
    kind = "map"

    def __init__(self, function, objectives=("a", "b")):
        self.function, self.objectives = function, tuple(objectives)

    def __call__(self, scores, prompts, completions):
        return self.function(scores)


SURE = Sure([[1.0, -2.0], [3.0, 4.0]], [[0.5, 1.0], [2.0, NAN]])


def check(reward, scores, std):
    found = score_with_uncertainty(reward, *TEXTS)
    assert_close(found[0], torch.tensor(scores))
    assert_close(found[1], torch.tensor(std), equal_nan=True)
    assert_close(found[0], reward.score(*TEXTS))  # the scores are always those of score()


def test_what_is_exact():
    assert isinstance(SURE, UncertainReward)
    check(SURE, [[1.0, -2.0], [3.0, 4.0]], [[0.5, 1.0], [2.0, NAN]])
    check(select(SURE, ["b"]), [[-2.0], [4.0]], [[1.0], [NAN]])
    check(negated(SURE, {"a": "cost"}), [[-1.0, -2.0], [-3.0, 4.0]], [[0.5, 1.0], [2.0, NAN]])
    half = Normalizer(("b", "a"), (0.0, 1.0), (4.0, 2.0), 9)
    check(NormalizedReward(SURE, half), [[0.0, -0.5], [1.0, 1.0]], [[0.25, 0.25], [1.0, NAN]])
    check(CachedReward(SURE), [[1.0, -2.0], [3.0, 4.0]], [[0.5, 1.0], [2.0, NAN]])


def test_a_reward_that_knows_nothing_of_itself():
    plain = FunctionReward({"c": lambda p, c: 5.0})
    assert not isinstance(plain, UncertainReward)
    check(plain, [[5.0], [5.0]], [[NAN], [NAN]])
    check(CombinedReward([select(SURE, ["a"]), plain]), [[1.0, 5.0], [3.0, 5.0]], [[0.5, NAN], [2.0, NAN]])


def test_through_an_affine_transform_of_independent_heads():
    # a' = a − 2 b (what a length correction does), b' = −3 b + 1.
    mix = Map(lambda s: torch.stack([s[:, 0] - 2 * s[:, 1], -3 * s[:, 1] + 1], dim=1))
    check(TransformedReward(SURE, [mix]), [[5.0, 7.0], [-5.0, -11.0]], [[math.hypot(0.5, 2.0), 3.0], [NAN, NAN]])


def test_unknown_deviations_stay_with_their_objective():
    # Objective b has an unknown deviation in row 1, but a does not depend on it.
    own = Map(lambda s: s * torch.tensor([2.0, 0.0]))
    check(TransformedReward(SURE, [own]), [[2.0, 0.0], [6.0, 0.0]], [[1.0, 0.0], [4.0, NAN]])


def test_members_pass_through_a_bent_transform_one_by_one():
    members = [Sure([[m, 1.0], [2.0, 1.0]], [[0.0, 0.0]] * 2) for m in (-1.0, 0.0, 4.0)]
    ensemble = EnsembleReward(members, "worst", scales="shared")
    bent = TransformedReward(ensemble, [Map(torch.relu)])
    # Members become 0, 0, 4: mean 4 / 3, squares 2 · 16 / 9 + 64 / 9 over 2; the score is that of the worst, −1, bent.
    check(bent, [[0.0, 1.0], [2.0, 1.0]], [[math.sqrt((32 / 9 + 64 / 9) / 2), 0.0], [0.0, 0.0]])
    wrapped = TransformedReward(
        NormalizedReward(ensemble, Normalizer(("a", "b"), (0.0, 0.0), (2.0, 1.0), 9)), [Map(torch.relu)]
    )
    check(wrapped, [[0.0, 1.0], [1.0, 1.0]], [[math.sqrt((32 / 9 + 64 / 9) / 2) / 2, 0.0], [0.0, 0.0]])


def test_a_score_that_is_not_known_has_no_deviation():
    shy = Sure([[NAN, 1.0], [2.0, 3.0]], [[NAN, 1.0], [1.0, 1.0]])
    check_nan = score_with_uncertainty(TransformedReward(shy, [Map(lambda s: 2 * s)]), *TEXTS)
    assert check_nan[0][0, 0].isnan()
    assert check_nan[1][0, 0].isnan()
    assert_close(check_nan[1][1], torch.tensor([2.0, 2.0]))


@pytest.mark.parametrize(
    ("reward", "message"),
    [
        (Sure([[1.0, 2.0]], [[1.0, 1.0]]), r"must return scores \[2, 2\], found \[1, 2\]"),
        (Sure([[1.0, 2.0]] * 2, [[1.0]] * 2), r"standard deviations \[2, 2\]"),
        (Sure([[1.0, 2.0]] * 2, [[1.0, -1.0]] * 2), "not negative"),
    ],
)
def test_refuses_a_broken_reward(reward, message):
    with pytest.raises(InputError, match=message):
        score_with_uncertainty(reward, *TEXTS)


def test_refuses_a_batch_that_does_not_pair_up():
    with pytest.raises(InputError, match="one prompt per completion"):
        score_with_uncertainty(SURE, ["p"], ["x", "y"])
