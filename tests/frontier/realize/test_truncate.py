import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import PeftModel
from safetensors.torch import load_file
from torch.testing import assert_close
from transformers import AutoModelForCausalLM

from frontier.errors import InputError
from frontier.realize.lora_folder import LoraFolder
from frontier.realize.truncate import choose_ranks, export_truncated_lora, rank_space, truncate_factors

IDS = torch.tensor([[1, 5, 6, 7, 8], [1, 9, 10, 11, 12]])
WEIGHTS = [0.7, -0.4, 1.5]


def steered(mixture, weights):
    with torch.no_grad(), mixture.steer(torch.tensor(weights)):
        return mixture.model(IDS).logits


def test_by_hand():
    """B·A = diag(3, 4): without the 3 its error is 3."""
    up, down, error = truncate_factors(torch.tensor([[3.0, 0.0], [0.0, 4.0]]), torch.eye(2), rank=1)
    assert_close(up @ down, torch.tensor([[0.0, 0.0], [0.0, 4.0]]), atol=1e-7, rtol=0)
    assert error == pytest.approx(3)
    assert truncate_factors(torch.diag(torch.tensor([3.0, 4.0])), torch.eye(2), energy=0.63)[2] == pytest.approx(3)
    assert truncate_factors(torch.diag(torch.tensor([3.0, 4.0])), torch.eye(2), energy=0.65)[2] == 0  # 16/25 < 0.65


@settings(deadline=None, max_examples=60)
@given(
    d_out=st.integers(1, 20),
    d_in=st.integers(1, 20),
    full=st.integers(1, 24),
    rank=st.integers(1, 24),
    scale=st.sampled_from([1e-12, 1.0, 1e12]),
    deficient=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_is_the_dense_decomposition(d_out, d_in, full, rank, scale, deficient, seed):
    generator = torch.Generator().manual_seed(seed)
    up = torch.randn(d_out, full, generator=generator, dtype=torch.float64) * scale
    down = torch.randn(full, d_in, generator=generator, dtype=torch.float64)
    if deficient:  # two experts with the same factors, and one that is zero
        up[:, full // 2 :] = up[:, : full - full // 2].clone()
        down[full // 2 :] = down[: full - full // 2].clone()
        up[:, -1] = 0
    dense = up @ down
    u, values, v = torch.linalg.svd(dense, full_matrices=False)
    best = (u[:, :rank] * values[:rank]) @ v[:rank]
    got_up, got_down, error = truncate_factors(up, down, rank=rank)
    size = float(dense.norm()) + 1e-300
    assert error / size == pytest.approx(float((dense - best).norm()) / size, abs=1e-6)
    assert error / size == pytest.approx(float((dense - got_up @ got_down).norm()) / size, abs=1e-6)
    assert got_up.shape[1] == got_down.shape[0] <= max(rank, 1)
    if rank >= full:
        assert torch.equal(got_up, up)
        assert torch.equal(got_down, down)
        assert error == 0


def test_float32_and_bfloat16_are_rounded_once():
    generator = torch.Generator().manual_seed(0)
    up, down = torch.randn(40, 12, generator=generator), torch.randn(12, 30, generator=generator)
    dense = torch.linalg.svdvals(up.double() @ down.double())
    for dtype, rounding in ((torch.float32, 1e-6), (torch.bfloat16, 1e-2)):
        u, d = up.to(dtype), down.to(dtype)
        got_up, got_down, error = truncate_factors(u, d, rank=5)
        assert got_up.dtype == got_down.dtype == dtype
        exact = u.double() @ d.double()
        assert error == pytest.approx(float(torch.linalg.svdvals(exact)[5:].norm()), rel=1e-12)
        off = float((exact - got_up.double() @ got_down.double()).norm())
        assert off == pytest.approx(error, rel=rounding)
        assert_close(got_up.double().norm(dim=0), got_down.double().norm(dim=1), atol=0, rtol=rounding)  # √σ in each
    assert dense[5] > 1  # so that something was really cut off


def test_tiny_discarded_values_are_not_noise():
    """In float32 the error 1e-9 beside a norm of 1 could not be told from rounding."""
    up = torch.diag(torch.tensor([1.0, 1e-9]))
    assert truncate_factors(up, torch.eye(2), rank=1)[2] == pytest.approx(1e-9, rel=1e-6)


def test_ranks_are_pooled_over_layers():
    strong, weak = torch.tensor([10.0, 8.0, 1.0]), torch.tensor([2.0, 0.5])
    # Squares 100, 64, 4, 1, 0.25 of 169.25 in all: two values keep 96.9 %, three 99.26 %, four 99.85 %.
    assert choose_ranks([strong, weak], energy=0.96) == [2, 1]  # a layer keeps at least one
    assert choose_ranks([strong, weak], energy=0.98) == [2, 1]
    assert choose_ranks([strong, weak], energy=0.997) == [3, 1]
    assert choose_ranks([strong, weak], energy=1.0) == [3, 2]
    assert choose_ranks([strong, weak], energy=1.0, rank=2) == [2, 2]
    assert choose_ranks([strong, weak], rank=9) == [3, 2]
    assert choose_ranks([torch.zeros(3), weak], energy=1.0) == [1, 2]
    assert choose_ranks([torch.zeros(3)], energy=0.5) == [1]
    assert choose_ranks([], energy=0.5) == []


@given(st.lists(st.lists(st.floats(0, 10), min_size=1, max_size=6), min_size=1, max_size=5), st.floats(0.01, 1))
def test_no_other_ranks_of_the_same_sum_keep_more(layers, energy):
    values = [torch.tensor(sorted(layer, reverse=True), dtype=torch.float64) for layer in layers]
    ranks = choose_ranks(values, energy=energy)
    kept = sum(float(v[:r].square().sum()) for v, r in zip(values, ranks, strict=True))
    total = sum(float(v.square().sum()) for v in values)
    assert kept >= energy * total * (1 - 1e-12)
    best = torch.cat(values).square().sort(descending=True).values
    free = sum(r for v, r in zip(values, ranks, strict=True) if r > 1)
    assert sum(float(v[:r].square().sum()) for v, r in zip(values, ranks, strict=True) if r > 1) <= float(
        best[:free].sum()
    ) * (1 + 1e-12)


def dense_change(mixture, path):
    up, down = mixture.factors(path, WEIGHTS)
    return up.double() @ down.double()


@pytest.mark.parametrize("options", [{"rank": 3}, {"energy": 0.8}, {"energy": 0.9, "rank": 4}])
def test_an_exported_folder_is_the_best_there_is_for_plain_peft(mixture, tiny_base, tmp_path, options):
    report = export_truncated_lora(mixture, WEIGHTS, tmp_path / "out", prompts=IDS.tolist(), **options)
    folder = LoraFolder.read(tmp_path / "out")
    assert set(folder.modules) == set(mixture.layers) == set(report.layers)
    for path, layer in report.layers.items():
        dense = dense_change(mixture, path)
        values = torch.linalg.svdvals(dense)
        assert folder.modules[path].rank == layer.rank <= options.get("rank", 99)
        assert layer.norm == pytest.approx(float(dense.norm()), rel=1e-6)
        assert layer.error == pytest.approx(float(values[layer.rank :].norm()), abs=1e-6 * layer.norm)
        assert float((dense - folder.delta(path).double()).norm()) == pytest.approx(layer.error, abs=1e-6 * layer.norm)
    if "rank" not in options:
        assert report.relative_error <= math.sqrt(1 - options["energy"]) + 1e-9
    exact = steered(mixture, WEIGHTS)
    plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_base), tmp_path / "out").eval()
    with torch.no_grad():
        got = plain(IDS).logits
    log_p, log_q = exact.log_softmax(-1), got.log_softmax(-1)
    kl = (log_p.exp() * (log_p - log_q)).sum(-1)
    off, change = float((exact - got).norm()), float((exact - steered(mixture, [0.0] * 3)).norm())
    assert report.logits.kl_mean == pytest.approx(float(kl.mean()), abs=1e-5)
    assert report.logits.kl_max == pytest.approx(float(kl.max()), abs=1e-4)
    assert report.logits.relative_error == pytest.approx(off / float(exact.norm()), abs=1e-4)
    assert report.logits.share_of_change == pytest.approx(off / change, abs=1e-4)
    assert 0 < report.logits.kl_mean < report.logits.kl_max
    written = json.loads((tmp_path / "out" / "truncation.json").read_text())
    assert written["relative_error"] == report.relative_error
    assert written["logits"]["kl_max"] == report.logits.kl_max
    assert written["layers"][path]["error"] == report.layers[path].error
    assert written["rank"] < written["full_rank"]


def test_pefts_svd_has_the_same_error(mixture, tiny_base, plain_adapters, tmp_path):
    """The independent implementation: it decomposes the dense matrices."""
    rank = 3
    names = list(plain_adapters)
    model = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(tiny_base), plain_adapters[names[0]], adapter_name=names[0]
    )
    for name in names[1:]:
        model.load_adapter(plain_adapters[name], adapter_name=name)
    # PEFT over-scales the result of rsLoRA adapters, so the comparison leaves out the one that uses it.
    model.add_weighted_adapter(["helpful", "warm"], [0.7, 1.5], "mixed", combination_type="svd", svd_rank=rank)
    report = export_truncated_lora(mixture, [0.7, 0.0, 1.5], tmp_path / "two", rank=rank)
    compared = 0
    for path, layer in report.layers.items():
        factors = mixture.factors(path, [0.7, 0.0, 1.5])
        if factors is None:
            continue
        peft_layer = dict(model.base_model.model.named_modules())[path]
        delta = peft_layer.get_delta_weight("mixed").detach()
        error = float((factors[0] @ factors[1] - delta).norm())
        assert error == pytest.approx(layer.error, abs=2e-5 * layer.norm)
        compared += layer.error > 0
    assert compared >= 4


def test_enough_rank_is_exact(mixture, tiny_base, tmp_path):
    report = export_truncated_lora(mixture, WEIGHTS, tmp_path / "out", rank=12, prompts=IDS.tolist())
    assert report.relative_error == 0
    assert {layer.rank for layer in report.layers.values()} >= {10, 6}  # as much as there is and no padding
    assert report.logits.kl_max < 1e-6
    plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_base), tmp_path / "out").eval()
    with torch.no_grad():
        assert_close(plain(IDS).logits, steered(mixture, WEIGHTS), atol=2e-5, rtol=1e-5)


def test_measuring_leaves_the_model_as_it_was(mixture, tmp_path):
    before = steered(mixture, WEIGHTS)
    mixture.model.train()
    export_truncated_lora(mixture, WEIGHTS, tmp_path / "out", rank=1, prompts=[[1, 5]])
    assert mixture.model.training
    mixture.model.eval()
    assert torch.equal(before, steered(mixture, WEIGHTS))
    assert not any(layer._forward_hooks for layer in mixture.layers.values())


def test_zero_weights_export_zero(mixture, tiny_base, tmp_path):
    report = export_truncated_lora(mixture, [0.0] * 3, tmp_path / "out", energy=0.5, prompts=[[1, 5]])
    assert report.relative_error == 0
    assert report.logits.share_of_change == 0
    assert not any(t.any() for t in load_file(tmp_path / "out" / "adapter_model.safetensors").values())


def test_a_failing_export_leaves_nothing(mixture, tmp_path, monkeypatch):
    monkeypatch.setattr("frontier.realize.lora_writing._config", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export_truncated_lora(mixture, WEIGHTS, tmp_path / "out", rank=2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give a rank or an energy"),
        ({"rank": 0}, "rank must be a positive integer, found 0"),
        ({"rank": 2.0}, "positive integer"),
        ({"energy": 0.0}, r"energy must be in \(0, 1\], found 0.0"),
        ({"energy": 1.1}, "energy must be"),
        ({"energy": math.nan}, "energy must be"),
    ],
)
def test_refuses_bad_targets(mixture, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        truncate_factors(torch.ones(3, 2), torch.ones(2, 3), **options)
    with pytest.raises(InputError, match=message):
        export_truncated_lora(mixture, WEIGHTS, tmp_path / "out", **options)


def test_refuses_bad_factors_and_prompts(mixture, tmp_path):
    with pytest.raises(InputError, match=r"found \[3, 2\] and \[3, 2\]"):
        rank_space(torch.ones(3, 2), torch.ones(3, 2))
    with pytest.raises(InputError, match="NaN"):
        rank_space(torch.full((3, 2), math.nan), torch.ones(2, 3))
    for prompts in ([], [[1], []]):
        with pytest.raises(InputError, match="at least one prompt"):
            export_truncated_lora(mixture, WEIGHTS, tmp_path / "out", rank=1, prompts=prompts)
