from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from benchmarks.training import pairs
from benchmarks.training.context import Context
from benchmarks.training.pair_runs import Setting, flops

pytestmark = pytest.mark.filterwarnings("ignore")
EQUAL = ("over_trl_precomputed", "over_trl", "memory_ratio", "loss_difference")


@pytest.mark.slow
def test_a_quick_run_has_every_row_and_trains_as_trl_does(tmp_path):
    found = {row.id: row for row in pairs.rows(Context(tmp_path, None, True, Path("nowhere")))}
    wanted = {f"pairs.{name}" for name in EQUAL} | {f"pairs.varied.{name}" for name in EQUAL}
    assert wanted | {"steerable.over_plain", "pairs.roofline", "pairs.profile.rest"} <= set(found)
    assert all(row.value is not None and row.value >= 0 for row in found.values())
    assert found["pairs.loss_difference"].holds
    assert found["pairs.varied.loss_difference"].holds
    assert found["pairs.padding"].value == 0
    assert found["pairs.varied.padding"].value < 0.3


def test_lengths_are_what_they_are_said_to_be(tmp_path):
    setting = Setting(hidden=64, layers=1, vocabulary=100, length=40)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(setting.save(tmp_path / "base"))
    for row in setting.pairs(3):
        lengths = [len(tokenizer(row["prompt"] + row[side] + " </s>")["input_ids"]) for side in ("chosen", "rejected")]
        assert lengths == [40, 40]
        assert len(tokenizer(row["prompt"])["input_ids"]) == 20
    varied = Setting(varied=True).pairs(400)
    words = sorted(len(row["prompt"].split()) for row in varied)
    assert 60 < words[200] < 110  # 63 to 73 words of 1.3 tokens at the median
    assert words[-1] > 300


def test_operations_by_hand():
    setting = Setting(hidden=64, layers=1, vocabulary=100, batch=2)
    rows = [{"prompt": "a b", "chosen": " c", "rejected": " c"}]  # 2 + 2 + 2 tokens, the ends counted
    middle = 160  # 64 * 8 / 3 in steps of 32
    frozen, thin = 4 * 64 * 64 + 3 * 64 * middle, 16 * (4 * 128 + 3 * (64 + middle))
    attention = 3 * 4 * (2 + 8 + 4) * 64  # pairs seen: 2 in the prompt, 2 * 4 of the prompt, 2 in each completion
    expected = 6 * (4 * frozen + 6 * thin) + attention + 4 * 4 * 100 * 64
    assert flops(None, setting, rows) == 2 * expected
