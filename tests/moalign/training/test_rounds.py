import json
import math

import pytest
import torch
from torch.testing import assert_close

from frontier.errors import InputError
from moalign.training.rounds import Draws, KeptRow, RoundCollator, RoundData, keep_best, shuffled_passes

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
