import json
import math

import pytest
import torch
from torch.testing import assert_close

from frontier.errors import InputError
from moalign.evaluation import complete
from moalign.training.rollouts import rounds
from moalign.training.rollouts.rounds import (
    Draws,
    KeptRow,
    RoundCollator,
    RoundData,
    draw_completions,
    keep_best,
    shuffled_passes,
)

NAN = math.nan


def draws(groups, n):
    total = groups * n
    return Draws(
        [f"prompt {g}" for g in range(groups)],
        torch.tensor([[0.6, -0.8]] * groups),
        [f"text {i}" for i in range(total)],
        [[i, i + 1] for i in range(total)],
        torch.arange(2.0 * total).view(total, 2),
    )


def kept(values, n, **options):
    rows = keep_best(draws(len(values) // n, n), torch.tensor(values), **options)
    return [(row.prompt, row.completion, row.worst) for row in rows]


def test_the_greatest_value_of_each_group_is_kept():
    assert kept([1.0, 3.0, 2.0, -1.0, -3.0, -2.0], 3) == [
        ("prompt 0", "text 1", None),
        ("prompt 1", "text 3", None),
    ]


def test_a_row_carries_what_belongs_to_it():
    (row,) = keep_best(draws(1, 3), torch.tensor([1.0, 2.0, 3.0]), with_worst=True)
    assert (row.ids, row.rewards, row.value) == ([2, 3], (4.0, 5.0), 3.0)
    assert (row.worst, row.worst_ids) == ("text 0", [0, 1])
    assert_close(torch.tensor(row.weights), torch.tensor([0.6, -0.8]))


def test_of_equals_the_first_is_kept_and_nothing_is_worse():
    assert kept([2.0, 2.0, 2.0], 3, with_worst=True) == [("prompt 0", "text 0", None)]


def test_several_are_kept_in_order():
    assert kept([1.0, 3.0, 2.0], 3, keep=2, with_worst=True) == [
        ("prompt 0", "text 1", "text 0"),
        ("prompt 0", "text 2", "text 0"),
    ]


def test_what_is_not_known_is_neither_best_nor_worst():
    assert kept([NAN, 1.0, 2.0, NAN, NAN, NAN, NAN, NAN, 5.0], 3, keep=2, with_worst=True) == [
        ("prompt 0", "text 2", "text 1"),
        ("prompt 0", "text 1", None),
        ("prompt 2", "text 8", None),
    ]


@pytest.mark.parametrize("prompt", ["a text", [{"role": "user", "content": "Hi!"}]])
def test_rows_survive_json_bit_by_bit(prompt):
    third = float(torch.tensor(1 / 3))
    row = KeptRow(prompt, (third, -0.1), "yes", [4, 2], (0.5, NAN), third, "no", [5, 2], (-1.5, third))
    written = json.loads(json.dumps(row.to_json(("a", "b"), "direction"), allow_nan=False))
    read = KeptRow.from_json(written, ("a", "b"))
    assert math.isnan(read.rewards[1])
    assert repr(read) == repr(row)  # NaN is not equal to itself
    said = "yes" if isinstance(prompt, str) else [{"role": "assistant", "content": "yes"}]
    assert written["completion"] == said  # as TRL's trainers read it beside such a prompt
    assert written["preference"] == {"direction": {"a": third, "b": -0.1}}
    assert written["rewards"] == {"a": 0.5, "b": None}


def test_no_prompt_comes_again_before_all_have_come():
    picked = shuffled_passes(5, 12, torch.Generator().manual_seed(0))
    assert len(picked) == 12
    assert sorted(picked[:5]) == sorted(picked[5:10]) == [0, 1, 2, 3, 4]
    assert len(set(picked[10:])) == 2
    assert picked[:5] != picked[5:10]


class Reader:
    """Encodes a prompt as its length and the sign of its first weight."""

    def encode(self, prompts, weights):
        return [[len(p), int(w[0] > 0)] for p, w in zip(prompts, weights, strict=True)]


def test_the_data_set_keeps_its_length_and_repeats_the_first_rows():
    data = RoundData(4, Reader())
    assert len(data) == 4
    with pytest.raises(InputError, match="no round was drawn yet"):
        data[0]
    rows = keep_best(draws(3, 2), torch.tensor([1.0, 2.0, 1.0, 2.0, 1.0, 2.0]))
    data.fill(rows)
    assert [data[i]["row"].prompt for i in range(len(data))] == ["prompt 0", "prompt 1", "prompt 2", "prompt 0"]
    assert data[0]["prompt_ids"] == [8, 1]
    data.fill(rows[1:])
    assert data[0]["row"].prompt == "prompt 1"


def test_a_batch_by_hand():
    def item(prompt_ids, ids, worst=None):
        row = KeptRow("x", (1.0, 0.0), "", ids, (0.0, 0.0), 0.0, worst and "", worst, worst and (-1.0, -2.0))
        return {"prompt_ids": prompt_ids, "row": row, "weights": torch.tensor(row.weights)}

    batch = RoundCollator(0)([item([7], [8]), item([5, 6], [3, 4], worst=[9])])
    assert batch["input_ids"].tolist() == [[0, 0, 7, 8], [5, 6, 3, 4], [0, 5, 6, 9]]
    assert batch["attention_mask"].tolist() == [[0, 0, 1, 1], [1, 1, 1, 1], [0, 1, 1, 1]]
    assert batch["completion_mask"].tolist() == [[0, 1], [1, 1], [0, 1]]
    assert batch["labels"].tolist() == [[-100, -100, -100, 8], [-100, -100, 3, 4], [-100] * 4]
    assert batch["steering_weights"].tolist() == [[1.0, 0.0]] * 3
    assert batch["better"].tolist() == [1]
    assert batch["reference"].tolist() == [[-1.0, -2.0]]
    assert "better" not in RoundCollator(0)([item([7], [8])])


def test_greedy_draws_are_those_of_transformers(quick, tiny_base):
    policy = quick.policy(tiny_base)
    prompts, weights = ["a b", "a b", "c d e"], torch.tensor([[0.2, 0.8], [0.2, 0.8], [1.0, 0.0]])
    options = {"max_new_tokens": 7, "temperature": 0.0}
    policy.model.train()
    assert draw_completions(policy, prompts, weights, **options) == complete(policy, prompts, weights, **options)
    assert policy.model.training


def test_draws_repeat_with_their_seed_and_leave_the_random_state(quick, tiny_base, monkeypatch):
    policy = quick.policy(tiny_base)
    seeded = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    prompts, weights = ["a b"] * 4 + ["c"] * 4, torch.full((8, 2), 0.5)
    before = torch.get_rng_state()
    first = draw_completions(policy, prompts, weights, seed=1, batch_size=3)
    assert torch.equal(torch.get_rng_state(), before)
    assert draw_completions(policy, prompts, weights, seed=1, batch_size=3) == first
    assert draw_completions(policy, prompts, weights, seed=2, batch_size=3) != first
    assert len({tuple(ids) for ids in first[1]}) > 4
    assert not seeded  # nothing is drawn on GPUs, whose state nobody would bring back


def test_the_base_has_no_say_in_how_completions_are_drawn(quick, tiny_base):
    policy = quick.policy(tiny_base)
    prompts, weights = ["a b"] * 6, torch.full((6, 2), 0.5)
    before = draw_completions(policy, prompts, weights, seed=1)
    policy.base.generation_config.update(top_k=1, repetition_penalty=2.0, suppress_tokens=[5, 6])
    assert draw_completions(policy, prompts, weights, seed=1) == before


@pytest.mark.parametrize(("prompts", "message"), [([], "no prompts"), (["a"], "2 rows of weights for 1 prompts")])
def test_refuses_other_weights_than_one_row_per_prompt(quick, tiny_base, prompts, message):
    with pytest.raises(InputError, match=message):
        draw_completions(quick.policy(tiny_base), prompts, torch.ones(2, 2))


def test_what_cannot_be_batched_is_drawn_by_transformers_with_a_warning(quick, tiny_base, monkeypatch, caplog):
    policy = quick.policy(tiny_base)
    monkeypatch.setattr(policy.base.config, "_attn_implementation", "flash_attention_2")
    asked = []
    monkeypatch.setattr(rounds, "complete", lambda *args, **options: asked.append(options) or ([], []))
    assert draw_completions(policy, ["a"], torch.ones(1, 2), seed=3, batch_size=5) == ([], [])
    assert asked == [{"max_new_tokens": 64, "temperature": 1.0, "seed": 3, "batch_size": 5}]
    assert "batching engine can't" in caplog.text


def test_a_device_without_float64_is_left_to_transformers(quick, tiny_base, monkeypatch, caplog):
    policy = quick.policy(tiny_base)
    monkeypatch.setattr(type(policy), "device", torch.device("mps"))
    monkeypatch.setattr(rounds, "complete", lambda *args, **options: ([], []))
    assert draw_completions(policy, ["a"], torch.ones(1, 2)) == ([], [])
    assert "float64, which device 'mps' does not have" in caplog.text
