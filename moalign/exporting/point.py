"""Export one preference of a policy on the disk: nothing is loaded but the adapters."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from frontier.realize.logit_error import LogitError
from frontier.realize.lora_writing import LoraSum, nbytes_of, write_lora
from frontier.realize.merged_export import MergedExport, export_merged_checkpoint
from frontier.realize.merging.merge import SHARD
from frontier.realize.merging.output import full_disk_is_told
from frontier.realize.merging.tokenizers import copy_tokenizer
from frontier.realize.replace_export import replace_export
from frontier.realize.truncate import Truncation, truncate_sum
from moalign.exporting.expected import Expected
from moalign.exporting.facts import ExportFacts
from moalign.exporting.kinds import check_kind
from moalign.exporting.source import ExportSource, with_base
from moalign.preference import Preference

# Given the truncated factors and the exact sum, how far the logits are off.
Measure = Callable[[dict[str, tuple[Tensor, Tensor]], LoraSum], LogitError]


@torch.no_grad()
def export_point(
    source: ExportSource,
    preference: Preference,
    out: str | Path,
    kind: str = "lora",
    *,
    rank: int | None = None,
    measure: Measure | None = None,
    expected: Expected | None = None,
    max_shard_size: int = SHARD,
    workers: int | None = None,
    progress: bool = True,
) -> ExportFacts:
    """Write a policy at one preference as a folder that knows nothing of moalign, with the base's tokenizer and a model card.

    Args:
        source (`ExportSource`): the policy.
        preference (`Preference`): the point.
        out (`str` or `Path`): the folder to write; it appears only when complete, in the place of an earlier export.
        kind (`str`, *optional*, defaults to `"lora"`): `"lora"`, one exact LoRA of rank Σ r_k; `"truncated"`, the best LoRA of rank `rank`; `"merged"`, the whole
            model, streamed from the base's files.
        rank (`int`, *optional*): of a truncated LoRA.
        measure (`Callable`, *optional*): measures what a truncation does to the logits.
        expected (`Expected`, *optional*): rewards for the card.
        max_shard_size (`int`, *optional*, defaults to 5 GB): bytes of one file of merged weights.
        workers (`int`, *optional*): threads of a merge.
        progress (`bool`, *optional*, defaults to `True`): show a bar on stderr while merging.

    Returns:
        `ExportFacts`: what stands in the card.

    Raises:
        InputError: `out` is a place of the base, of an adapter or in a bundle, an adapter does not fit its base or cannot be exported in this form, a tensor is not finite or cannot be read, or the disk is full.
    """
    check_kind(kind, rank)
    out = source.place(out)
    weights = source.weights(preference)
    by_adapter = dict(zip(source.conditioning.adapters, weights, strict=True))
    manifest = with_base(source.manifest, source.base_name)
    if kind != "merged":
        facts = ExportFacts(kind, preference, by_adapter, manifest, source.origin, expected)
        total = source.total(weights)
        with full_disk_is_told(out, nbytes_of(total), "the adapter"), replace_export(out) as folder:
            facts = write_sum(total, folder, facts, rank=rank, measure=measure, tensors=tuple(source.tensors))
            copy_tokenizer(source.base.folder, folder)
            facts.write(folder)
        return facts
    written: list[ExportFacts] = []

    def finish(folder: Path, report: MergedExport) -> None:
        written.append(
            ExportFacts(kind, preference, by_adapter, manifest, source.origin, expected, untied=report.untied)
        )
        written[0].write(folder)

    export_merged_checkpoint(
        source.base,
        source.folders,
        weights,
        out,
        same_base=source.same_base,
        max_shard_size=max_shard_size,
        workers=workers,
        progress=progress,
        finish=finish,
    )
    return written[0]


def write_sum(
    total: LoraSum,
    folder: Path,
    facts: ExportFacts,
    *,
    rank: int | None,
    measure: Measure | None = None,
    uniform: bool = False,
    tensors: Sequence[str] | None = None,
) -> ExportFacts:
    """Write a sum of adapters as one LoRA into a folder; gives the facts with what became of its layers.

    Args:
        total (`LoraSum`): exact.
        folder (`Path`): exists.
        facts (`ExportFacts`): what is known before.
        rank (`int`, *optional*): to truncate to.
        measure (`Callable`, *optional*): see `export_point`.
        uniform (`bool`, *optional*, defaults to `False`): one rank for all layers, see `write_lora`.
        tensors (`Sequence[str]`, *optional*): the base's tensor names, see `write_lora`.
    """
    factors, lost = total.all_factors, None
    if rank is not None:
        factors, layers = truncate_sum(total, rank=rank)
        lost = Truncation(layers, None if measure is None else measure(factors, total))
    base = facts.manifest.base
    ranks = write_lora(
        total,
        folder,
        factors=factors,
        base=base.name_or_path,
        revision=base.revision,
        uniform=uniform,
        tensors=tensors,
    )
    return replace(facts, ranks=ranks, truncation=lost, whole=tuple(total.whole))
