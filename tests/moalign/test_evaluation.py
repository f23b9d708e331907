import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close
from transformers import AutoModelForCausalLM

from frontier import ParetoFront
from frontier.errors import InputError
from frontier.front import FrontPoint
from frontier.prompt_rewards import prompt_ids
from moalign import evaluation
from moalign.evaluation import front_of, measure_front, measure_normalizer, sample
from moalign.policy import SteerablePolicy
from moalign.preference import Preference
from reward_heads import FunctionReward, NormalizedReward, Normalizer

NAMES = ("helpful", "brief", "warm")
PROMPTS = ["a b", "c", "d e f ?", "yes no", "g"]
LETTERS = FunctionReward(
    {
        "helpful": lambda prompt, completion: float(sum(word in "aeiou" for word in completion.split())),
        "brief": lambda prompt, completion: -float(len(completion.split())),
        "warm": lambda prompt, completion: float(sum(word < "k" for word in completion.split())),
    }
)
HALVES = Preference({"helpful": 0.5, "brief": 0.5})


class Scripted:
    """Gives out the rows of a table in the order in which completions are scored."""

    def __init__(self, rows, objectives=NAMES):
        self.rows = torch.tensor(rows, dtype=torch.float32)
        self.objectives = objectives
        self.done = 0

    def score(self, prompts, completions):
        self.done += len(prompts)
        return self.rows[self.done - len(prompts) : self.done]


@pytest.fixture(scope="module")
def policy(tiny_base, plain_adapters):
    return SteerablePolicy.from_pretrained(tiny_base, adapters=plain_adapters, device="cpu")


def rows_of(policy, *preferences):
    return policy.weights(list(preferences), len(preferences))


# ---- sample


def test_log_ratios_are_those_of_the_policy_and_of_the_plain_base(policy, tiny_base):
    weights = rows_of(policy, "helpful=1.0", HALVES, "warm=1.0", "brief=1.0", None)
    found = sample(policy, LETTERS, PROMPTS, weights, max_new_tokens=6, seed=3)
    ids = policy.encode(PROMPTS)
    # The same batch again gives the tokens, which the texts alone do not tell (special tokens are left out of them).
    completions = policy.generate_ids(ids, weights, seed=3, do_sample=True, top_k=0, max_new_tokens=6)
    plain = AutoModelForCausalLM.from_pretrained(tiny_base).eval()
    for i, (prompt, completion) in enumerate(zip(ids, completions, strict=True)):
        with torch.no_grad():
            logits = plain(torch.tensor([prompt + completion])).logits[0].log_softmax(-1)
            own, mask = policy.token_log_probs([prompt], [completion], weights[i : i + 1])
        reference = sum(logits[len(prompt) - 1 + t, token] for t, token in enumerate(completion))
        assert int(mask.sum()) == len(completion)
        assert_close(found.reference_log_probs[i], reference, atol=1e-4, rtol=1e-4)
        assert_close(found.log_ratio[i], own.sum() - reference, atol=1e-4, rtol=1e-4)
        assert int(found.tokens[i]) == len(completion)
        assert found.completions[i] == policy.tokenizer.decode(completion, skip_special_tokens=True)
    assert found.log_ratio[:4].abs().min() > 1e-3
    assert_close(found.rewards, LETTERS.score(PROMPTS, found.completions))


def test_zero_weights_are_exactly_the_reference(policy):
    found = sample(policy, LETTERS, PROMPTS, torch.zeros(5, 3), max_new_tokens=6)
    assert torch.equal(found.log_ratio, torch.zeros(5))


@pytest.mark.parametrize("batch_size", [1, 2, 4])
def test_batches_of_any_size_give_the_same_greedy_texts(policy, batch_size):
    weights = rows_of(policy, "helpful=1.0", HALVES, None, "brief=1.0", "warm=1.0")
    whole = sample(policy, LETTERS, PROMPTS, weights, temperature=0, max_new_tokens=6)
    parts = sample(policy, LETTERS, PROMPTS, weights, temperature=0, max_new_tokens=6, batch_size=batch_size)
    assert parts.completions == whole.completions
    assert_close(parts.log_ratio, whole.log_ratio, atol=1e-4, rtol=1e-4)
    assert torch.equal(parts.rewards, whole.rewards)
    assert torch.equal(parts.tokens, whole.tokens)
    assert len(set(whole.completions)) > 1


def test_a_seed_repeats_and_another_differs(policy):
    weights = torch.zeros(5, 3)
    first, again, other = (sample(policy, LETTERS, PROMPTS, weights, max_new_tokens=8, seed=s) for s in (1, 1, 2))
    assert first.completions == again.completions
    assert first.completions != other.completions


def test_the_mode_of_the_model_and_the_global_random_state_stay(policy):
    policy.model.train()
    torch.manual_seed(0)
    state = torch.get_rng_state()
    try:
        sample(policy, LETTERS, PROMPTS, torch.zeros(5, 3), max_new_tokens=2)
        assert policy.model.training
    finally:
        policy.model.eval()
    assert torch.equal(torch.get_rng_state(), state)


def test_conversations_get_conversational_completions(policy):
    seen = []
    reward = FunctionReward(dict.fromkeys(NAMES, lambda p, c: float(seen.append((p, c)) is None)), raw=True)
    chat = [{"role": "user", "content": "a b"}]
    found = sample(policy, reward, [chat, "c"], torch.zeros(2, 3), max_new_tokens=3)
    assert seen[0] == (chat, [{"role": "assistant", "content": found.completions[0]}])
    assert seen[3] == ("c", found.completions[1])


def test_sample_refuses(policy):
    with pytest.raises(InputError, match="no prompts to sample"):
        sample(policy, LETTERS, [], torch.zeros(0, 3))
    with pytest.raises(InputError, match="2 rows of weights for 5 prompts"):
        sample(policy, LETTERS, PROMPTS, torch.zeros(2, 3))
    with pytest.raises(InputError, match=r"'brief' is inf in row 0"):
        sample(policy, Scripted([[0, math.inf, 0]] * 2), ["a", "b"], torch.zeros(2, 3), max_new_tokens=1)


# ---- the normaliser


def test_normalizer_by_hand(policy):
    scores = [[1, 10, -1], [2, math.nan, -1], [3, 30, -1], [6, 20, 1]]
    found = measure_normalizer(policy, Scripted(scores), ["a", "b"], samples=4, max_new_tokens=1)
    assert found.objectives == NAMES
    assert found.location == pytest.approx((3, 20, -0.5))
    assert found.scale == pytest.approx((math.sqrt((4 + 1 + 0 + 9) / 3), 10, 1))
    assert found.n == 4
    assert found.source == "4 completions of the reference policy"


def test_normalizer_is_of_the_reference_policy(policy):
    found = measure_normalizer(policy, LETTERS, PROMPTS, samples=5, temperature=0, max_new_tokens=6)
    rewards = LETTERS.score(PROMPTS, policy.generate(PROMPTS, None, do_sample=False, max_new_tokens=6)).double()
    assert found.location == pytest.approx(rewards.mean(0).tolist())
    assert found.scale == pytest.approx(rewards.std(0).tolist())


@pytest.mark.parametrize(("n", "samples"), [(3, 9), (3, 7), (5, 5), (5, 2), (1, 4)])
def test_normalizer_draws_prompts_evenly(policy, n, samples):
    seen = []
    reward = FunctionReward(dict.fromkeys(NAMES, lambda p, c: float(len(seen)) + bool(seen.append(p))))
    measure_normalizer(policy, reward, PROMPTS[:n], samples=samples, max_new_tokens=1)
    counts = [seen[::3].count(prompt) for prompt in PROMPTS[:n]]
    assert sum(counts) == samples
    assert max(counts) - min(counts) <= 1


def test_normalizer_refuses(policy):
    with pytest.raises(InputError, match="no prompts"):
        measure_normalizer(policy, LETTERS, [])
    with pytest.raises(InputError, match="objective 'warm' is 7"):
        measure_normalizer(policy, Scripted([[1, 2, 7], [2, 3, 7]]), ["a"], samples=2, max_new_tokens=1)


# ---- the front

NAN = math.nan
# Two prompts, two samples each; the reference policy first, then two preferences.
TABLE = [
    *([0, 0, 0], [2, 0, 0], [4, 1, 0], [6, 1, 0]),
    *([1, 5, NAN], [3, 5, NAN], [10, NAN, 4], [20, 7, NAN]),
    *([1, 1, 1], [1, 1, 1], [1, 1, 1], [1, 1, 2]),
]
OTHER = [[10 * v for v in row] for row in TABLE]


@pytest.fixture(scope="module")
def scripted(policy):
    """A front of known rewards, with other rewards ten times as large and a spy on the samples."""
    spied = []

    def spy(*args, **kwargs):
        spied.append(sample(*args, **kwargs))
        return spied[-1]

    scale = Normalizer(NAMES, (1.0, 0.0, 0.0), (2.0, 1.0, 1.0), 5)
    # Others are scored point by point, preferences first.
    others = {
        "true": NormalizedReward(Scripted([*OTHER[4:], *OTHER[:4]]), Normalizer(NAMES, (0.0,) * 3, (5.0,) * 3, 9))
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "sample", spy)
        front = measure_front(
            policy,
            Scripted(TABLE),
            ["a", "b"],
            [HALVES, Preference.only("warm")],
            normalizer=scale,
            others=others,
            samples_per_prompt=2,
            source="mine",
            info={"dataset": "x"},
            progress=False,
            max_new_tokens=4,
        )
    return front, spied[0]


def test_means_and_standard_errors_by_hand(scripted):
    first, second = scripted[0].points
    # helpful, raw: prompt means 2 and 15, so mean 8.5 with error |15 - 2| / 2; normalised (r - 1) / 2.
    # brief: 5 and 7 (its missing score left out). warm: known for the second prompt alone.
    assert first.rewards == pytest.approx((3.75, 6, 4))
    assert first.standard_error[:2] == pytest.approx((3.25, 1))
    assert math.isnan(first.standard_error[2])
    assert second.rewards == pytest.approx((0, 1, 1.25))
    assert second.standard_error == pytest.approx((0, 0, 0.25))
    assert first.n_prompts == 2


def test_rewards_of_each_prompt_are_kept_by_hand(scripted):
    front = scripted[0]
    kept = front.prompt_rewards
    # Mean of the two completions of a prompt that are known, then (helpful - 1) / 2; NaN where neither is.
    expected = [[[0.5, 5, NAN], [7, 7, 4]], [[0, 1, 1], [0, 1, 1.5]]]
    np.testing.assert_array_equal(kept.rewards, expected)
    np.testing.assert_array_equal(kept.reference, [[0, 0, 0], [2, 1, 0]])
    assert kept.prompts == prompt_ids(["a", "b"])
    np.testing.assert_allclose(kept.means(), front.rewards)
    np.testing.assert_allclose(kept.standard_errors(), front.standard_errors)


def test_prompts_are_known_by_their_content(policy):
    chat = [{"role": "user", "content": "a b"}]
    reward = FunctionReward(dict.fromkeys(NAMES, lambda p, c: 1.0), raw=True)
    fronts = [
        measure_front(policy, reward, prompts, [HALVES], progress=False, max_new_tokens=1)
        for prompts in ([chat, "c", "c"], ["c", chat])
    ]
    first, second = (front.prompt_rewards.prompts for front in fronts)
    assert first == prompt_ids([chat, "c", "c"])
    assert set(second) < set(first)


def test_more_samples_of_a_prompt_are_no_more_prompts(policy):
    """A reward of the prompt alone: its error is that over prompts, whatever the number of completions; others see the same prompts."""
    values = {"a b": 1.0, "c": 4.0, "g": 10.0}
    reward = FunctionReward(dict.fromkeys(NAMES, lambda prompt, completion: values[prompt]))
    front = measure_front(
        policy,
        reward,
        list(values),
        [HALVES],
        others={"same": reward},
        samples_per_prompt=4,
        progress=False,
        max_new_tokens=1,
        batch_size=5,
    )
    for point in (*front.points, front.reference_policy):
        assert point.rewards == pytest.approx((5,) * 3)
        assert point.standard_error == pytest.approx((math.sqrt((16 + 1 + 25) / 2 / 3),) * 3)
        assert point.extra["rewards/same"] == pytest.approx(point.rewards)
        assert point.extra["standard_error/same"] == pytest.approx(point.standard_error)
        assert point.n_prompts == 3


def test_what_a_point_carries(scripted):
    front, found = scripted
    assert front.objectives == NAMES
    assert front.normalizer["location"] == [1, 0, 0]
    assert [p.source for p in front.points] == ["mine", "mine"]
    assert [p.preference for p in front.points] == [HALVES.to_json(), Preference.only("warm").to_json()]
    reference = front.reference_policy
    assert (reference.source, reference.preference, reference.kl) == ("reference", None, 0.0)
    assert reference.rewards == pytest.approx((1, 0.5, 0))  # prompt means 1 and 5, normalised
    for i, point in enumerate((reference, *front.points)):
        part = found.rows(4 * i, 4 * i + 4)
        expected = math.exp(-float(part.reference_log_probs.sum()) / int(part.tokens.sum()))
        assert point.extra["perplexity_under_reference"] == pytest.approx(expected, rel=1e-5)
        assert point.extra["mean_tokens"] == part.tokens.float().mean()
        assert point.extra["sample"] == part.completions[0]
        assert point.kl == pytest.approx(float(part.log_ratio.mean()))


def test_other_rewards_are_recorded_and_swapped_in(scripted, tmp_path):
    front, _ = scripted
    assert front.info["dataset"] == "x"
    assert front.info["normalizer/true"]["scale"] == [5.0] * 3
    assert front.points[0].extra["rewards/true"] == pytest.approx([17, 12, 8])  # ten times the raw means, over 5
    assert front.points[0].extra["standard_error/true"] == [pytest.approx(13), pytest.approx(2), None]
    front.save(tmp_path / "front.json")  # an error that is not known must not make the front unwritable
    true = front_of(ParetoFront.load(tmp_path / "front.json"), "true")
    assert true.points[0].rewards == pytest.approx((17, 12, 8))
    assert math.isnan(true.points[0].standard_error[2])
    assert true.reference_policy.rewards == pytest.approx((6, 1, 0))
    assert true.normalizer == front.info["normalizer/true"]
    assert true.prompt_rewards is None  # they are in the units of the front's own rewards
    assert [p.preference for p in true.points] == [p.preference for p in front.points]
    assert [p.kl for p in true.points] == [p.kl for p in front.points]


def test_kl_is_of_the_policy_from_the_reference(policy):
    front = measure_front(
        policy, LETTERS, PROMPTS, [Preference.only("helpful")], samples_per_prompt=24, progress=False, max_new_tokens=5
    )
    # E_pi[log pi - log ref] is a KL divergence: positive, where the other direction of the difference would be negative.
    assert front.points[0].kl > 0.1
    assert front.reference_policy.kl == 0
    own, steered = (p.extra["perplexity_under_reference"] for p in (front.reference_policy, front.points[0]))
    assert 1 < own < steered


def test_a_greedy_front_by_hand(policy):
    front = measure_front(
        policy, LETTERS, PROMPTS, [HALVES], temperature=0, progress=False, max_new_tokens=6, batch_size=3
    )
    for point, preference in ((front.reference_policy, None), (front.points[0], HALVES)):
        texts = policy.generate(PROMPTS, preference, do_sample=False, max_new_tokens=6)
        rewards = LETTERS.score(PROMPTS, texts).double().numpy()
        assert point.rewards == pytest.approx(rewards.mean(0))
        assert point.standard_error == pytest.approx(rewards.std(0, ddof=1) / np.sqrt(5))
        assert point.extra["sample"] == texts[0]


def test_front_refuses(policy):
    def call(reward=LETTERS, prompts=PROMPTS, preferences=(HALVES,), **options):
        return measure_front(policy, reward, prompts, preferences, progress=False, max_new_tokens=1, **options)

    with pytest.raises(InputError, match="at least 2 prompts for its standard errors, found 1"):
        call(prompts=["a"])
    with pytest.raises(InputError, match="at least 1 preference and 1 sample per prompt, found 0 and 1"):
        call(preferences=())
    with pytest.raises(InputError, match="found 1 and 0"):
        call(samples_per_prompt=0)
    with pytest.raises(InputError, match="'warm' is not known for any completion"):
        call(reward=Scripted([[1, 2, NAN]] * 10))
    swapped = FunctionReward({name: LETTERS.functions[name] for name in ("brief", "helpful", "warm")})
    with pytest.raises(
        InputError, match=r"'reward' has the objectives brief, helpful, warm, expected .* helpful, brief"
    ):
        call(reward=swapped)
    with pytest.raises(InputError, match="'reward' has the objectives brief"):
        call(others={"reward": swapped})
    with pytest.raises(InputError, match="'normalizer' has the objectives helpful, brief, expected"):
        call(normalizer=Normalizer(("helpful", "brief"), (0.0, 0.0), (1.0, 1.0), 1))


def test_front_of_refuses():
    extra = {"rewards/true": [None], "standard_error/true": [None]}
    front = ParetoFront(("a",), (FrontPoint((1.0,), (0.1,), 4, extra=extra),))
    with pytest.raises(InputError, match="did you mean 'true'"):
        front_of(front, "truth")
    with pytest.raises(InputError, match="rewards must hold numbers, found None"):
        front_of(front, "true")


def test_samples_come_from_the_policy_whatever_its_generation_config_says(quick, tiny_base):
    """A base that asks for a repetition penalty would bias the KL, the normaliser and every report."""
    from moalign.evaluation import complete

    policy = quick.policy(tiny_base)
    weights = torch.tensor([[0.5, 0.5]] * 8)
    before = complete(policy, ["a b"] * 8, weights, max_new_tokens=12, seed=3)
    policy.base.generation_config.repetition_penalty = 50.0
    policy.base.generation_config.min_new_tokens = 12
    assert complete(policy, ["a b"] * 8, weights, max_new_tokens=12, seed=3) == before
