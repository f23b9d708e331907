import torch
from datasets import Dataset

from moalign.training.pairs import PairIds, PairTable
from moalign.training.rollouts.rounds import KeptRow, RoundData
from moalign.training.runs.batch_rows import batch_rows, rows_name

PAIRS = object.__new__(PairTable)
PAIRS.ids = [PairIds([1], [2, 3], [4]), PairIds([1], [2], [4]), PairIds([5], [6], [7])]


def kept(ids):
    return KeptRow("x", (1.0,), "y", ids, (0.0,), 0.0)


ROUND = object.__new__(RoundData)
ROUND.items = [{"prompt_ids": [5], "row": kept([6])}, {"prompt_ids": [5, 6], "row": kept([7, 8])}]


def test_pairs_are_found_by_their_tokens():
    batch = {"ids": [PairIds([5], [6], [7]), PairIds([1], [2, 3], [4])]}
    assert batch_rows(PAIRS, batch) == (2, 0)
    assert rows_name(PAIRS) == "pairs of the training data"


def test_kept_rows_are_found_behind_their_padding_and_the_worst_ones_left_out():
    batch = {
        "input_ids": torch.tensor([[5, 6, 7, 8], [0, 0, 5, 6], [0, 0, 5, 9]]),
        "attention_mask": torch.tensor([[1, 1, 1, 1], [0, 0, 1, 1], [0, 0, 1, 1]]),
        "better": torch.tensor([0]),
    }
    assert batch_rows(ROUND, batch) == (1, 0)
    assert rows_name(ROUND) == "rows of the round"


def test_prompts_are_counted_once_however_many_completions_they_have():
    prompts = Dataset.from_dict({"prompt": ["a", "b", "c"]})
    rows = [{"prompt": "c"}, {"prompt": "c"}, {"prompt": "a"}, {"prompt": "elsewhere"}]
    assert batch_rows(prompts, rows) == (2, 0)
    assert rows_name(prompts) == "prompts of the training data"


def test_what_cannot_be_told_is_left_out():
    assert batch_rows(Dataset.from_dict({"text": ["a"]}), [{"prompt": "a"}]) == ()
    assert batch_rows(PAIRS, {"input_ids": torch.zeros(1, 2)}) == ()
    assert batch_rows(None, []) == ()
