import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import PeftModel
from torch.testing import assert_close
from transformers import AutoModelForCausalLM

from frontier.errors import InputError
from moalign.bundle import sha256
from moalign.exporting import ExportSource, export_grid
from moalign.exporting.expected import ExpectedRewards
from moalign.exporting.grid import grid_preferences, point_name
from moalign.exporting.servers import server_flags, vllm_rank
from moalign.preference import Preference

IDS = torch.tensor([[1, 5, 6, 7]])


def test_two_objectives_have_as_many_points_as_asked():
    assert [p.values["a"] for p in grid_preferences(["a", "b"], 5)] == [1.0, 0.75, 0.5, 0.25, 0.0]


@given(st.integers(3, 5), st.integers(5, 40))
def test_more_have_the_smallest_lattice(k, n):
    found = grid_preferences([f"o{i}" for i in range(k)], n)
    sizes = [math.comb(p + k - 1, k - 1) for p in range(1, 40)]
    assert len(found) == min(size for size in sizes if size >= n)
    assert len({point_name(p) for p in found}) == len(found)
    assert {max(p.values.values()) for p in found} >= {1.0}


def test_names_are_safe_and_tell_near_points_apart():
    assert point_name(Preference.parse("helpful=0.7,brief=0.3")) == "helpful-0.7_brief-0.3"
    names = [point_name(p) for p in grid_preferences(["a", "b"], 1001)]
    assert len(set(names)) == 1001
    assert not any(set(name) & set("=,/ ") for name in names)


@pytest.mark.parametrize(
    ("names", "n", "message"), [(["a"], 2, "needs at least 2 objectives"), (["a", "b", "c"], 2, "at least 3")]
)
def test_too_few(names, n, message):
    with pytest.raises(InputError, match=message):
        grid_preferences(names, n)


def test_every_member_is_the_policy_there(policy, bundle, tiny_base, front, tmp_path):
    source = ExportSource.from_bundle(bundle)
    points = [Preference.parse(text) for text in ("helpful=1,brief=0", "helpful=0.5,brief=0.5", "warm=1")]
    grid = export_grid(source, points, tmp_path / "out", expected=ExpectedRewards(front))
    document = json.loads((tmp_path / "out" / "grid.json").read_text())
    assert [entry["name"] for entry in document["adapters"]] == list(grid.points)
    assert document["max_rank"] == grid.rank == 10
    for entry, point in zip(document["adapters"], points, strict=True):
        folder = tmp_path / "out" / entry["folder"]
        assert sha256(folder / "adapter_model.safetensors") == entry["sha256"]
        config = json.loads((folder / "adapter_config.json").read_text())
        assert (config["rank_pattern"], config["r"]) == ({}, entry["rank"])  # one rank for all layers
        plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_base), folder).eval()
        with torch.no_grad(), policy.steer(point) as model:
            assert_close(plain(IDS).logits, model(IDS).logits, atol=1e-5, rtol=1e-5)
    assert document["adapters"][1]["expected"]["rewards"] == {"helpful": 2.5, "brief": 2.5}
    assert document["adapters"][2]["expected"] is None
    readme = (tmp_path / "out" / "README.md").read_text()
    assert f"helpful-0.5_brief-0.5={tmp_path / 'out' / 'helpful-0.5_brief-0.5'}" in readme
    assert "| `helpful-0.5_brief-0.5` | 0.5 | 0.5 | 0 | 2.5 (2.3 to 2.7) | 2.5 (2.1 to 2.9) | not known |" in readme


def test_a_truncated_grid_and_one_that_takes_its_place(bundle, tmp_path):
    source = ExportSource.from_bundle(bundle)
    export_grid(source, grid_preferences(source.manifest.objectives, 3), tmp_path / "out")
    first = Preference.parse("helpful=0.5,brief=0.5")
    grid = export_grid(source, [first], tmp_path / "out", "truncated", rank=2)
    assert grid.rank == 2
    assert grid.points[point_name(first)].truncation.relative_error > 0
    assert [path.name for path in (tmp_path / "out").iterdir() if path.is_dir()] == [point_name(first)]


def test_refuses(bundle, tmp_path):
    source = ExportSource.from_bundle(bundle)
    point = Preference.parse("helpful=0.5,brief=0.5")
    with pytest.raises(InputError, match="a grid is a set of adapters"):
        export_grid(source, [point], tmp_path / "out", "merged")
    with pytest.raises(InputError, match=r"share the name helpful-0\.5_brief-0\.5"):
        export_grid(source, [point, point], tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_ranks_that_vllm_takes():
    assert [vllm_rank(r) for r in (1, 2, 8, 9, 48, 300, 321, 600)] == [1, 8, 8, 16, 64, 320, 512, 600]


def test_flags():
    flags = server_flags("org/base", {"a-1": "/x/a-1", "b-1": "/x/b 1"}, 12, ["q_proj"])
    assert "--max-lora-rank 16 --max-loras 2 --max-cpu-loras 2" in flags["vLLM"]
    assert "a-1=/x/a-1 \\\n    'b-1=/x/b 1'" in flags["vLLM"]
    assert "--max-lora-rank 12" in flags["SGLang"]
    assert "--lora-target-modules q_proj" in flags["SGLang"]
    assert "--lora-adapters a-1=/x/a-1,'b-1=/x/b 1'" in flags["TGI"]
    assert '"adapter_id": "/x/a-1", "adapter_source": "local"' in flags["LoRAX"]
    with pytest.raises(InputError, match="cut their lists"):
        server_flags("org/base", {"a=1": "/x"}, 4, ["q_proj"])
