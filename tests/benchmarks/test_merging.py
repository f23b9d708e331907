import dataclasses

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from benchmarks.merging import loaded, methods
from benchmarks.merging.context import SHAPE, Context, shapes, tensors
from benchmarks.merging.engines import ratio
from frontier.realize.merging import merge


@pytest.fixture
def context(tmp_path):
    return Context(tmp_path, repeats=1, quick=True)


def save(folder, **given):
    folder.mkdir()
    save_file({name: torch.tensor(value) for name, value in given.items()}, folder / "model.safetensors")
    return folder


def test_the_models_are_as_large_as_they_are_said_to_be(context):
    full = dataclasses.replace(context, quick=False).config() | SHAPE
    assert sum(torch.Size(shape).numel() for _, shape in shapes(full)) == 134_515_008


def test_models_are_a_base_and_small_changes_of_it(context):
    base, first, second = (tensors(context.config(), torch.float32, name) for name in ("base", "0", "1"))
    name = "model.layers.1.mlp.up_proj.weight"
    changes = torch.stack([first[name] - base[name], second[name] - base[name]])
    assert_close(changes.std(), torch.tensor(0.002), rtol=0.05, atol=0)
    assert abs(torch.corrcoef(changes.flatten(1))[0, 1]) < 0.05


@pytest.mark.slow
def test_what_needs_mergekit_is_left_out_without_it(context):
    rows = {row.id: row for row in methods.rows(context)}
    assert rows["ties.time_ratio"].value is None
    assert "--mergekit" in rows["ties.time_ratio"].what
    assert rows["linear.seconds"].value > 0
    assert rows["dare.error"].holds
    assert rows["dare.kept"].value == pytest.approx(0.5, abs=0.02)


def test_a_wrong_scale_or_a_wrong_weight_is_found(context):
    folder = context.models(torch.float32)
    recipe = context.recipe("dare_linear", torch.float32, density=0.5)
    recipe["models"] = recipe["models"][:1]
    merge(recipe, context.scratch / "right", progress=False)
    place = (context.scratch / "right", folder / "base", folder / "0")
    assert methods._from_definition(*place, 0.5)[0] < 1e-6
    assert methods._from_definition(*place, 0.51)[0] > 1e-5
    merge({**recipe, "parameters": {"rescale": False}}, context.scratch / "plain", progress=False)
    assert methods._from_definition(context.scratch / "plain", *place[1:], 0.5)[0] > 1e-3
    assert load_file(context.scratch / "right" / "model.safetensors").keys() == dict(shapes(context.config())).keys()


def test_the_largest_difference_by_hand(tmp_path):
    one = save(tmp_path / "one", x=[1.0, 2.0], y=[4.0])
    other = save(tmp_path / "other", x=[1.0, 2.5], y=[4.0])
    recipe = {"merge_method": "linear"}
    assert methods._largest_difference(one, other, recipe) == (pytest.approx(0.2), 0)
    with pytest.raises(RuntimeError, match="hold different tensors"):
        methods._largest_difference(one, save(tmp_path / "third", x=[1.0, 2.0]), recipe)


def test_only_equal_changes_at_the_threshold_are_left_open(tmp_path):
    base = save(tmp_path / "base", x=[0.0] * 6)
    model = save(tmp_path / "model", x=[3.0, -1.0, 2.0, 1.0, 0.5, 0.0])
    recipe = {"merge_method": "ties", "base_model": str(base)}

    def left_open(density):
        models = [{"model": str(model), "parameters": {"density": density}}]
        return methods._left_open("x", recipe | {"models": models}).tolist()

    assert left_open(0.5) == [False, True, False, True, False, False]  # one of the two of magnitude 1
    assert left_open(4 / 6) == [False] * 6  # both
    assert left_open(2 / 6) == [False] * 6


def test_a_ratio_is_of_medians_and_its_spread_of_rounds():
    assert ratio([1.0, 2.0, 9.0], [4.0, 4.0, 3.0]) == (0.5, [0.25, 3.0])


def test_a_merge_in_memory(context):
    (row,) = loaded.rows(context)
    assert row.id == "in_place.seconds"
    assert row.value > 0
