"""Linear, TIES and DARE of three models on disk in warm processes: seconds, memory, and whether the numbers are mergekit's."""

import statistics
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from benchmarks.agreement import worst_of
from benchmarks.merging.context import DENSITY, Context, no_mergekit
from benchmarks.merging.engines import OURS, THEIRS, Engine, Merged, engines, ratio
from benchmarks.report import Row, at_most

BARS = {"linear": 0.8, "ties": 0.2, "dare": 0.5}
NAMES = {"linear": "linear", "ties": "ties", "dare": "dare_linear"}
MEMORY, ERROR = 0.5, 1e-5
# How far the share that DARE keeps may be from the density: the smallest models have 1e5 entries, so that 0.01 is six standard deviations.
KEPT = 0.01
# The share of entries that equal magnitudes may leave open in float32, where few are equal. Beyond it the comparison would say little.
LEFT_OUT = 1e-3
# What entries are compared with where a tensor has nothing larger.
TINY = 1e-30


Found = dict[str, list[float]]


def rows(context: Context) -> list[Row]:
    """Of each method in float32; then its time in bfloat16, in which mergekit also adds up in bfloat16 and we do not."""
    return [row for short in BARS for row in _method(context, short)]


def _method(context: Context, short: str) -> list[Row]:
    """Each method in processes of its own, so that their memory is that of its first merge."""
    settings: dict[str, Any] = {} if short == "linear" else {"density": DENSITY}
    recipes = [context.recipe(NAMES[short], dtype, **settings) for dtype in (torch.float32, torch.bfloat16)]
    outs = {name: context.scratch / f"out-{name}" for name in (OURS, THEIRS)}
    with engines(context) as both:
        # Memory after a first merge, which also brings the files into the system's own.
        first = {name: engine.merge(recipes[0], outs[name], memory=True) for name, engine in both.items()}
        whole = _in_turn(context, both, recipes[0], outs)
        errors = _dare_errors(context, both, outs) if short == "dare" else _error(short, recipes[0], both, outs)
        # Sums in float32 of bfloat16 models, whose deltas are full of equal ones; also a first merge of these files.
        for name, engine in both.items():
            engine.merge({**recipes[1], "dtype": "float32"}, outs[name])
        errors += [] if short == "dare" else _error(f"{short}.bfloat16", recipes[1], both, outs)
        half = _in_turn(context, both, recipes[1], outs)
    if THEIRS not in both:
        told = f"{recipes[0]['merge_method']} of 3 models in float32 by ourselves, {first[OURS].peak / 1e6:.0f} MB"
        own = Row(f"{short}.seconds", told, statistics.median(whole[OURS]), "s")
        return [no_mergekit(f"{short}.time_ratio"), own, *errors]
    return [
        _times(context, short, recipes[0], whole, None if context.quick else BARS[short]),
        *_memory(context, short, first),
        *errors,
        _times(context, f"{short}.bfloat16", recipes[1], half, None),
    ]


def _memory(context: Context, short: str, found: dict[str, Merged]) -> list[Row]:
    """All that the processes held, and what of it was anonymous: pages of mapped input files are the system's to take back."""
    ours, theirs = (found[name].peak / 1e6 for name in (OURS, THEIRS))
    told = "the most that a fresh process held for the float32 merge, its libraries and mapped input files included"
    rows = [
        Row(
            f"{short}.memory_ratio",
            f"{ours:.0f} MB against {theirs:.0f} MB, {told}",
            ours / theirs,
            peer="mergekit, MB",
            peer_value=theirs,
            **({} if context.quick else at_most(MEMORY, ours / theirs)),
        )
    ]
    own, other = found[OURS].anonymous, found[THEIRS].anonymous
    if own is None or other is None:
        return rows
    told = "the most anonymous memory in the same merge, its libraries' included and mapped files left out, looked at every 5 ms"
    what = f"{own / 1e6:.0f} MB against {other / 1e6:.0f} MB, {told}"
    return [
        *rows,
        Row(f"{short}.anonymous_memory_ratio", what, own / other, peer="mergekit, MB", peer_value=other / 1e6),
    ]


def _in_turn(context: Context, both: dict[str, Engine], recipe: dict[str, Any], outs: dict[str, Path]) -> Found:
    """Seconds of each round."""
    found: Found = {name: [] for name in both}
    for _ in range(context.rounds()):
        for name, engine in both.items():
            found[name].append(engine.merge(recipe, outs[name]).seconds)
    return found


def _times(context: Context, row: str, recipe: dict[str, Any], seconds: Found, bar: float | None) -> Row:
    value, spread = ratio(seconds[OURS], seconds[THEIRS])
    ours, theirs = (statistics.median(seconds[name]) for name in (OURS, THEIRS))
    models = "3 models" + " and their base" * ("base_model" in recipe)
    return Row(
        f"{row}.time_ratio",
        f"{recipe['merge_method']} of {models} on disk, {recipe['dtype']}, in a warm process: {ours:.2f} s against {theirs:.2f} s, "
        f"medians of {context.rounds()} rounds in turn",
        value,
        interval=spread,
        peer="mergekit, s",
        peer_value=theirs,
        **({} if bar is None else at_most(bar, value)),
    )


def _error(row: str, recipe: dict[str, Any], both: dict[str, Engine], outs: dict[str, Path]) -> list[Row]:
    """How far the results that lie there are from each other."""
    if THEIRS not in both:
        return []
    error, left_out = _largest_difference(outs[OURS], outs[THEIRS], recipe)
    what = "largest difference from mergekit's result with sums in float32, over the largest entry of the tensor"
    rows = [Row(f"{row}.error", what, error, **at_most(ERROR, error))]
    if recipe["merge_method"] != "ties":
        return rows
    told = "share of the entries that is not compared: equal magnitudes at the threshold, of which mergekit's sort keeps any and we the first"
    bar = at_most(LEFT_OUT, left_out) if recipe["dtype"] == "float32" else {}
    return [*rows, Row(f"{row}.left_out", told, left_out, **bar)]


def _dare_errors(context: Context, both: dict[str, Engine], outs: dict[str, Path]) -> list[Row]:
    """Masks are drawn anew by each, so: where nothing is dropped both must agree, and of a single model the mask can be read off the result, and then
    the definition says the rest.
    """
    found = []
    if THEIRS in both:
        whole = context.recipe(NAMES["dare"], torch.float32, density=1.0)
        for name, engine in both.items():
            engine.merge(whole, outs[name])
        error, _ = _largest_difference(outs[OURS], outs[THEIRS], whole)
        what = "with density 1: largest difference from mergekit's result, over the largest entry of the tensor"
        found.append(Row("dare.whole.error", what, error, **at_most(ERROR, error)))
    single = context.recipe(NAMES["dare"], torch.float32, density=DENSITY)
    single["models"] = single["models"][:1]
    folder = context.models(torch.float32)
    told = {}
    for name, engine in both.items():
        engine.merge(single, outs[name])
        told[name] = _from_definition(
            outs[name], folder / "base", folder / "0", single["models"][0]["parameters"]["weight"]
        )
    error, kept = told[OURS]
    beside: dict[str, Any] = {"peer": "mergekit", "peer_value": told[THEIRS][0]} if THEIRS in told else {}
    what = f"one model, density {DENSITY}: largest difference from base + weight · |d|₁/|m·d|₁ · m·d under the mask m that the result shows, over the largest entry of the tensor"
    found.append(Row("dare.error", what, error, **beside, **at_most(ERROR, error)))
    if THEIRS in told:
        beside = {"peer": "mergekit", "peer_value": told[THEIRS][1]}
    off = abs(kept - DENSITY)
    what = f"share of entries kept at density {DENSITY}: off by {off:.1e}"
    found.append(Row("dare.kept", what, kept, **beside, bar=f"{DENSITY:g} ± {KEPT:g}", holds=off <= KEPT))
    return found


def _from_definition(result: Path, base: Path, model: Path, weight: float) -> tuple[float, float]:
    """The largest relative difference from the definition under the result's own mask, and the share that the mask keeps."""
    errors, kept, count = [], 0, 0
    with _open(result) as merged, _open(base) as start, _open(model) as tuned:
        for name in merged.keys():  # noqa: SIM118
            found, origin = merged.get_tensor(name).double(), start.get_tensor(name)
            change = (tuned.get_tensor(name) - origin).double()
            mask = found != origin
            # Where something changed and nothing is kept, the scale is infinite and the error with it.
            scale = change.abs().sum() / (change * mask).abs().sum() if change.any() else 1.0
            expected = origin.double() + weight * scale * change * mask
            errors.append(float((found - expected).abs().max() / expected.abs().max().clamp(min=TINY)))
            kept, count = kept + int(mask.sum()), count + mask.numel()
    return worst_of(errors), kept / max(count, 1)


def _largest_difference(one: Path, other: Path, recipe: dict[str, Any]) -> tuple[float, float]:
    """The largest relative difference of two results, and the share of entries that the recipe leaves open and are not compared."""
    errors, left_out, count = [], 0, 0
    with _open(one) as first, _open(other) as second:
        if set(first.keys()) != set(second.keys()):
            raise RuntimeError(f"{one} and {other} hold different tensors: {set(first.keys()) ^ set(second.keys())}")
        for name in first.keys():  # noqa: SIM118
            a, b = first.get_tensor(name).double(), second.get_tensor(name).double()
            apart = (a - b).abs_()
            if recipe["merge_method"] == "ties":
                open_ = _left_open(name, recipe)
                apart[open_] = 0
                left_out += int(open_.sum())
            errors.append(float(apart.max() / b.abs().max().clamp(min=TINY)))
            count += apart.numel()
    return worst_of(errors), left_out / max(count, 1)


def _left_open(name: str, recipe: dict[str, Any]) -> Tensor:
    """Entries of which some model's change is as large as the smallest that is kept, where only some of those equal ones are kept."""
    with _open(Path(recipe["base_model"])) as base:
        origin = base.get_tensor(name).float()
    found = torch.zeros(origin.shape, dtype=torch.bool)
    for entry in recipe["models"]:
        with _open(Path(entry["model"])) as model:
            sizes = (model.get_tensor(name).float() - origin).abs_()
        kept = max(1, int(entry["parameters"]["density"] * sizes.numel()))
        least = sizes.flatten().kthvalue(sizes.numel() - kept + 1).values
        equal = sizes == least
        if int((sizes > least).sum() + equal.sum()) > kept:
            found |= equal
    return found


def _open(folder: Path) -> Any:
    files = list(folder.glob("*.safetensors"))
    if len(files) != 1:
        raise RuntimeError(f"{folder} should hold one file of weights, found {[f.name for f in files]}")
    return safe_open(files[0], "pt")
