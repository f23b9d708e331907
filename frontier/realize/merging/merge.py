"""Merge whole models from a configuration in mergekit's form: tensor by tensor from disk to disk, or state dicts in memory."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from frontier.atomic import write_text
from frontier.errors import InputError, unknown_name
from frontier.realize.merging.card import model_card
from frontier.realize.merging.checkpoint import Checkpoint, InMemory
from frontier.realize.merging.compute import default_workers, make_jobs, run_jobs
from frontier.realize.merging.config import MergeConfig, Slice, Source
from frontier.realize.merging.in_place import overwritten
from frontier.realize.merging.lora_source import WithLora, open_model
from frontier.realize.merging.methods import MergeMethod
from frontier.realize.merging.methods import method as find_method
from frontier.realize.merging.output import (
    Layer,
    ModelWriter,
    copy_companions,
    full_disk_is_told,
    merged_config,
    termination_cleans_up,
)
from frontier.realize.merging.plan import Plan, make_plan
from frontier.realize.merging.reference import INDEX, WEIGHTS, Reference
from frontier.realize.merging.settings import plain
from frontier.realize.merging.tokenizers import check_tokenizers, copy_tokenizer

SHARD = 5_000_000_000
TAKEN = (WEIGHTS, INDEX, "config.json", "adapter_config.json", "grid.json", "tokenizer.json")
"""A folder that holds one of these is not written to unasked."""


@dataclass(frozen=True)
class MergeReport:
    """What a merge did.

    Args:
        path (`Path`): the folder of the result.
        method (`str`): its name.
        n_models (`int`): distinct models read, the base included.
        n_tensors (`int`): written.
        n_parameters (`int`): their elements.
        nbytes (`int`): of the weights on disk.
        n_shards (`int`): files that hold them.
        seconds (`float`): from reading the configuration to the finished folder.
        notes (`tuple[str, ...]`): settings without effect, tensors left out, adapters on another base than they name.
    """

    path: Path
    method: str
    n_models: int
    n_tensors: int
    n_parameters: int
    nbytes: int
    n_shards: int
    seconds: float
    notes: tuple[str, ...]


def merge(
    config: MergeConfig | Mapping[str, Any] | str | Path,
    out: str | Path,
    *,
    device: str | torch.device = "cpu",
    workers: int | None = None,
    seed: int = 0,
    progress: bool = True,
    overwrite: bool = False,
    max_shard_size: int = SHARD,
    finish: Callable[[Path], object] | None = None,
) -> MergeReport:
    """Merge models on disk into a model on disk, in the memory of a few tensors.

    Element-wise methods hold pieces of a quarter of a million elements, others one tensor of every model. All sums are in float32 and rounded once. The result does not
    depend on `workers`; of methods that draw at random it depends on `seed` and the kind of device. The folder appears complete or not at all: if the merge
    is refused, interrupted or the disk is full, nothing is left.

    Args:
        config (`MergeConfig`, `Mapping`, `str` or `Path`): what to merge; a path to a YAML file, or what such a file says.
        out (`str` or `Path`): the folder to write.
        device (`str` or `torch.device`, *optional*, defaults to `"cpu"`): where to compute.
        workers (`int`, *optional*): threads, by default one per core and 4 at most.
        seed (`int`, *optional*, defaults to 0): of methods that draw at random.
        progress (`bool`, *optional*, defaults to `True`): show a bar on stderr.
        overwrite (`bool`, *optional*, defaults to `False`): replace the model or adapter that `out` holds, with its tokenizer and reports; other files stay.
        max_shard_size (`int`, *optional*, defaults to 5 GB): bytes of one weights file.
        finish (`Callable`, *optional*): is given the folder before it takes its name, to write more into it.

    Raises:
        InputError: the configuration, a model or a tensor is not fit to be merged (missing, of another shape, not finite, corrupt), or the disk is full; the
            message names the key, or the tensor and its file.

    Example:
        ```python
        report = merge("merge.yaml", "merged")
        model = AutoModelForCausalLM.from_pretrained("merged")
        ```
    """
    from frontier.realize.replace_export import replace_export  # it needs this package's names itself

    start = time.perf_counter()
    config, out = _as_config(config), Path(out)
    method = find_method(config.method)
    workers = _count(workers)
    device = _device(device)
    if max_shard_size < 1:
        raise InputError(f"max_shard_size must be positive, found {max_shard_size}")
    models, notes = _open_all(config)
    _check_out(out, overwrite, models)
    template, tokens = _named_models(config, models)
    plan = make_plan(config, models, method)
    check_tokenizers({str(ref): model.folder for ref, model in models.items()}, config.tokenizer_source)
    notes = [*notes, *plan.notes]
    layouts = {tensor.name: tensor.layout for tensor in plan.tensors}
    nbytes = sum(layout.nbytes for layout in layouts.values())
    layers = None if plan.layers is None else [Layer(str(r), models[r].config, i) for r, i in plan.layers]
    found = merged_config(template.config, list(layouts), config.out_dtype, layers)
    with full_disk_is_told(out, nbytes), termination_cleans_up(), replace_export(out) as folder:
        writer = ModelWriter(folder, layouts, max_shard_size)
        try:
            _run(plan, method, writer.write, device, workers, seed, progress)
            writer.finish()
        finally:
            writer.close()
        write_text(folder / "config.json", json.dumps(found, indent=2) + "\n")
        copy_companions(template.folder, folder, template.config)
        copy_tokenizer(tokens.folder, folder)
        digests = {str(ref): model.sha256 for ref, model in models.items()}
        write_text(folder / "README.md", model_card(method, config.text, digests, seed, notes))
        if finish is not None:
            finish(folder)
    return MergeReport(
        path=out,
        method=method.name,
        n_models=len(models),
        n_tensors=len(layouts),
        n_parameters=sum(layout.numel for layout in layouts.values()),
        nbytes=nbytes,
        n_shards=writer.n_shards,
        seconds=time.perf_counter() - start,
        notes=tuple(notes),
    )


def merge_state_dicts(
    models: Sequence[Mapping[str, Tensor]],
    method: str,
    parameters: Mapping[str, Any] | None = None,
    *,
    base: Mapping[str, Tensor] | None = None,
    out_dtype: torch.dtype | None = None,
    device: str | torch.device = "cpu",
    workers: int | None = None,
    seed: int = 0,
    into: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Merge state dicts in memory; the same numbers as `merge` gives for the same tensors on disk.

    Args:
        models (`Sequence[Mapping[str, Tensor]]`): N state dicts of one architecture; they are left as they are.
        method (`str`): a name in `frontier.realize.merging.methods.METHODS`.
        parameters (`Mapping[str, Any]`, *optional*): the method's settings; one of the models is a list of N values, or one for all.
        base (`Mapping[str, Tensor]`, *optional*): the model that they started from, for methods that take one.
        out_dtype (`torch.dtype`, *optional*): by default each tensor keeps the base's (the first model's).
        device (`str` or `torch.device`, *optional*, defaults to `"cpu"`): where to compute; the result is on the CPU.
        workers (`int`, *optional*): threads, by default one per core and 4 at most.
        seed (`int`, *optional*, defaults to 0): of methods that draw at random.
        into (`Mapping[str, Tensor]`, *optional*): the state dict of a loaded model, on any device and of any floating dtype, whose tensors are overwritten;
            no other memory of their size is taken. It may be one of `models`. What the models tie and it does not is written to both of its tensors; the other
            way round is refused. After an error some of its tensors are new and some are not.

    Returns:
        `dict[str, Tensor]`: a new state dict, or the tensors of `into`. Names that share one tensor in every model share one here.

    Raises:
        InputError: see `merge`.

    Example:
        ```python
        merge_state_dicts([a.state_dict(), b.state_dict()], "linear", {"weight": [0.3, 0.7]}, into=model.state_dict())
        ```
    """
    found = find_method(method)
    names = [Reference(f"model {i}") for i in range(len(models))]
    start = Reference("the base")
    sources = {name: InMemory(tensors, str(name)) for name, tensors in zip(names, models, strict=True)}
    if base is not None:
        sources[start] = InMemory(base, str(start))
    general, own = _split_parameters(found, parameters or {}, len(models))
    part = Slice(tuple(Source(name, None, settings) for name, settings in zip(names, own, strict=True)))
    config = MergeConfig(method, (part,), None if base is None else start, general, out_dtype)
    plan = make_plan(config, sources, found)
    layouts = {t.name: t.layout for t in plan.tensors}
    tied = {
        n: shared for s in sources.values() for n, shared in s.tied.items() if n not in layouts and shared in layouts
    }
    copies: dict[str, Tensor] = {}
    if into is None:
        merged = {name: torch.empty(layout.numel, dtype=layout.dtype) for name, layout in layouts.items()}
    else:
        merged, copies = overwritten(into, layouts, tied)

    def write(name: str, start: int, piece: Tensor) -> None:
        merged[name][start : start + piece.numel()].copy_(piece)

    _run(plan, found, write, _device(device), _count(workers), seed, progress=False)
    for name, copy in copies.items():
        copy.copy_(merged[tied[name]])
    result = {name: merged[name].view(layout.shape) for name, layout in layouts.items()}
    for name, shared in tied.items():
        result[name] = copies[name].view(layouts[shared].shape) if name in copies else result[shared]
    return result


def _run(
    plan: Plan, method: MergeMethod, write: Any, device: torch.device, workers: int, seed: int, progress: bool
) -> None:
    total = sum(tensor.layout.numel for tensor in plan.tensors)
    with tqdm(total=total, unit="param", unit_scale=True, desc="Merging", disable=not progress) as bar:
        jobs = make_jobs(plan.tensors, method, device)
        run_jobs(jobs, method, write, device=device, workers=workers, seed=seed, advance=bar.update)


def _as_config(config: MergeConfig | Mapping[str, Any] | str | Path) -> MergeConfig:
    if isinstance(config, MergeConfig):
        return config
    return MergeConfig.from_dict(config) if isinstance(config, Mapping) else MergeConfig.read(config)


def _open_all(config: MergeConfig) -> tuple[dict[Reference, Checkpoint | WithLora], list[str]]:
    models: dict[Reference, Checkpoint | WithLora] = {}
    notes: list[str] = []
    for reference in config.references():
        models[reference], told = open_model(reference)
        notes += told
    return models, notes


def _check_out(out: Path, overwrite: bool, models: Mapping[Reference, Checkpoint | WithLora]) -> None:
    from frontier.realize.replace_export import check_out

    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file, expected a folder to write")
    adapters = [Path(model.lora.path) for model in models.values() if isinstance(model, WithLora)]
    for reference, model in models.items():
        read = [model.folder, *([model.lora.path] if isinstance(model, WithLora) else [])]
        if out.exists() and any(out.samefile(folder) for folder in read):
            raise InputError(f"{out} is the folder of {reference}, which is merged: write to another")
    check_out(out, folders=adapters)
    held = next((name for name in TAKEN if (out / name).exists()), None)
    if held and not overwrite:
        raise InputError(f"{out} already holds a model ({held}): name another folder, or overwrite it")


def _named_models(
    config: MergeConfig, models: Mapping[Reference, Checkpoint | WithLora]
) -> tuple[Checkpoint | WithLora, Checkpoint | WithLora]:
    """The models whose configuration and whose tokenizer the result has."""
    template = next(iter(models.values()))  # the base, where there is one
    source = config.tokenizer_source
    if source in (None, "base", "union"):
        if source == "base" and config.base is None:
            raise InputError("tokenizer_source: base needs base_model")
        return template, template
    assert source is not None
    by_name = {str(reference): model for reference, model in models.items()}
    if source not in by_name:
        raise unknown_name("tokenizer_source", source, ["base", *by_name])
    return template, by_name[source]


def _split_parameters(
    method: MergeMethod, parameters: Mapping[str, Any], count: int
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Settings of all, and of each model, in which a list is no gradient but a value for each."""
    general: dict[str, Any] = {}
    own: list[dict[str, Any]] = [{} for _ in range(count)]
    per_model = {s.name: s.kind for s in method.Parameters.settings() if s.per_model}
    for name, given in parameters.items():
        value = plain(given)
        one_for_all = (
            per_model.get(name) is tuple and isinstance(value, list) and not any(isinstance(v, list) for v in value)
        )
        if name not in per_model or not isinstance(value, list) or one_for_all:
            general[name] = value
            continue
        if len(value) != count:
            raise InputError(f"{name} has {len(value)} values for {count} models")
        for settings, each in zip(own, value, strict=True):
            settings[name] = each
    return general, own


def _count(workers: int | None) -> int:
    if workers is None:
        return default_workers()
    if workers < 1:
        raise InputError(f"workers must be at least 1, found {workers}")
    return workers


def _device(name: str | torch.device) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device '{name}' is not available: {str(error).splitlines()[0]}") from error
    return device
