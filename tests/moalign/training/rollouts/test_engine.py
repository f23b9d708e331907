"""Rollouts of the batching engine: transformers' tokens where greedy, its distribution where sampled, less work, and nothing left behind."""

import pytest
import torch
from peft import LoraConfig
from transformers import GenerationConfig, GPT2Config, GPT2LMHeadModel

from moalign.conditioning.adapter_mixture import add_adapters
from moalign.loading import load_tokenizer
from moalign.policy import SteerablePolicy
from moalign.training.rollouts.engine import generate_rollout
from moalign.training.rollouts.sampling import RolloutSampling

PROMPTS = ["a b", "c d e f g h", "f", "g h ? i"]


def sampling(policy, **changes):
    given = {"max_new_tokens": 12, "do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
    given |= {"eos_token_id": policy.eos_token_ids or None} | changes
    return RolloutSampling.of(GenerationConfig(**given), GenerationConfig())


def groups(policy, size=4):
    """Prompts of `size` completions each, and a preference for each of them."""
    ids = [prompt for prompt in policy.encode(PROMPTS) for _ in range(size)]
    weights = torch.rand(len(PROMPTS), len(policy.objectives), generator=torch.Generator().manual_seed(3))
    return ids, weights.repeat_interleave(size, 0)


def gpt2(tokenizer_from):
    torch.manual_seed(0)
    tokenizer = load_tokenizer(tokenizer_from)
    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=len(tokenizer), n_positions=32, n_embd=16, n_layer=2, n_head=2, initializer_range=0.3)
    )
    config = LoraConfig(r=2, target_modules=["c_attn"], init_lora_weights=False)
    policy = SteerablePolicy(add_adapters(model, {"helpful": config, "brief": config}), tokenizer, ("helpful", "brief"))
    policy.model.eval()
    return policy


@pytest.fixture(params=["llama", "gpt2"])
def policy(request, quick, tiny_base):
    return quick.policy(tiny_base) if request.param == "llama" else gpt2(tiny_base)


def test_greedy_rollouts_are_transformers_token_for_token(policy):
    ids, weights = groups(policy, 2)
    weights[1::2] = weights[1::2].flip(1)  # one prompt, two preferences
    found = generate_rollout(policy, ids, weights, sampling(policy, do_sample=False))
    expected = policy.generate_ids(ids, weights, do_sample=False, max_new_tokens=12)
    assert found == expected
    assert len({len(completion) for completion in found}) > 1 or max(map(len, found)) == 12


def test_a_tokens_distribution_is_the_policys(policy):
    """The first two tokens of many completions of one prompt, beside the probabilities that a forward finds."""
    n = 4000
    ids, weights = policy.encode(PROMPTS[:1]), torch.tensor([[0.7, 0.3]])
    torch.manual_seed(0)
    found = generate_rollout(
        policy, ids * n, weights.expand(n, -1), sampling(policy, max_new_tokens=2, temperature=0.7)
    )
    with torch.no_grad(), policy.steer_rows(weights):
        first = (policy.model(torch.tensor(ids)).logits[0, -1] / 0.7).softmax(-1)
        best = int(first.argmax())
        second = (policy.model(torch.tensor([[*ids[0], best]])).logits[0, -1] / 0.7).softmax(-1)
    follow = [c[1] for c in found if c[0] == best and len(c) > 1]
    for drawn, p in (([c[0] for c in found], first), (follow, second)):
        share = torch.bincount(torch.tensor(drawn), minlength=len(p)) / len(drawn)
        assert ((share - p).abs() <= 5 * (p * (1 - p) / len(drawn)).sqrt() + 1e-9).all()


def test_rows_end_at_their_ending_token_or_at_the_limit(policy):
    ids, weights = groups(policy, 8)
    torch.manual_seed(1)
    found = generate_rollout(policy, ids, weights, sampling(policy, eos_token_id=[5, 7, 9, 11]))
    for completion in found:
        assert not {5, 7, 9, 11} & set(completion[:-1])
        assert completion[-1] in (5, 7, 9, 11) or len(completion) == 12
    assert min(map(len, found)) < 12


def test_it_tells_of_each_completion_once_as_soon_as_it_is_over(policy):
    ids, weights = groups(policy, 8)
    told = []
    torch.manual_seed(1)
    asked = sampling(policy, eos_token_id=[5, 7, 9, 11])
    found = generate_rollout(policy, ids, weights, asked, lambda place, tokens: told.append((place, list(tokens))))
    assert sorted(told) == list(enumerate(found))
    lengths = [len(tokens) for _, tokens in told]
    # A token for each row in every step, but prompts that are computed in one chunk begin together: the short ones are over first.
    assert lengths == sorted(lengths)
    assert lengths[0] < lengths[-1]


def test_the_limit_may_be_the_models_last_position(quick, tiny_base):
    """Ended rows that stay in the batch for a while must not run on: GPT-2 knows 32 positions."""
    policy = gpt2(tiny_base)
    ids = [policy.encode(["a b"])[0] * 9] * 3 + policy.encode(["c"]) * 29
    ids = [prompt[:20] for prompt in ids]
    found = generate_rollout(policy, ids, torch.zeros(32, 2), sampling(policy, eos_token_id=None, max_new_tokens=12))
    assert {len(completion) for completion in found} == {12}


def test_seeds_repeat_a_rollout_and_the_state_goes_on(policy):
    ids, weights = groups(policy)
    torch.manual_seed(4)
    first = generate_rollout(policy, ids, weights, sampling(policy))
    second = generate_rollout(policy, ids, weights, sampling(policy))
    torch.manual_seed(4)
    assert generate_rollout(policy, ids, weights, sampling(policy)) == first != second


def test_a_groups_prompt_is_computed_once_and_ended_rows_no_more(quick, tiny_base):
    policy = quick.policy(tiny_base)
    ids, weights = groups(policy, 8)
    rows, prompt_cells = [], []

    def count(module, args, given):
        shape = given["input_ids"].shape
        (prompt_cells if len(rows) == 0 and shape[1] > 1 else rows).append(shape[0] * shape[1])

    hook = policy.base.register_forward_pre_hook(count, with_kwargs=True)
    torch.manual_seed(0)
    found = generate_rollout(policy, ids, weights, sampling(policy, eos_token_id=[5, 7, 9, 11, 13, 15]))
    hook.remove()
    tokens = sum(map(len, found))
    prompt_tokens = sum(len(prompt) for prompt in policy.encode(PROMPTS))
    assert sum(prompt_cells) <= 2 * prompt_tokens  # at least half is no padding, and it is not computed 8 times
    # Each row's first token comes with its prompt; at most an eighth of a step's rows have ended already.
    assert sum(rows) <= (tokens - len(found)) / (1 - 1 / 8) + len(PROMPTS)
    assert sum(rows) < len(found) * max(map(len, found))


@pytest.mark.parametrize("training", [True, False])
def test_dropout_is_off_meanwhile_and_the_mode_is_as_before(quick, tiny_base, training):
    policy = quick.policy(tiny_base, lora_dropout=0.9)
    ids, weights = groups(policy)
    expected = generate_rollout(policy, ids, weights, sampling(policy, do_sample=False))
    policy.model.train(training)
    assert generate_rollout(policy, ids, weights, sampling(policy, do_sample=False)) == expected
    assert policy.model.training is training
    assert all(layer.frozen is None for layer in policy.mixture.layers.values() if hasattr(layer, "frozen"))


def test_an_update_is_seen_by_the_next_rollout(quick, tiny_base):
    policy = quick.policy(tiny_base)
    ids, weights = groups(policy)
    first = generate_rollout(policy, ids, weights, sampling(policy, do_sample=False))
    with torch.no_grad():
        for up in policy.mixture.parameters()[1::2]:
            up.neg_()
    second = generate_rollout(policy, ids, weights, sampling(policy, do_sample=False))
    assert second == policy.generate_ids(ids, weights, do_sample=False, max_new_tokens=12) != first


def test_a_policy_of_nan_stops_with_the_cause_and_leaves_its_mode(quick, tiny_base):
    policy = quick.policy(tiny_base)
    policy.model.train()
    with torch.no_grad():
        policy.mixture.parameters()[1].fill_(float("nan"))
    ids, weights = groups(policy)
    with pytest.raises(RuntimeError, match="not numbers"):
        generate_rollout(policy, ids, weights, sampling(policy))
    assert policy.model.training
