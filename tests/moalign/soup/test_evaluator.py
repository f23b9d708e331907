import numpy as np
import pytest
import torch
from torch.testing import assert_close

from frontier.errors import InputError
from frontier.realize.soup import Soup
from moalign.evaluation import sample
from moalign.policy import SteerablePolicy
from moalign.soup import SoupEvaluator, soup_of_folders
from reward_heads import FunctionReward

PROMPTS = ["a b", "c d", "e f"]
# The experts are helpful, brief and warm; what is judged is something else.
REWARD = FunctionReward(
    {
        "words": lambda prompt, answer: float(len(answer.split())),
        "early": lambda prompt, answer: float(sum(w < "k" for w in answer.split())),
    }
)


@pytest.fixture(scope="module")
def policy(tiny_base, plain_adapters):
    return soup_of_folders(tiny_base, plain_adapters)


def evaluator(policy, **options):
    return SoupEvaluator(policy, REWARD, PROMPTS, max_new_tokens=6, samples_per_prompt=2, **options)


def test_a_soup_of_one_block_gives_what_the_steerable_policy_gives(policy, tiny_base, plain_adapters):
    soup = Soup.alike(policy.experts.names, (0.5, 0.3, 0.2))
    found = evaluator(policy)(soup)
    steerable = SteerablePolicy.from_pretrained(tiny_base, adapters=plain_adapters)
    each = [p for p in PROMPTS for _ in range(2)]
    weights = torch.tensor(soup.coefficients).expand(6, -1)
    expected = sample(steerable, REWARD, each, weights, max_new_tokens=6)
    assert found.point.extra["sample"] == expected.completions[0]
    assert_close(torch.tensor(found.by_prompt), expected.rewards.double().view(3, 2, 2).mean(1))
    assert found.point.kl == pytest.approx(float(expected.log_ratio.mean()), abs=1e-4)
    assert found.point.rewards == pytest.approx(found.by_prompt.mean(0))
    assert found.point.standard_error == pytest.approx(found.by_prompt.std(0, ddof=1) / 3**0.5)
    assert policy.souped.soup is None


def test_the_same_soup_gives_the_same_and_the_base_is_no_distance_away(policy):
    evaluate = evaluator(policy)
    base = evaluate(Soup.base(policy.experts.names))
    evaluate(Soup.alike(policy.experts.names, (2.0, -1.0, 0.5)))
    assert evaluate(Soup.base(policy.experts.names)).point == base.point
    assert base.point.kl == 0


def test_distance_is_paid_for_in_every_reward(policy):
    soup = Soup.alike(policy.experts.names, (1.0, 0.0, 0.0))
    free, paid = evaluator(policy)(soup).point, evaluator(policy, kl_coefficient=0.5)(soup).point
    assert np.allclose(np.subtract(free.rewards, paid.rewards), 0.5 * free.kl)
    assert abs(free.kl) > 0


def test_whatever_rewards_depend_on_is_in_the_content(policy):
    first = evaluator(policy).content()
    assert first == evaluator(policy).content()
    for options in ({"seed": 1}, {"kl_coefficient": 0.1}, {"reward_name": "other"}, {"temperature": 0.5}):
        assert evaluator(policy, **options).content() != first
    assert first["experts"][0][0] == "helpful"
    changed = FunctionReward({**REWARD.functions, "early": lambda prompt, answer: float(len(answer))})
    assert SoupEvaluator(policy, changed, PROMPTS, max_new_tokens=6, samples_per_prompt=2).content() != first


def test_a_batch_is_of_one_kind(policy):
    with pytest.raises(ValueError, match="in all of them"), policy.steer_rows(torch.tensor([[0.0], [1.0]])):
        pass


def test_refuses(policy):
    with pytest.raises(InputError, match="at least 2 prompts"):
        SoupEvaluator(policy, REWARD, PROMPTS[:1])
    with pytest.raises(InputError, match="kl_coefficient must be at least 0"):
        evaluator(policy, kl_coefficient=-1.0)
