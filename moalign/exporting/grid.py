"""Export a static set of LoRAs, one for each of many preferences, for servers that take fixed adapters."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from frontier.atomic import write_text
from frontier.errors import InputError
from frontier.measure.lattice import weight_lattice
from frontier.realize.lora_writing import nbytes_of
from frontier.realize.merging.output import full_disk_is_told
from frontier.realize.merging.tokenizers import copy_tokenizer
from frontier.realize.replace_export import GRID, replace_export
from moalign.bundle import sha256
from moalign.exporting.expected import ExpectedRewards
from moalign.exporting.facts import ExportFacts
from moalign.exporting.kinds import check_kind
from moalign.exporting.point import write_sum
from moalign.exporting.servers import server_flags
from moalign.exporting.source import ExportSource, adapter_digests, with_base
from moalign.model_card import table
from moalign.preference import Preference

# Digits of a weight in a folder's name: enough to tell any two of a million points apart.
DIGITS = 6


@dataclass(frozen=True)
class Grid:
    """A set of exported points.

    Args:
        points (`dict[str, ExportFacts]`): by name, which is the folder's and the adapter's.
        rank (`int`): the largest of all.
    """

    points: dict[str, ExportFacts]
    rank: int


def grid_preferences(objectives: Sequence[str], n: int) -> list[Preference]:
    """Weights that cover the simplex evenly: n of them for two objectives, for more the smallest lattice that has at least n.

    Args:
        objectives (`Sequence[str]`): K names.
        n (`int`): at least K, so that every objective alone is among them.

    Raises:
        InputError: n is too small, or one objective has no more than one point.

    Example:
        >>> [str(p) for p in grid_preferences(["helpful", "brief"], 3)]
        ['helpful=1.0,brief=0.0', 'helpful=0.5,brief=0.5', 'helpful=0.0,brief=1.0']
    """
    k = len(objectives)
    if k == 1:
        raise InputError(
            f"a grid needs at least 2 objectives; the only one, {objectives[0]}, has one point: give a preference"
        )
    if n < k:
        raise InputError(f"a grid of {k} objectives needs at least {k} points, found {n}")
    partitions = 1
    while math.comb(partitions + k - 1, k - 1) < n:
        partitions += 1
    return [Preference(dict(zip(objectives, row, strict=True))) for row in weight_lattice(k, partitions).tolist()]


def point_name(preference: Preference) -> str:
    """A stable name for folders and servers' lists, in which `=` and `,` mean something else: `helpful-0.7_brief-0.3`.

    Example:
        >>> point_name(Preference.parse("helpful=0.7,brief=0.3"))
        'helpful-0.7_brief-0.3'
    """
    return "_".join(f"{name}-{value:.{DIGITS}g}" for name, value in preference.values.items())


@torch.no_grad()
def export_grid(
    source: ExportSource,
    preferences: Sequence[Preference],
    out: str | Path,
    kind: str = "lora",
    *,
    rank: int | None = None,
    expected: ExpectedRewards | None = None,
) -> Grid:
    """Write a LoRA for each preference into a sub-folder of its own, with `grid.json` and a README that starts servers with them.

    Each is exact (or, `truncated`, the best of its rank) and of one rank in all layers, filled up with zeros, since several servers know no other.

    Args:
        source (`ExportSource`): the policy.
        preferences (`Sequence[Preference]`): the points.
        out (`str` or `Path`): the folder to write; it appears only when all are complete, in the place of an earlier export.
        kind (`str`, *optional*, defaults to `"lora"`): `lora` or `truncated`.
        rank (`int`, *optional*): of truncated ones.
        expected (`ExpectedRewards`, *optional*): rewards for the cards.

    Raises:
        InputError: the kind is merged, two preferences have one name, or see `export_point`.
    """
    check_kind(kind, rank)
    if kind == "merged":
        raise InputError("a grid is a set of adapters: give kind lora or truncated, or export merged points one by one")
    names = [point_name(preference) for preference in preferences]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"two preferences of the grid would share the name {twice}")
    out = source.place(out)
    manifest = with_base(source.manifest, source.base_name)
    points: dict[str, ExportFacts] = {}
    tensors = tuple(source.tensors)
    nbytes = len(names) * nbytes_of(source.total([1.0] * len(source.folders)))
    with full_disk_is_told(out, nbytes, "the grid"), replace_export(out) as folder:
        for name, preference in zip(names, preferences, strict=True):
            weights = source.weights(preference)
            facts = ExportFacts(
                kind,
                preference,
                dict(zip(source.conditioning.adapters, weights, strict=True)),
                manifest,
                source.origin,
                None if expected is None else expected(preference),
            )
            (folder / name).mkdir()
            total = source.total(weights)
            points[name] = write_sum(total, folder / name, facts, rank=rank, uniform=True, tensors=tensors)
            copy_tokenizer(source.base.folder, folder / name)
            points[name].write(folder / name)
        grid = Grid(points, max(facts.rank or 0 for facts in points.values()))
        digests = {name: sha256(folder / name / "adapter_model.safetensors") for name in points}
        write_text(folder / GRID, json.dumps(_manifest(source, grid, digests), indent=2, allow_nan=False) + "\n")
        write_text(folder / "README.md", _readme(source, grid, out))
    return grid


def _manifest(source: ExportSource, grid: Grid, digests: Mapping[str, str]) -> dict[str, Any]:
    adapters = []
    for name, facts in grid.points.items():
        expected = None if facts.expected is None else facts.expected.to_json()
        adapters.append(
            {
                "name": name,
                "folder": name,
                "preference": facts.preference.to_json(),
                "rank": facts.rank,
                "relative_error": 0.0 if facts.truncation is None else facts.truncation.relative_error,
                "expected": expected,
                "sha256": digests[name],
            }
        )
    return {
        "objectives": list(source.manifest.objectives),
        "base": source.base_name,
        "base_revision": source.manifest.base.revision,
        "base_digest": source.manifest.base.digest,
        "origin": source.origin,
        "adapters_sha256": adapter_digests(source.manifest),
        "max_rank": grid.rank,
        "adapters": adapters,
    }


def _readme(source: ExportSource, grid: Grid, out: Path) -> str:
    objectives = source.manifest.objectives
    folders = {name: str(out.resolve() / name) for name in grid.points}
    targets = sorted({path.rpartition(".")[2] for facts in grid.points.values() for path in facts.ranks or {}})
    exact = all(facts.truncation is None for facts in grid.points.values())
    names = "**" + "**, **".join(objectives) + "**"
    lines = [
        f"# {len(grid.points)} points between {', '.join(objectives)}",
        "",
        f"One LoRA for `{source.base_name}` at each of {len(grid.points)} preferences over {names}, {'exact' if exact else 'truncated'}, of rank {grid.rank} at most and of one rank in all layers (filled "
        f"up with zeros, for servers that know one rank an adapter). `{GRID}` lists them for programs. Weights between two of them need a server that mixes: `moalign serve`.",
        "",
        *table(
            ("adapter", *objectives, *(_heads(objectives, grid))),
            [_row(name, f, objectives) for name, f in grid.points.items()],
        ),
        "",
        "## Start a server with all of them",
        "",
    ]
    if any(sign in path for path in folders.values() for sign in "=,"):
        folders = {name: name for name in folders}
        lines += ["Run in this folder, whose path holds a sign at which servers cut their lists.", ""]
    for server, command in server_flags(source.base_name, folders, grid.rank, targets).items():
        lines += [f"{server}:", "", "```bash", command, "```", ""]
    first = next(iter(grid.points))
    lines += [
        f'Requests name an adapter: `"model": "{first}"` (vLLM, and SGLang with `"lora_path"` in its own API), `"adapter_id": "{first}"` (TGI), the folder (LoRAX).',
        "",
    ]
    return "\n".join(lines)


def _heads(objectives: Sequence[str], grid: Grid) -> list[str]:
    known = any(facts.expected is not None for facts in grid.points.values())
    return [f"expected {name} (95 % interval)" for name in objectives] if known else []


def _row(name: str, facts: ExportFacts, objectives: Sequence[str]) -> list[str]:
    cells = [f"`{name}`", *(f"{facts.preference.values.get(o, 0.0):.4g}" for o in objectives)]
    if facts.expected is None:
        return cells
    for objective in objectives:
        reward, interval = facts.expected.rewards.get(objective), None
        if reward is None:
            cells.append("not known")
            continue
        interval = facts.expected.interval(objective)
        cells.append(f"{reward:.4g}" + ("" if interval is None else f" ({interval[0]:.4g} to {interval[1]:.4g})"))
    return cells
