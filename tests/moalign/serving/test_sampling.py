import math

import pytest
import torch

from moalign.serving import sampling
from moalign.serving.sampling import Sampler, choice_generator, choose_tokens


def sampler(temperature=1.0, top_p=1.0, top_k=None, seed=0, choice=0):
    return Sampler(temperature, top_p, top_k, choice_generator(seed, choice))


def draws(logits, n, **kwargs):
    s = sampler(**kwargs)
    return [choose_tokens(logits, [s])[0] for _ in range(n)]


def test_greedy_takes_the_most_likely_token_and_no_random_number():
    s = sampler(temperature=0.0)
    state = s.generator.get_state()
    assert choose_tokens(torch.tensor([[0.0, 2.0, 1.0]]), [s]) == [1]
    assert torch.equal(s.generator.get_state(), state)


def test_frequencies_follow_the_softmax_at_the_temperature():
    logits = torch.tensor([[math.log(1.0), math.log(2.0), math.log(4.0)]])
    n = 4000
    for temperature, expected in ((1.0, [1 / 7, 2 / 7, 4 / 7]), (0.5, [1 / 21, 4 / 21, 16 / 21])):
        counts = torch.bincount(torch.tensor(draws(logits, n, temperature=temperature)), minlength=3) / n
        # four standard errors
        assert torch.allclose(counts, torch.tensor(expected), atol=4 * 0.5 / math.sqrt(n))


def test_top_k_and_top_p_keep_exactly_what_they_say():
    logits = torch.tensor([[0.1, 0.5, 0.15, 0.25]]).log()
    assert set(draws(logits, 300, top_k=1)) == {1}
    assert set(draws(logits, 300, top_k=2)) == {1, 3}
    assert set(draws(logits, 300, top_p=0.4)) == {1}  # 0.5 alone reaches 0.4
    assert set(draws(logits, 300, top_p=0.6)) == {1, 3}
    assert set(draws(logits, 300, top_p=0.8)) == {1, 3, 2}
    assert set(draws(logits, 300)) == {0, 1, 2, 3}
    assert set(draws(logits, 300, top_p=1e-9)) == {1}
    # among the two that top_k leaves (2/3, 1/3), the first already reaches 0.6
    assert set(draws(logits, 300, top_k=2, top_p=0.6)) == {1}


def test_a_row_chooses_the_same_alone_and_among_others():
    torch.manual_seed(0)
    logits = torch.randn(5, 50)
    settings = [
        {"temperature": 1.0, "seed": 1}, {"temperature": 0.0}, {"temperature": 2.0, "top_p": 0.7, "seed": 3},
        {"temperature": 0.7, "top_k": 5, "seed": 4}, {"temperature": 1.0, "seed": 1, "choice": 1},
    ]  # fmt: skip
    together = [sampler(**s) for s in settings]
    batches = [choose_tokens(logits, together) for _ in range(20)]
    for row, setting in enumerate(settings):
        alone = sampler(**setting)
        assert [choose_tokens(logits[row : row + 1], [alone])[0] for _ in range(20)] == [b[row] for b in batches]


def test_rounding_does_not_change_a_sample():
    torch.manual_seed(0)
    logits = torch.randn(1, 30_000)
    noisy = logits + 1e-6 * torch.randn_like(logits)
    assert draws(logits, 100, seed=5, temperature=1.3) == draws(noisy, 100, seed=5, temperature=1.3)


def test_seeds_and_choices_have_their_own_random_numbers():
    logits = torch.zeros(1, 1000)
    streams = [
        draws(logits, 8, seed=seed, choice=choice)
        for seed, choice in ((0, 0), (1, 0), (0, 1), (2**32, 0), (2**63 - 1, 0), (-1, 0))
    ]
    assert len({tuple(s) for s in streams}) == len(streams)
    assert draws(logits, 8, seed=7) == draws(logits, 8, seed=7)


@pytest.mark.parametrize("temperature", [1e-300, 1e-9, 1e300])
def test_extreme_temperatures_give_valid_tokens(temperature):
    logits = torch.tensor([[-torch.inf, 3.0, 5.0, -1e30]])
    found = set(draws(logits, 50, temperature=temperature))
    assert found == ({2} if temperature < 1 else found)
    assert 0 not in found


def by_sorting(scores, temperature, top_p, top_k):
    """The tokens that may be drawn, by a stable sort of the whole vocabulary."""
    values, order = (scores.double() / temperature).sort(descending=True, stable=True)
    values, order = values[:top_k], order[:top_k]
    probability = values.softmax(-1)
    stays = (probability.cumsum(-1) - probability < top_p) | (torch.arange(len(values)) == 0)
    return set(order[stays].tolist()) if top_p < 1 else set(order.tolist())


@pytest.mark.parametrize("look", [1, 7, 50, 1024])
@pytest.mark.parametrize("tied", [False, True])
def test_a_first_look_at_the_best_changes_nothing(monkeypatch, look, tied):
    monkeypatch.setattr(sampling, "FIRST_LOOK", look)
    generator = torch.Generator().manual_seed(1)
    logits = 3 * torch.randn(24, 60, generator=generator)
    if tied:
        logits = logits.round()
        logits[:, 40:] = -torch.inf
    settings = [(p, k) for p in (1e-9, 0.3, 0.9, 0.999, 1.0) for k in (None, 1, 6, 45, 60, 2**31 - 1, 2**63)][:24]
    samplers = [sampler(0.8, p, k) for p, k in settings]
    kept = sampling._keep_top(logits.double() / 0.8, samplers)
    for row, (p, k) in enumerate(settings):
        possible = by_sorting(logits[row], 0.8, p, k)
        assert set(kept[row].isfinite().nonzero()[:, 0].tolist()) == {
            i for i in possible if logits[row, i] > -torch.inf
        }


def test_all_tokens_are_sorted_only_where_the_best_are_not_enough(monkeypatch):
    sorted_rows = []
    sort = torch.Tensor.sort
    monkeypatch.setattr(
        torch.Tensor, "sort", lambda self, *a, **k: (sorted_rows.append(len(self)), sort(self, *a, **k))[1]
    )
    peaked, flat = torch.linspace(0, -400, 4000), torch.zeros(4000)
    choose_tokens(torch.stack([peaked] * 3), [sampler(top_p=0.9), sampler(top_k=50), sampler(top_p=0.5, top_k=1000)])
    assert sorted_rows == []
    choose_tokens(torch.stack([peaked, flat]), [sampler(top_p=0.9), sampler(top_p=0.9)])
    assert sorted_rows == [1]


@pytest.mark.parametrize("top_k", [2**31, 2**63, 10**30])
def test_a_top_k_beyond_the_vocabulary_keeps_it(top_k):
    logits = torch.randn(1, 40)
    assert draws(logits, 20, top_k=top_k) == draws(logits, 20)


def test_a_failure_draws_no_random_numbers(monkeypatch):
    s = sampler()
    state = s.generator.get_state()

    def fail(*_, **__):
        raise RuntimeError("no memory")

    monkeypatch.setattr(torch.Tensor, "log_", fail)
    with pytest.raises(RuntimeError):
        choose_tokens(torch.zeros(1, 5), [s])
    assert torch.equal(s.generator.get_state(), state)
