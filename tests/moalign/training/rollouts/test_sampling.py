"""Tokens are drawn from transformers' own distribution, and settings that would change it otherwise are not taken."""

import math

import pytest
import torch
from transformers import AutoModelForCausalLM, GenerationConfig

from frontier.errors import InputError
from moalign.training.rollouts.sampling import RolloutSampling

PLAIN = {"max_new_tokens": 5, "do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "eos_token_id": 3}


def sampling(**changes):
    return RolloutSampling.of(GenerationConfig(**PLAIN | changes), GenerationConfig())


def shares(drawn, size):
    return torch.bincount(torch.tensor(drawn), minlength=size) / len(drawn)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [0.5, 0.3, 0.15, 0.05, 0.0]),
        ({"temperature": 0.5}, [p / 0.365 for p in (0.25, 0.09, 0.0225, 0.0025, 0.0)]),  # squares over their sum
        ({"top_k": 2}, [0.625, 0.375, 0.0, 0.0, 0.0]),
        ({"top_p": 0.9}, [p / 0.95 for p in (0.5, 0.3, 0.15, 0.0, 0.0)]),
        ({"min_p": 0.2}, [p / 0.95 for p in (0.5, 0.3, 0.15, 0.0, 0.0)]),  # at least a fifth of the most likely
    ],
)
def test_draws_from_the_distribution(changes, expected):
    probabilities = torch.tensor([0.5, 0.3, 0.15, 0.05, 0.0])
    torch.manual_seed(0)
    n = 40_000
    found = shares(sampling(**changes).draw(probabilities.log().expand(n, -1)), 5)
    assert found[-1] == 0
    for share, p in zip(found.tolist(), expected, strict=True):
        assert abs(share - p) <= 4.5 * math.sqrt(p * (1 - p) / n)


def test_warpers_and_their_order_are_those_of_generate(tiny_base):
    """A filter sees what those before it left, so that another order is another distribution."""
    model = AutoModelForCausalLM.from_pretrained(tiny_base)
    given = GenerationConfig(**PLAIN | {"temperature": 0.7, "top_k": 6, "top_p": 0.9, "min_p": 0.1})
    theirs = model._get_logits_processor(given)
    ours = RolloutSampling.of(given, model.generation_config).warpers
    assert [(type(one), vars(one)) for one in ours] == [(type(one), vars(one)) for one in theirs]
    assert len(ours) == 4


def test_a_number_worked_out_by_hand(monkeypatch):
    """Cumulative 0.2, 0.2, 0.7, 1.0: the first that exceeds the number, so never a token of probability 0, not even at the ends."""
    logits = torch.tensor([0.2, 0.0, 0.5, 0.3]).log().expand(5, -1)
    numbers = torch.tensor([[0.0], [0.2000001], [0.69], [0.71], [1.0]], dtype=torch.float64)
    monkeypatch.setattr(torch, "rand", lambda *size, dtype: numbers)
    assert sampling().draw(logits) == [0, 2, 2, 3, 3]
    monkeypatch.setattr(torch, "rand", lambda *size, dtype: torch.ones(1, 1, dtype=torch.float64))
    assert sampling().draw(torch.tensor([[1.0, 0.0]]).log()) == [0]  # the last token cannot be drawn


def test_one_number_a_row_from_the_global_generator():
    logits = torch.randn(3, 50)
    torch.manual_seed(1)
    first = sampling().draw(logits)
    after = torch.get_rng_state()
    torch.manual_seed(1)
    assert sampling().draw(logits) == first
    torch.manual_seed(1)
    torch.rand(3, 1, dtype=torch.float64)
    assert torch.equal(torch.get_rng_state(), after)


def test_greedy_takes_the_most_likely_and_no_numbers():
    before = torch.get_rng_state()
    greedy = sampling(do_sample=False, temperature=None, top_k=None, top_p=None)
    assert greedy.draw(torch.tensor([[0.0, 2.0, 1.0], [3.0, 0.0, 0.0]])) == [1, 0]
    assert torch.equal(torch.get_rng_state(), before)


def test_ends_by_token_or_length():
    one = sampling()
    assert not one.ended([1, 2])
    assert one.ended([1, 3])
    assert one.ended([1, 1, 1, 1, 1])
    assert sampling(eos_token_id=[3, 4]).ends == {3, 4}
    assert sampling(eos_token_id=None).ends == frozenset()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_values_that_are_no_numbers_stop(bad):
    logits = torch.zeros(2, 4)
    logits[1, 2] = bad
    with pytest.raises(RuntimeError, match="not numbers"):
        sampling().draw(logits)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"num_beams": 2}, "num_beams = 2"),
        ({"repetition_penalty": 1.2}, "repetition_penalty = 1.2"),
        ({"no_repeat_ngram_size": 3}, "no_repeat_ngram_size = 3"),
        ({"min_new_tokens": 1}, "min_new_tokens = 1"),
        ({"suppress_tokens": [1]}, "suppress_tokens"),
        ({"forced_eos_token_id": 0}, "forced_eos_token_id = 0"),
        ({"stop_strings": ["x"]}, "stop_strings"),
        ({"cache_implementation": "static"}, "cache_implementation"),
        ({"top_k": None}, "a number for top_k"),
        ({"max_new_tokens": None}, "a number for max_new_tokens"),
    ],
)
def test_refuses_what_it_does_not_know(change, named):
    with pytest.raises(InputError, match=named):
        sampling(**change)


def test_the_models_own_settings_count_where_the_run_has_none():
    with pytest.raises(InputError, match="no_repeat_ngram_size = 2"):
        RolloutSampling.of(GenerationConfig(**PLAIN), GenerationConfig(no_repeat_ngram_size=2))
    given = GenerationConfig(**PLAIN, repetition_penalty=1.0)
    assert RolloutSampling.of(given, GenerationConfig(repetition_penalty=1.3, eos_token_id=9)).ends == {3}
