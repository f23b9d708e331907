"""A rollout batch scored group by group has the log-probabilities that its rows have one by one."""

import pytest
import torch
from torch.testing import assert_close

from moalign.training.forward.group_scoring import group_log_probs, without_adapters

PROMPTS = [[5, 6, 7], [8], [5, 6, 7], [5, 6, 7], [8]]
COMPLETIONS = [[9, 10], [11, 12, 13, 14], [15], [9, 10, 11], []]
KEEP = 5


@pytest.fixture
def policy(quick, tiny_base):
    return quick.policy(tiny_base)


@pytest.fixture
def batch(policy):
    """TRL's layout: prompts padded on the left, completions on the right; rows of groups apart, one completion masked as a whole, two preferences of a prompt."""
    width = 4
    ids = torch.full((len(PROMPTS), width + KEEP), policy.pad_token_id)
    mask = torch.zeros_like(ids)
    for i, (prompt, completion) in enumerate(zip(PROMPTS, COMPLETIONS, strict=True)):
        ids[i, width - len(prompt) : width] = torch.tensor(prompt)
        ids[i, width : width + len(completion)] = torch.tensor(completion, dtype=torch.long)
        mask[i, width - len(prompt) : width + len(completion)] = 1
    ids[4, width : width + 2] = 3  # tokens under a mask of 0, as of a truncated completion
    weights = torch.tensor([[0.3, 0.7], [0.5, 0.5], [0.3, 0.7], [1.0, 0.0], [0.5, 0.5]])
    return ids, mask, weights


def one_by_one(policy, weights, temperature):
    found, entropies = torch.zeros(len(PROMPTS), KEEP), torch.zeros(len(PROMPTS), KEEP)
    for i, (prompt, completion) in enumerate(zip(PROMPTS, COMPLETIONS, strict=True)):
        if completion:
            with policy.steer_rows(weights[i : i + 1]):
                logits = policy.model(torch.tensor([[*prompt, *completion]])).logits[0, len(prompt) - 1 : -1]
            each = (logits / temperature).log_softmax(-1)
            found[i, : len(completion)] = each[range(len(completion)), completion]
            entropies[i, : len(completion)] = -(each.exp() * each).sum(-1)
    return found, entropies


def test_each_row_is_scored_as_if_alone(policy, batch):
    ids, mask, weights = batch
    options = {"temperature": 0.8, "entropies": True}
    found, entropies = group_log_probs(policy.model, policy, ids, mask, KEEP, weights, **options)
    expected, spread = one_by_one(policy, weights, 0.8)
    assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert_close(entropies, spread, atol=1e-5, rtol=1e-5)
    assert not entropies.requires_grad


def test_gradients_are_those_of_the_rows(policy, batch):
    ids, mask, weights = batch
    some = torch.randn(len(PROMPTS), KEEP, generator=torch.Generator().manual_seed(0))
    adapters = policy.mixture.parameters()
    for parameter in adapters:
        parameter.requires_grad_(True)
    found, none = group_log_probs(policy.model, policy, ids, mask, KEEP, weights, temperature=1.0)
    assert none is None
    ours = torch.autograd.grad((found * some).sum(), adapters)
    theirs = torch.autograd.grad((one_by_one(policy, weights, 1.0)[0] * some).sum(), adapters)
    assert any(gradient.abs().max() > 1e-3 for gradient in ours)
    for mine, other in zip(ours, theirs, strict=True):
        assert_close(mine, other, atol=1e-5, rtol=1e-4)


def test_a_prompt_is_computed_once_per_preference(policy, batch):
    ids, mask, _ = batch
    seen = []
    hook = policy.model.register_forward_pre_hook(
        lambda module, args, given: seen.append(given["input_ids"]), with_kwargs=True
    )
    group_log_probs(policy.model, policy, ids, mask, KEEP, torch.zeros(1, 2), temperature=1.0)
    hook.remove()
    # The last of several: the first ones try whether this model lets completions share a prompt.
    assert sum(int((row == 6).sum()) for row in seen[-1]) == 1


def test_without_adapters_is_the_reference_and_leaves_training_as_it_was(policy, batch):
    ids, mask, weights = batch
    policy.mixture.train_adapters(["helpful"])
    before = {name: p.requires_grad for name, p in policy.model.named_parameters()}
    zero = torch.zeros(1, 2)
    with torch.no_grad():
        expected = group_log_probs(policy.model, policy, ids, mask, KEEP, zero, temperature=1.0)[0]
        with without_adapters(policy):
            found = group_log_probs(policy.model, policy, ids, mask, KEEP, weights, temperature=1.0)[0]
        steered = group_log_probs(policy.model, policy, ids, mask, KEEP, weights, temperature=1.0)[0]
    assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert (steered - found).abs().max() > 1e-2
    assert {name: p.requires_grad for name, p in policy.model.named_parameters()} == before


def test_a_batch_without_a_single_token(policy, batch):
    ids, mask, weights = batch
    mask[:, -KEEP:] = 0
    found, _ = group_log_probs(policy.model, policy, ids, mask, KEEP, weights, temperature=1.0)
    assert torch.equal(found, torch.zeros(len(PROMPTS), KEEP))
