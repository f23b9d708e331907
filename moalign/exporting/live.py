"""Export one preference of a policy in memory, such as one that is still being trained."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from frontier.realize.export import base_folder, export_merged, mixture_as_lora
from frontier.realize.logit_error import LogitError, measure_logit_error
from frontier.realize.lora_writing import LoraSum, nbytes_of
from frontier.realize.merging.output import full_disk_is_told
from frontier.realize.replace_export import replace_export
from moalign.exporting.expected import ExpectedRewards
from moalign.exporting.facts import ExportFacts
from moalign.exporting.kinds import check_kind
from moalign.exporting.place import check_place
from moalign.exporting.point import Measure, write_sum
from moalign.exporting.source import check_exportable, with_base
from moalign.preference import Preference

if TYPE_CHECKING:
    from frontier.front import ParetoFront
    from moalign.conditioning.base import Text
    from moalign.policy import SteerablePolicy


@torch.no_grad()
def export_policy(
    policy: "SteerablePolicy",
    preference: Preference,
    out: str | Path,
    kind: str = "lora",
    *,
    rank: int | None = None,
    prompts: "Sequence[Text] | None" = None,
    front: "ParetoFront | None" = None,
    max_shard_size: int | str = "5GB",
) -> ExportFacts:
    """Write a policy in memory at one preference; see `export_point`, which does it from files, without the memory of a second model.

    Args:
        policy (`SteerablePolicy`): it is left as it is.
        preference (`Preference`): the point.
        out (`str` or `Path`): the folder to write.
        kind (`str`, *optional*, defaults to `"lora"`): `lora`, `truncated` or `merged`.
        rank (`int`, *optional*): of a truncated LoRA.
        prompts (`Sequence`, *optional*): texts or conversations on which to compare the logits of a truncated LoRA with the exact ones.
        front (`ParetoFront`, *optional*): measured of this policy: the card then says what to expect.
        max_shard_size (`int` or `str`, *optional*, defaults to 5 GB): of one file of merged weights.

    Returns:
        `ExportFacts`: what stands in the card, the errors of a truncation among it.

    Raises:
        InputError: the policy reads its preference in the prompt, `out` is a place of its base, of an adapter or in a bundle, or its adapters cannot be exported in this form.
    """
    check_kind(kind, rank)
    check_exportable(policy.conditioning)
    out = check_place(out, base_folder(policy.mixture), policy.adapter_folders)
    row = policy.conditioning.mixing(preference.as_tensor(policy.objectives, dtype=torch.float64).unsqueeze(0))[0]
    weights = [float(w) for w in row]
    facts = ExportFacts(
        kind,
        preference,
        dict(zip(policy.conditioning.adapters, weights, strict=True)),
        with_base(policy.manifest(out), str(policy.base.config.name_or_path)),
        expected=ExpectedRewards(front)(preference) if front is not None else None,
    )
    if kind == "merged":

        def finish(folder: Path) -> None:
            policy.tokenizer.save_pretrained(folder)
            facts.write(folder)

        export_merged(policy.mixture, weights, out, max_shard_size=max_shard_size, finish=finish)
        return facts
    measure = None if prompts is None else logit_measure(policy, weights, prompts)
    total = mixture_as_lora(policy.mixture, weights)
    with full_disk_is_told(out, nbytes_of(total), "the adapter"), replace_export(out) as folder:
        facts = write_sum(total, folder, facts, rank=rank, measure=measure)
        policy.tokenizer.save_pretrained(folder)
        facts.write(folder)
    return facts


def logit_measure(policy: "SteerablePolicy", weights: Sequence[float], prompts: "Sequence[Text]") -> Measure:
    """What `export_point` calls to compare the logits of a truncated LoRA with those of the policy.

    Args:
        policy (`SteerablePolicy`): exact.
        weights (`Sequence[float]`): of its adapters.
        prompts (`Sequence`): texts or conversations.
    """
    ids = policy.encode(prompts)

    def measure(factors: dict[str, tuple[Tensor, Tensor]], total: LoraSum) -> LogitError:
        return measure_logit_error(policy.mixture, weights, factors, ids, tuple(total.whole))

    return measure
