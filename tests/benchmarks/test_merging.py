import dataclasses
import math
import mmap
import time

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from benchmarks.merging import loaded, methods, side, truncate
from benchmarks.merging.context import SHAPE, Context, shapes, tensors
from benchmarks.merging.engines import OURS, THEIRS, Merged, ratio
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
    assert rows["dare.kept"].value == pytest.approx(0.5, abs=0.01)
    assert rows["dare.kept"].holds


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


NAN = [math.nan] * 3


def test_a_broken_result_does_not_pass(tmp_path):
    base, tuned = save(tmp_path / "base", x=[1.0, 2.0, 3.0]), save(tmp_path / "tuned", x=[1.1, 2.2, 3.3])
    nan, zero = save(tmp_path / "nan", x=NAN), save(tmp_path / "zero", x=[0.0] * 3)
    assert methods._from_definition(base, base, tuned, 0.5) == (math.inf, 0)  # nothing kept
    assert methods._from_definition(nan, base, tuned, 0.5)[0] == math.inf
    assert methods._from_definition(base, base, base, 0.5) == (0, 0)  # nothing changed
    recipe = {"merge_method": "linear", "dtype": "float32"}
    for pair in ((nan, tuned), (tuned, nan), (nan, nan)):
        assert methods._largest_difference(*pair, recipe)[0] == math.inf
    assert methods._largest_difference(zero, zero, recipe)[0] == 0
    assert methods._largest_difference(tuned, zero, recipe)[0] > 1e20
    (row,) = methods._error("linear", recipe, {OURS: None, THEIRS: None}, {OURS: nan, THEIRS: tuned})
    assert (row.value, row.holds) == (math.inf, False)


def test_one_broken_tensor_among_good_ones_is_found(tmp_path):
    good = save(tmp_path / "good", a=[1.0], b=[1.0], c=[1.0])
    recipe = {"merge_method": "linear", "dtype": "float32"}
    for name in "abc":
        spoiled = save(tmp_path / name, **({n: [1.0] for n in "abc"} | {name: [math.nan]}))
        assert methods._largest_difference(spoiled, good, recipe)[0] == math.inf


def test_many_entries_left_out_do_not_pass_in_float32(tmp_path):
    base, model = save(tmp_path / "base", x=[0.0] * 6), save(tmp_path / "model", x=[1.0] * 6)
    models = [{"model": str(model), "parameters": {"density": 0.5}}]
    recipe = {"merge_method": "ties", "base_model": str(base), "models": models, "dtype": "float32"}
    places, engines = {OURS: model, THEIRS: base}, {OURS: None, THEIRS: None}
    error, left_out = methods._error("ties", recipe, engines, places)
    assert (error.id, error.value) == ("ties.error", 0)  # nothing was compared
    assert (left_out.id, left_out.value, left_out.holds) == ("ties.left_out", 1, False)
    assert methods._error("ties", recipe | {"dtype": "bfloat16"}, engines, places)[1].holds is None


def test_memory_with_and_without_mapped_files(context):
    found = {OURS: Merged(1.0, 400_000_000, 100_000_000), THEIRS: Merged(1.0, 1_000_000_000, 500_000_000)}
    whole, anonymous = methods._memory(dataclasses.replace(context, quick=False), "ties", found)
    assert (whole.id, whole.value, whole.holds) == ("ties.memory_ratio", 0.4, True)
    assert "mapped input files included" in whole.what
    assert (anonymous.id, anonymous.value, anonymous.holds) == ("ties.anonymous_memory_ratio", 0.2, None)
    unknown = found | {OURS: Merged(1.0, 1, None)}
    assert [row.id for row in methods._memory(context, "ties", unknown)] == ["ties.memory_ratio"]


@pytest.mark.skipif(side.held("RssAnon") is None, reason="needs Linux")
def test_anonymous_memory_that_is_given_back_was_seen_and_mapped_files_were_not(tmp_path):
    size, most = 64_000_000, []
    save_file({"x": torch.zeros(size // 4)}, tmp_path / "x.safetensors")
    before = side.held("RssAnon")
    with side.anonymous_peak(most):
        assert sum(load_file(tmp_path / "x.safetensors")["x"].view(4, -1).amax(1)) == 0
        time.sleep(5 * side.PERIOD)
    assert most[0] < before + size // 2
    most.clear()
    with side.anonymous_peak(most):
        # Pages of its own: what malloc gives may be memory that this process has held since earlier tests.
        held = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        for page in range(0, size, mmap.PAGESIZE):
            held[page] = 1
        until = time.monotonic() + 60  # the thread that looks may have to wait for its turn
        while not (most and most[0] >= before + size // 2) and time.monotonic() < until:
            time.sleep(side.PERIOD)
        held.close()
    assert most[0] >= before + size // 2


def test_the_exported_adapter_is_measured_as_peft_loads_it(context, monkeypatch):
    rows = {row.id: row for row in truncate.rows(context)}
    error, reported = rows["truncate.error"], rows["truncate.reported_error"]
    assert error.holds
    assert reported.holds
    assert 0 < error.value == pytest.approx(reported.value, abs=1e-5)
    spoil_the_folder(monkeypatch)
    rows = {row.id: row for row in truncate.rows(context)}
    assert not rows["truncate.error"].holds
    assert not rows["truncate.reported_error"].holds


def spoil_the_folder(monkeypatch):
    """The report stays what it was, the file does not."""
    from frontier.realize import truncate as ours

    real = ours.export_truncated_lora

    def spoiled(mixture, weights, out, **options):
        report = real(mixture, weights, out, **options)
        path = out / "adapter_model.safetensors"
        save_file({n: 1.5 * t for n, t in load_file(path).items()}, path, metadata={"format": "pt"})
        return report

    monkeypatch.setattr(ours, "export_truncated_lora", spoiled)


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
