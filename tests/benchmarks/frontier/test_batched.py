import torch

from benchmarks.frontier import batched
from benchmarks.frontier.context import Context


def test_a_quick_run_compares_with_a_loop(tmp_path):
    rows = batched.rows(Context(tmp_path, quick=True))
    on_gpu = ["hv.batched.2.cuda.speedup", "hv.batched.3.cuda.speedup"] if torch.cuda.is_available() else []
    assert [row.id for row in rows] == ["hv.batched.2.speedup", "hv.batched.3.speedup", *on_gpu]
    assert [row.bar for row in rows[:2]] == [">= 5", ">= 2"]
    assert all(row.value > 0 for row in rows)
    assert all("(interval: quartiles over rounds)" in row.what for row in rows)
