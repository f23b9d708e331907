"""The benchmark of online training: its model ends completions when it says, and a quick run fills every row."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM

from benchmarks.training.online import TINY, rows
from benchmarks.training.online_runs import END, PAD, Setting, quiet, score

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


@dataclass(frozen=True)
class Context:
    scratch: Path
    quick: bool = True


def test_completions_end_after_so_many_tokens_on_average(tmp_path):
    setting = Setting(hidden=64, layers=2, vocabulary=512, mean=10)
    with quiet():
        model = LlamaForCausalLM.from_pretrained(setting.save(tmp_path))
    with torch.no_grad():
        probabilities = model(torch.randint(2, 512, (16, 40))).logits.softmax(-1)
    assert abs(float(probabilities[..., END].mean()) - 0.1) < 0.03
    assert probabilities[..., PAD].max() < 1e-6


def test_the_reward_varies():
    assert score("w7 w1 w17") == 0.5
    assert score("") == 0.0


def test_a_quick_run_fills_every_row(tmp_path):
    found = {row.id: row for row in rows(Context(tmp_path))}
    for name in ("online.over_trl", "online.steerable.over_trl"):
        assert found[name].bar == ">= 1.2"
        assert found[name].value > 0
    assert found["online.overlap"].value > 0
    parts = [found[f"online.{part}.share"] for part in ("rollout", "scoring", "backward", "rest")]
    assert sum(row.value for row in parts) == pytest.approx(1)
    assert all(0 <= row.value <= 1 and 0 <= row.peer_value <= 1 for row in parts)
    assert 1 <= float(found["online.over_trl"].what.split("tokens per completion ")[1].split(",")[0]) <= TINY.longest
