import pytest
import torch
from torch.testing import assert_close

from frontier.errors import InputError
from reward_heads import FunctionReward, Normalizer
from reward_heads.cache import CachedReward
from reward_heads.ensemble import EnsembleReward, SharedTrunk, member_names

TEXTS = (["p", "p"], ["two words", "three short words"])


def heads(**factors):
    """A reward whose heads are multiples of the number of words."""
    names = {name.replace("_", "#"): factor for name, factor in factors.items()}
    return FunctionReward({name: lambda p, c, f=factor: f * len(c.split()) for name, factor in names.items()})


def test_reads_the_heads_in_any_order():
    trunk = SharedTrunk(heads(a_2=20.0, b_1=-1.0, a_1=10.0, b_2=-3.0))
    assert (trunk.objectives, trunk.size) == (("a", "b"), 2)
    scores = trunk.member_scores(*TEXTS)
    assert scores.tolist() == [[[20.0, -2.0], [30.0, -3.0]], [[40.0, -6.0], [60.0, -9.0]]]
    assert EnsembleReward(trunk, "worst").score(*TEXTS).tolist() == [[20.0, -6.0], [30.0, -9.0]]
    assert EnsembleReward(trunk).score(*TEXTS).tolist() == [[30.0, -4.0], [45.0, -6.0]]


def test_scores_the_trunk_once():
    reward, calls = heads(a_1=1.0, a_2=2.0), []
    score = reward.score
    reward.score = lambda *texts: calls.append(texts) or score(*texts)
    EnsembleReward(SharedTrunk(reward)).score_with_uncertainty(*TEXTS)
    assert len(calls) == 1


def test_an_objective_may_have_the_separator_in_its_name():
    assert member_names(["c#1"], 2) == ["c#1#1", "c#1#2"]
    assert SharedTrunk(heads(c_1_1=1.0, c_1_2=1.0)).objectives == ("c#1",)


def test_ratings_come_to_the_average_unit():
    reward = heads(a_1=1.0, a_2=1.0)
    reward.units = Normalizer(("a#1", "a#2"), (10.0, 14.0), (2.0, 4.0), 5)
    # Ratings 2 · 2 + 10 = 14 and 4 · 2 + 14 = 22; in the average unit, (x − 12) / 3.
    assert_close(SharedTrunk(reward).member_scores(["p"], ["two words"]), torch.tensor([[[2 / 3]], [[10 / 3]]]))
    cached = SharedTrunk(CachedReward(reward))
    assert_close(cached.member_scores(["p"], ["two words"]), torch.tensor([[[2 / 3]], [[10 / 3]]]))


def test_works_behind_a_transformer_in_one_forward(base, tokenizer):
    from reward_heads import TransformerReward

    reward = TransformerReward.from_base(base, member_names(["kind", "brief"], 3), tokenizer=tokenizer)
    ensemble = EnsembleReward(SharedTrunk(reward))
    prompts, completions = ["ask me :"] * 2, [" good cat", " red"]
    expected = reward.score(prompts, completions).reshape(2, 2, 3).mean(dim=2)
    assert_close(ensemble.score(prompts, completions), expected)


@pytest.mark.parametrize(
    ("reward", "message"),
    [
        (heads(a_1=1.0, b=1.0), "'b' is no head of an ensemble"),
        (heads(a_1=1.0, a_x=1.0), "'a#x' is no head"),
        (heads(a_0=1.0, a_1=1.0), "'a#0' is no head"),
        (heads(a_1=1.0, a_2=1.0, b_1=1.0), "'b' lacks the head 'b#2' of 2"),
    ],
)
def test_refuses_what_is_no_ensemble(reward, message):
    with pytest.raises(InputError, match=message):
        SharedTrunk(reward)


def test_refuses_no_member():
    with pytest.raises(InputError, match="at least 1, found 0"):
        member_names(["a"], 0)
