"""The reference is an ordinary model whose listed distribution is the one that it really has."""

import itertools

import pytest
import torch
from torch.testing import assert_close

from frontier.errors import InputError
from moalign.oracle.reference import build_model, build_tokenizer, choice_token


def test_texts_round_trip(default_world):
    tokenizer = default_world.tokenizer
    for text in [*default_world.prompts, *default_world.completions[::37]]:
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    for text in default_world.completions[::501]:
        assert len(tokenizer(text)["input_ids"]) == 5


def test_tokens_do_not_depend_on_their_neighbours(default_world):
    tokenizer = default_world.tokenizer
    prompt, completion = default_world.prompts[1], default_world.completions[123]
    joined = tokenizer(prompt + completion)["input_ids"]
    assert joined == tokenizer(prompt)["input_ids"] + tokenizer(completion)["input_ids"]
    with_end = tokenizer(prompt + completion + tokenizer.eos_token)["input_ids"]
    assert with_end == [*joined, tokenizer.eos_token_id]


@pytest.mark.parametrize(
    "text", ["helpful=0.35, a12 a1b", "Your response should maximize helpful*100 + brief*-60.\nPrompt 2:"]
)
def test_other_text_is_read_without_unknown_tokens(default_world, text):
    tokenizer = default_world.tokenizer
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.decode(ids) == text


def test_listing_equals_the_product_of_conditionals(world):
    """One completion at a time, one token at a time, through the real transformer."""
    model, tokenizer = world.model(), world.tokenizer
    for p, s in itertools.product(range(2), (0, 5, 13, 26)):
        prompt = tokenizer(world.prompts[p])["input_ids"]
        completion = [*tokenizer(world.completions[s])["input_ids"], tokenizer.eos_token_id]
        total = 0.0
        for t, token in enumerate(completion):
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([prompt + completion[:t]])).logits[0, -1]
            total += float(logits.double().log_softmax(-1)[token])
        assert total == pytest.approx(float(world.log_reference[p, s]), abs=2e-4)


@pytest.mark.parametrize("check_end", [False, True])
def test_probabilities_sum_to_one_and_the_end_is_certain(default_world, check_end):
    log_probs = default_world.policy_distribution(default_world.model(), check_end=check_end)
    assert log_probs.shape == (4, 7776)
    assert_close(log_probs.exp().sum(1), torch.ones(4).double(), atol=1e-6, rtol=0)
    assert_close(log_probs, default_world.log_reference, atol=5e-4, rtol=0)


def test_entropy_is_healthy(default_world):
    entropy = -(default_world.log_reference.exp() * default_world.log_reference).sum(1) / 5
    assert (entropy > 1.2).all()
    assert (entropy < 1.7).all()  # log 6 = 1.79: not uniform either


def test_prompts_matter(default_world):
    p = default_world.log_reference.exp()
    assert (p[0] - p[1]).abs().sum() > 0.2


def test_generated_completions_end_by_themselves(world):
    tokenizer = world.tokenizer
    ids = tokenizer([world.prompts[0]] * 50, return_tensors="pt")
    torch.manual_seed(0)
    output = world.model().generate(**ids, do_sample=True, top_k=0, max_new_tokens=8)
    texts = tokenizer.batch_decode(output[:, 1:], skip_special_tokens=True)
    assert set(texts) <= set(world.completions)
    assert len(set(texts)) > 10


def test_same_seed_same_weights_and_global_state_untouched():
    tokenizer = build_tokenizer(3, 2, 1)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, second, other = (build_model(tokenizer, 3, 2, seed) for seed in (1, 1, 2))
    assert_close(torch.rand(3), expected)
    a, b, c = (m.state_dict()["lm_head.weight"] for m in (first, second, other))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_zero_spread_is_uniform():
    from moalign.oracle import OracleWorld

    world = OracleWorld.covered(vocabulary=2, length=2, prompts=1, spread=0.0)
    assert_close(world.log_reference.exp(), torch.full((1, 4), 0.25).double())


def test_choice_token_and_small_hidden():
    assert choice_token(0, 0) == " a1"
    with pytest.raises(InputError, match="hidden must be a multiple of 8 and at least 12"):
        build_model(build_tokenizer(6, 5, 1), 6, 5, 0, hidden=8)
