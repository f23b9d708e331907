"""Decide, before a tensor is read, which tensors of which models make each tensor of the result, and with which settings."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn, cast

import torch

from frontier.errors import InputError, unknown_name
from frontier.realize.merging.checkpoint import EMBEDDINGS, OUTPUT_LAYERS, TensorSource
from frontier.realize.merging.config import MergeConfig, Slice, Source
from frontier.realize.merging.methods import METHODS, MergeMethod, Parameters, block_of
from frontier.realize.merging.reference import Reference
from frontier.realize.merging.settings import check_setting, value_of
from frontier.realize.merging.tensor_files import Layout

LAYER = re.compile(r"((?:^|.*?\.)(?:layers|h|blocks|block|layer)\.)(\d+)(\..+)")
# What stands before the layers, and so comes from the first slice. Everything else outside the layers comes from the last.
BEFORE = re.compile(r"embed(?!_out)|wte|wpe|embd")
# Tables that every model computes by itself; old files hold them, new ones do not.
TABLES = re.compile(r"(rotary_emb\.inv_freq|attn\.masked_bias)$")
MASK = re.compile(r"attn\.bias$")
# Settings of mergekit's files that need no setting here, with why.
WITHOUT_EFFECT = {"int8_mask": "masks take one byte an entry in any case"}
# Methods without a base for which one that `models` does not list is one more model, as in mergekit.
JOINED = ("linear", "karcher")
# The setting that says which block of layers a tensor is of.
BLOCK = "block"


@dataclass(frozen=True)
class Place:
    """Where a tensor stands in the result.

    Args:
        t (`float`): 0 at its slice's first layer and 1 at the last; 0 outside the layers, before and behind them, as in mergekit.
        n_layers (`int`): of the whole result.
    """

    t: float
    n_layers: int


@dataclass(frozen=True)
class Input:
    """One tensor of one model.

    Args:
        source (`TensorSource`): the model.
        tensor (`str`): its name there.
    """

    source: TensorSource
    tensor: str

    @property
    def layout(self) -> Layout:
        """Its shape and dtype."""
        return self.source.layouts[self.tensor]

    def __str__(self) -> str:
        return f"{self.source.place(self.tensor)}"


@dataclass(frozen=True)
class TensorPlan:
    """How one tensor of the result is made.

    Args:
        name (`str`): in the result.
        layout (`Layout`): of the result.
        inputs (`tuple[Input, ...]`): of the N models.
        base (`Input`, *optional*): of the base.
        parameters (`Parameters`, *optional*): of the method; `None` for whole numbers and truth values, which are copied if all models agree.
    """

    name: str
    layout: Layout
    inputs: tuple[Input, ...]
    base: Input | None
    parameters: Parameters | None

    @property
    def all_inputs(self) -> tuple[Input, ...]:
        """The base first."""
        return self.inputs if self.base is None else (self.base, *self.inputs)


@dataclass
class Plan:
    """A whole merge.

    Args:
        tensors (`list[TensorPlan]`): sorted by name.
        layers (`list[tuple[Reference, int]]`, *optional*): of each layer of the result, its first source and which layer of that it is; `None` where
            layers keep their places.
        notes (`list[str]`): what is worth telling.
    """

    tensors: list[TensorPlan] = field(default_factory=list)
    layers: list[tuple[Reference, int]] | None = None
    notes: list[str] = field(default_factory=list)


def make_plan(config: MergeConfig, sources: Mapping[Reference, TensorSource], method: MergeMethod) -> Plan:
    """Plan a merge.

    Args:
        config (`MergeConfig`): what was asked for.
        sources (`Mapping[Reference, TensorSource]`): every model that it names.
        method (`MergeMethod`): the one that it names.

    Raises:
        InputError: a tensor is missing in a model or has another shape there, a layer range is outside the model, a setting is unknown, missing or of the
            wrong kind, the method needs a base and there is none.
    """
    plan = Plan(notes=check_parameters(config, method))
    if any(source.layers for part in config.slices for source in part.sources):
        _plan_slices(config, sources, method, plan)
    else:
        part = config.slices[0]
        group = _Group(config, part, sources, method)
        plan.notes += group.notes
        counts = _layer_counts(group.sources)
        for name in sorted(_names(group.sources)):
            found = LAYER.fullmatch(name)
            if found:
                place = Place(_depth(int(found[2]), counts[found[1]]), counts[found[1]])
            else:
                place = Place(0.0, max(counts.values(), default=0))
            group.add(plan, name, [name] * len(group.sources), place)
    plan.tensors.sort(key=lambda tensor: tensor.name)
    return plan


class _Group:
    """The models of one slice, in the method's order, with the settings that hold there."""

    def __init__(
        self, config: MergeConfig, part: Slice, sources: Mapping[Reference, TensorSource], method: MergeMethod
    ) -> None:
        reference = part.base or config.base
        models = list(part.sources)
        listed = next((source for source in models if source.model == reference), None)
        self.base: Source | None = None
        self.notes: list[str] = []
        if reference is not None and method.takes_base:
            self.base = listed or Source(reference)
            models = [source for source in models if source.model != reference]
        elif reference is not None:
            joined = method.name in JOINED and not any(source.layers for source in models)
            if listed or joined or len(models) < method.least_models:
                # Methods between two models go from the base to the other, wherever the file lists it.
                models = [listed or Source(reference), *(source for source in models if source is not listed)]
            else:
                self.notes.append(
                    f"base_model {reference} gives only its configuration and tokenizer: merge_method {method.name} takes no base, and it is none of "
                    "the models that are merged"
                )
        if method.needs_base and self.base is None:
            raise InputError(f"merge_method {method.name} needs base_model, the model that the others started from")
        self.config, self.part, self.method, self.models = config, part, method, models
        _check_count(method, len(models))
        # The base leads wherever names and dtypes are taken from one model.
        self.order = models if self.base is None else [self.base, *models]
        self.sources = [sources[source.model] for source in self.order]

    def add(self, plan: Plan, name: str, names: Sequence[str], place: Place) -> None:
        """Plan one tensor of the result.

        Args:
            plan (`Plan`): grows by it.
            name (`str`): in the result.
            names (`Sequence[str]`): in each of `sources`.
            place (`Place`): where between first and last layer.
        """
        inputs = [
            Input(s, found) if (found := _stored(s, n)) else None for s, n in zip(self.sources, names, strict=True)
        ]
        present = [found for found in inputs if found is not None]
        if len(present) < len(inputs):
            layout = present[0].layout
            if TABLES.search(name) or (MASK.search(name) and len(layout.shape) == 4):
                plan.notes.append(f"'{name}' is not in every model and left out: models compute it by themselves")
                return
            lacking = next(s for s, found in zip(self.sources, inputs, strict=True) if found is None)
            raise InputError(f"tensor '{name}' is in {present[0]} but not in model {lacking.name}")
        _check_layouts(name, present)
        floating = present[0].layout.dtype.is_floating_point
        out_dtype = self.config.out_dtype if floating and self.config.out_dtype else present[0].layout.dtype
        own = present if self.base is None else present[1:]
        plan.tensors.append(
            TensorPlan(
                name=name,
                layout=Layout(present[0].layout.shape, out_dtype),
                inputs=tuple(own),
                base=None if self.base is None else present[0],
                parameters=self._parameters(name, names[len(names) - len(own) :], place) if floating else None,
            )
        )

    def _parameters(self, name: str, names: Sequence[str], place: Place) -> Parameters:
        given: dict[str, Any] = {}
        general = (self.part.parameters, self.config.parameters)
        for own in self.method.Parameters.settings():
            if own.from_engine:
                continue
            if own.per_model:
                found = [
                    _first((source.parameters, *general), own.name, own.kind, at, place.t)
                    for source, at in zip(self.models, names, strict=True)
                ]
                if own.required and None in found and any(v is not None for v in found):
                    self._refuse_missing(own.name, name, self.models[found.index(None)].model)
                value: Any = None if all(v is None for v in found) else found
            else:
                value = _first(general, own.name, own.kind, name, place.t)
            if value is not None:
                given[own.name] = value
        try:
            made: Any = self.method.Parameters.of(len(names), given)
            if BLOCK in {own.name for own in self.method.Parameters.settings() if own.from_engine}:
                made = replace(made, **{BLOCK: block_of(name, place.n_layers, made.n_blocks)})
            return cast("Parameters", made)
        except InputError as error:
            raise InputError(f"merge_method {self.method.name}, tensor '{name}': {error}") from error

    def _refuse_missing(self, setting: str, tensor: str, model: Reference) -> NoReturn:
        is_base = model == (self.part.base or self.config.base)
        why = f"; base_model is one of the models that {self.method.name} merges" if is_base else ""
        raise InputError(
            f"merge_method {self.method.name}, tensor '{tensor}': {setting} has no default, and {model} has none{why}"
        )


def check_parameters(config: MergeConfig, method: MergeMethod) -> list[str]:
    """Refuse settings that no method has; settings that only other methods have, and settings of all models among one model's own, are
    left out, and the notes that come back say so.
    """
    own = {s.name: s for s in method.Parameters.settings() if not s.from_engine}
    others = {s.name for m in METHODS.values() for s in m.Parameters.settings() if not s.from_engine}
    notes: dict[str, None] = {}
    for where, found, of_model in _blocks(config):
        for name, value in found.items():
            if name in WITHOUT_EFFECT:
                notes[f"{name} has no effect: {WITHOUT_EFFECT[name]}"] = None
            elif name not in own and name in others:
                notes[f"{name} has no effect: merge_method {method.name} has no such parameter"] = None
            elif name not in own:
                raise unknown_name(f"parameter of merge_method {method.name} in {where}", name, own)
            elif of_model and not own[name].per_model:
                # mergekit passes over it too.
                notes[
                    f"{name} in {where} has no effect: it is one for all models, given under parameters at the top"
                ] = None
            else:
                check_setting(f"{where}.{name}", value, own[name].kind)
    return list(notes)


def _blocks(config: MergeConfig) -> Iterator[tuple[str, Mapping[str, Any], bool]]:
    yield "parameters", config.parameters, False
    for i, part in enumerate(config.slices):
        yield f"slices[{i}].parameters", part.parameters, False
        for source in part.sources:
            yield f"the parameters of {source.model}", source.parameters, True


def _plan_slices(
    config: MergeConfig, sources: Mapping[Reference, TensorSource], method: MergeMethod, plan: Plan
) -> None:
    plan.layers = []
    groups = [_Group(config, part, sources, method) for part in config.slices]
    plan.notes += dict.fromkeys(note for group in groups for note in group.notes)
    head = _stack(groups[0].sources[0])[0]
    every = [[_range(s, source) for s, source in zip(g.order, g.sources, strict=True)] for g in groups]
    n_layers = sum(len(ranges[0]) for ranges in every)
    for group, ranges in zip(groups, every, strict=True):
        length = len(ranges[0])
        for j in range(length):
            heads = [f"{_stack(source)[0]}{r[j]}" for r, source in zip(ranges, group.sources, strict=True)]
            tails = {
                n[len(at) :]
                for at, s in zip(heads, group.sources, strict=True)
                for n in s.layouts
                if n.startswith(at + ".")
            }
            place = Place(_depth(j, length), n_layers)
            for tail in sorted(tails):
                group.add(plan, f"{head}{len(plan.layers)}{tail}", [at + tail for at in heads], place)
            plan.layers.append((group.order[0].model, ranges[0][j]))
    untied = _names(groups[0].sources)
    for group, before in ((groups[0], True), (groups[-1], False)):
        rest = {n for n in _names(group.sources) if not LAYER.fullmatch(n)}
        # Where the first slice's models have an output layer of their own, the last's embedding is not the result's and stays its output layer.
        rest |= {n for source in group.sources for n in source.tied} & untied
        for name in sorted(n for n in rest if bool(BEFORE.search(n)) == before):
            group.add(plan, name, [name] * len(group.sources), Place(0.0, n_layers))


def _range(source: Source, tensors: TensorSource) -> range:
    count = _stack(tensors)[1]
    if source.layers is None:
        raise InputError(f"base_model {source.model} must be one of the sources of every slice, with its layer_range")
    if source.layers[1] > count:
        raise InputError(f"layer_range {list(source.layers)} of {source.model}: it has {count} layers")
    return range(*source.layers)


def _stack(source: TensorSource) -> tuple[str, int]:
    """The one name under which a model keeps its layers, and how many they are."""
    counts = _layer_counts([source])
    if len(counts) != 1:
        found = ", ".join(f"'{name}'" for name in counts) or "none"
        raise InputError(f"slices need a model with one stack of layers; model {source.name} has {found}")
    return next(iter(counts.items()))


def _layer_counts(sources: Iterable[TensorSource]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for source in sources:
        for name in source.layouts:
            if found := LAYER.fullmatch(name):
                counts[found[1]] = max(counts.get(found[1], 0), int(found[2]) + 1)
    return counts


def _depth(index: int, count: int) -> float:
    return index / (count - 1) if count > 1 else 1.0


def _names(sources: Sequence[TensorSource]) -> set[str]:
    """The tensors that these models have together; one that all of them tie to the same tensor is none."""
    names = {name for source in sources for name in source.layouts}
    tied = {name for source in sources for name in source.tied}
    return names | {name for name in tied if len({source.tied.get(name) for source in sources}) > 1}


def _stored(source: TensorSource, name: str) -> str | None:
    if name in source.layouts:
        return name
    return source.tied.get(name)


def _first(blocks: Sequence[Mapping[str, Any]], name: str, kind: type, tensor: str, t: float) -> Any:
    """The first value that a block gives for a tensor: a model's own settings, its slice's, those of all."""
    for block in blocks:
        if name in block and (value := value_of(block[name], kind, tensor, t)) is not None:
            return value
    return None


def _check_count(method: MergeMethod, found: int) -> None:
    most = method.most_models
    if found < method.least_models or (most is not None and found > most):
        wanted = f"{method.least_models}" if most == method.least_models else f"{method.least_models} or more"
        besides = " besides the base" if method.takes_base else ""
        raise InputError(f"merge_method {method.name} needs {wanted} models{besides}, found {found}")


def _check_layouts(name: str, inputs: Sequence[Input]) -> None:
    first = inputs[0]
    for other in inputs:
        dtype = other.layout.dtype
        if dtype.is_floating_point and dtype.itemsize == 1:
            raise InputError(f"tensor '{name}' is {_plain(dtype)} in {other}: quantised weights cannot be merged")
        if other.layout.shape != first.layout.shape:
            hint = ""
            if name in OUTPUT_LAYERS or name.endswith(EMBEDDINGS):
                hint = "; the models have vocabularies of different sizes"
            raise InputError(
                f"tensor '{name}' is {list(other.layout.shape)} in {other} but {list(first.layout.shape)} in {first}{hint}"
            )
        if dtype.is_floating_point != first.layout.dtype.is_floating_point:
            raise InputError(
                f"tensor '{name}' is {_plain(dtype)} in {other} but {_plain(first.layout.dtype)} in {first}"
            )


def _plain(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
